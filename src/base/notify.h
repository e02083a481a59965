/* What the supervisor is told, in the words of sd_notify(3): "READY=1", "RELOADING=1\nMONOTONIC_USEC=...", "STOPPING=1", "MAINPID=...". One datagram to
 * the socket that NOTIFY_SOCKET names: a path, or an abstract name after "@". Any thread; never waits. */
#ifndef PT_BASE_NOTIFY_H
#define PT_BASE_NOTIFY_H

/* 1: sent, 0: nobody wants to know (no NOTIFY_SOCKET), -errno. Whoever cannot hear it is no reason to stop: the result may be ignored. */
int pt_notify(const char *state);

#endif
