/* The live page, served at "/" of the admin server: one HTML file that needs nothing from elsewhere. Its sources are src/page, put together by
 * tools/embed_page.sh at build time. Constant; any thread.
 */
#ifndef PT_CORE_ADMIN_PAGE_H
#define PT_CORE_ADMIN_PAGE_H

#include <stddef.h>

extern const char pt_admin_page[]; /* not terminated */
extern const size_t pt_admin_page_size;
/* The Content-Security-Policy to send with it: its own inline parts by hash, and requests to its origin only. */
extern const char pt_admin_page_csp[];

#endif
