/* The commands of puerta ctl and their options, once: ctl.c makes the parser's table and --help of it, tools/docs.lua the manual page and the shells'
 * completions. As src/cli_options.h: to C a line is a macro call, to Lua a function call. A command: its name, argument (0: none), text; what runs it, the path
 * of the admin server, and what shows its answer to people (0: as it is). */
#ifndef CTL
#define CTL(name, argument, text, run, path, show)
#endif
#ifndef CTL_OPTION
#define CTL_OPTION(name, argument, text)
#endif

CTL("status", 0, "the whole at a glance", show, "/status", pt_show_status)
CTL("top", 0, "a live view, every second; q ends it", top, 0, 0)
CTL("backends", 0, "nodes and backends", show, "/backends", pt_show_backends)
CTL("sessions", 0, "what the session tables hold, by backend", show, "/sessions", pt_show_sessions)
CTL("slots", 0, "who owns which slots", show, "/slots", pt_show_slots)
CTL("slowlog", 0, "the last slow requests", show, "/slowlog", pt_show_slow)
CTL("metrics", 0, "what Prometheus reads", show, "/metrics", 0)
CTL("reload", 0, "reads the configuration again, as SIGHUP; tells what is wrong with it", act, "/reload", 0)
CTL("upgrade", "[BINARY]", "starts what now stands at the path of the running binary, or BINARY, and hands over to it", upgrade,
    0, 0)
CTL("drain", 0, "finishes what is in flight and ends, as SIGTERM", act, "/drain", 0)
CTL("log-level", "LEVEL", "debug, info, warn or error, until the next reload", log_level, "/log/level?level=", 0)

CTL_OPTION("admin", "ADDR",
           "host:port or unix:/path of the admin server; else PUERTA_ADMIN, else admin.sock in the run directory")
CTL_OPTION("token-file", "FILE", "the token of option admin; else PUERTA_TOKEN")
CTL_OPTION("json", 0, "the answer as it is, for scripts")
CTL_OPTION("once", 0, "top: one frame")

#undef CTL
#undef CTL_OPTION
