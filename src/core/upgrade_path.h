/* Where a process of a configuration file waits for the one that replaces it. */
#ifndef PT_CORE_UPGRADE_PATH_H
#define PT_CORE_UPGRADE_PATH_H

/* path when it is given, else a socket in the run directory whose name is made of the file's real path, so that `puerta FILE --upgrade` finds the process that
 * serves FILE. malloc'ed; NULL: there is no run directory, it has been logged. */
char *pt_upgrade_path(const char *path, const char *file);

#endif
