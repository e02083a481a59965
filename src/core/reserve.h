/* Memory that cannot be refused: libev and libbson end the process when they are given none. They draw on a reserve first, and wait a little for what
 * others free; only when nothing helps does the process end, with a line that says so. Called once, before the first loop. Any thread draws. */
#ifndef PT_CORE_RESERVE_H
#define PT_CORE_RESERVE_H

void pt_reserve_setup(void);

#endif
