/* A process in the background whose start the one in the foreground waits for: `puerta -d` ends with 0 when the daemon serves, else with the daemon's exit
 * code. Before there are threads. */
#ifndef PT_BASE_DAEMON_H
#define PT_BASE_DAEMON_H

/* Forks. Returns in the daemon, in a session of its own: a descriptor for pt_daemon_ready; or -errno, when there is none. The foreground does not return: it
 * exits once the daemon is ready or has ended. Until then the daemon keeps stdin, stdout and stderr, so that people see why it does not start; log: where else
 * that is to be read (NULL: nowhere). */
int pt_daemon_start(const char *log);

/* Lets the foreground end, with 0, and leaves its terminal: stdin, stdout and stderr become /dev/null, but a stderr that is a file, or the
 * journal, stays. Closes fd. */
void pt_daemon_ready(int fd);

/* stderr outlives the terminal. */
int pt_daemon_keeps_stderr(void);

#endif
