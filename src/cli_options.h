/* The command line, once: src/cli.c makes the parser and --help of it, tools/docs.lua the man page and the shells' completions. To C a line is a macro
 * call, to Lua a function call. Letter 0: a long name only; argument 0: none. Whoever includes it defines the macros it wants; the others are nothing. */
#ifndef USAGE
#define USAGE(form, text)
#endif
#ifndef OPTION
#define OPTION(id, letter, name, argument, text)
#endif
#ifndef CHOICES
#define CHOICES(argument, words)
#endif
#ifndef SIGNAL
#define SIGNAL(name, text)
#endif
#ifndef ENVIRONMENT
#define ENVIRONMENT(name, text)
#endif
#ifndef STATUS
#define STATUS(code, text)
#endif

USAGE("[run] [FILE]", "serve as FILE says")
USAGE("-t [FILE]", "check FILE: \"configuration ok\", or every error, exit 1")
USAGE("--upgrade [FILE]", "take over from the puerta that serves FILE: its clients stay connected")
USAGE("ctl COMMAND", "ask a running puerta: status, top, reload, drain, ...; puerta ctl --help")
USAGE("--dump [FILE]", "print the effective configuration with all defaults")

OPTION(CONFIG, 'c', "config", "FILE", "the same as FILE")
OPTION(TEST, 't', "test", 0, "check the configuration and end")
OPTION(DUMP, 0, "dump", 0, "print the effective configuration and end; secrets are shown as ***")
OPTION(DAEMON, 'd', "daemon", 0, "serve in the background; ends with 0 when it does, else with what made it fail")
OPTION(PID_FILE, 'p', "pid-file", "PATH", "write the process id there; wins over the file")
OPTION(ERROR_LOG, 'e', "error-log", "PATH",
       "write the log there, with the errors that keep puerta from starting; wins over the file")
OPTION(UPGRADE, 0, "upgrade", 0,
       "prepare to take over from the puerta that serves FILE, without dropping a connection; it hands over when it gets QUIT")
OPTION(UPGRADE_SOCK, 0, "upgrade-sock", "PATH", "the socket at which it is found, and this one in its turn; wins over the file")
OPTION(WORKERS, 'w', "workers", "N", "worker threads, 0: one per core; wins over the file")
OPTION(LOG_LEVEL, 0, "log-level", "LEVEL", "debug, info, warn or error; wins over the file")
OPTION(SCRAM, 0, "scram", "USER", "read a password from standard input, print what `auth` of puerta.mongodb keeps of it")
OPTION(VERSION, 'V', "version", 0, "print the version")
OPTION(HELP, 'h', "help", 0, "print this")

/* What an argument may be, for completions. */
CHOICES("FILE", "<file>")
CHOICES("PATH", "<file>")
CHOICES("LEVEL", "debug info warn error")

SIGNAL("HUP", "reloads FILE without dropping a connection")
SIGNAL("USR2", "starts the binary that now stands at the path of this one, with the same arguments, and hands over to it")
SIGNAL("QUIT", "hands all clients over to the process that was started with --upgrade; without one as TERM")
SIGNAL("TERM", "finishes what is in flight and ends")
SIGNAL("INT", "ends at once")

ENVIRONMENT("PUERTA_LUA_PATH", "a directory whose puerta/*.lua replace the built-in modules (for development)")
ENVIRONMENT("NOTIFY_SOCKET", "where systemd hears that puerta is ready, reloads and stops")

STATUS(0, "it ended as it was told to; the configuration is good")
STATUS(1, "the configuration is not good, or puerta could not start: standard error, or the log, says why")
STATUS(2, "wrong arguments")

#undef USAGE
#undef OPTION
#undef CHOICES
#undef SIGNAL
#undef ENVIRONMENT
#undef STATUS
