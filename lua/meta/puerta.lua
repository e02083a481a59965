---@meta puerta
-- For editors with the Lua language server. Written by tools/docs.sh from lua/puerta/schema.lua.

---@class puerta.secret
---@class puerta.config
---@class puerta.redis
---@class puerta.mongodb
---@class puerta.backend
---@class puerta.policy

---@class puerta.config.options
---@field workers? integer threads that serve clients; 0: one per core
---@field daemon? boolean serve in the background, as with `-d`
---@field pid_file? string where the process id is written, as with `-p`
---@field user? string whom puerta becomes once its listeners are bound, when it was started by root; that user has to be able to read what a reload reads
---@field group? string the group puerta belongs to then
---@field log? puerta.log the log
---@field upgrade? puerta.upgrade how another process takes over from this one
---@field drain_timeout? string how long SIGTERM waits for requests in flight
---@field coalesce? string how long a worker may sleep, when its batches are small, so that requests of many clients leave together; `"0us"`: never
---@field watchdog? puerta.watchdog what happens when a policy does not come back
---@field max_connections? integer clients at once, of all listeners; 0: as many as files may be open
---@field accept_rate? integer new clients a second, of all listeners; 0: no limit. More of them wait in the kernel's queue
---@field admin? puerta.admin an HTTP server for operators: metrics, status, reload; `{}` is enough. See below
---@field memory? puerta.memory the ceiling for what clients can make puerta hold
---@field listeners (puerta.mongodb|puerta.redis)[] what puerta listens for; their number, order and kind need a restart, most of their options do not

---@class puerta.upgrade
---@field socket? string where a new process (`puerta FILE --upgrade`) finds this one; in a directory that only its user may write to

---@class puerta.log
---@field level? "debug"|"info"|"warn"|"error" the least important lines to show
---@field format? "text"|"json" lines for people, or a JSON object a line
---@field to? string `"stderr"`, `"syslog"`, `"journald"` (both with `:/path` for another socket than the usual), or a file, relative to the configuration; SIGUSR1 opens it again
---@field access? puerta.access what clients do, a line each; off when absent

---@class puerta.access
---@field connections? boolean a line for each connection that has ended: from where, how long, requests, bytes, why
---@field requests? boolean a line for a share of the requests to nodes and mongos: command, slot or namespace, whom it went to, microseconds, outcome; never keys or values
---@field sample? number that share: 1 is every request, 0.01 each 100th of a worker
---@field to? string as `log.to`

---@class puerta.admin
---@field bind? string `/run/puerta`, `$XDG_RUNTIME_DIR/puerta` or `/tmp/puerta-UID` is the run directory; an address that is not loopback needs `token`
---@field token? string|puerta.secret asked for as `Authorization: Bearer ...`, but for `/healthz` and `/readyz`
---@field slow? string requests that take so long are remembered for `/slowlog`, their keys are not; `"0s"`: none

---@class puerta.watchdog
---@field warn? string a policy call that lasts so long is logged
---@field abort? string one that lasts so long ends the process; `"0s"`: never

---@class puerta.memory
---@field max? string bytes of all buffers: unfinished requests, requests that wait, replies that are not read. At 80 % new clients are refused, and those that hold much are not read; at 95 %, or after a second, those that hold most are closed. The process itself needs some 30 MiB more, and the kernel its sockets

---@class puerta.redis.options
---@field bind string where clients connect
---@field nodes (string)[] seeds: some nodes of the cluster, by name or address; the rest is discovered
---@field name? string what logs call this listener
---@field auth? puerta.credentials|puerta.credentials[] who may connect: clients must AUTH or HELLO as one of these; without it everybody may. `user` is `"default"` when absent
---@field backend_auth? puerta.credentials how puerta authenticates to the nodes; read when a connection is opened
---@field policy? string|puerta.policy who answers a request: `slot_owner`, `read_replica`, `read_near`, `c` (the slot owner without Lua), or the path of a `.lua` file (relative to the configuration)
---@field slot_refresh? string how often the topology is asked for without an occasion; redirects and lost connections are occasions
---@field max_redirects? integer MOVED, ASK, TRYAGAIN... one request may meet before its client gets an error
---@field connections? integer connections from each worker to each node
---@field connect_timeout? string time to reach a node and to authenticate there
---@field request_timeout? string a connection to a node without progress for so long is cut, and a request that waits for a redirect gives up
---@field idle_timeout? string a client that does nothing for so long is disconnected, as `timeout` in Redis; `"0s"`: never
---@field handshake_timeout? string with `auth`: a client that has not authenticated within it is disconnected; `"0s"`: never
---@field stall_timeout? string a client in the middle of a request, or with replies to read, that moves less than 16 KiB within it is disconnected; `"0s"`: never
---@field retry_interval? string how long requests for a failed node fail at once before it is tried again
---@field max_bulk? string largest argument of a request, as `proto-max-bulk-len` in Redis
---@field stream_above? string requests larger than this pass through in pieces; they cannot be sent again after a redirect
---@field max_pipeline? integer unanswered requests of one client before no more are read from it
---@field client_buffer? string replies a client may leave unread before it is disconnected
---@field max_request? string largest request that has to be held whole (an MSET over several slots)
---@field node_backlog? string unanswered requests, in bytes, one connection to a node may hold before new ones are refused
---@field remap? table<string, string> where nodes announce an address that is reached at another: `["10.0.0.1:6379"] = "127.0.0.1:7001"`
---@field max_connections? integer clients of this listener at once; 0: no limit but that of the process
---@field max_per_source? integer clients at once from one source; 0: no limit. Load balancers that send a PROXY header are not counted
---@field source_prefix? puerta.source_prefix how much of its address makes a source
---@field accept_rate? integer new clients a second; 0: no limit. More of them wait in the kernel's queue (`backlog`)
---@field allow? (string)[] only clients from these addresses are let in; those that are in stay in
---@field deny? (string)[] clients from these addresses are not let in, whatever `allow` says
---@field tls? puerta.tls TLS for clients; files are read again by a reload, connections that are open live on
---@field backend_tls? puerta.backend_tls TLS to the backends, `backend_tls = {}` suffices where the system knows their CA; a reload counts for new connections
---@field backlog? integer connections the kernel holds until they are accepted

---@class puerta.credentials
---@field user? string the user
---@field password string|puerta.secret the password

---@class puerta.mongodb.options
---@field bind string where clients connect
---@field backends (puerta.backend)[] the mongos processes, 256 at most
---@field name? string what logs call this listener
---@field forward? "connection"|"request" `connection`: a client's connection goes to one backend whole; `request`: each request is placed, and clients share connections to the backends
---@field affinity? string|puerta.policy what keeps a client on its backend: `hybrid`, `fingerprint`, `session_id` (needs `forward = "request"`), `socket_addr`, see [below](#affinity), or the path of a `.lua` file (relative to the configuration)
---@field session_timeout? string how long a client, session or cursor is remembered without use
---@field max_sessions? integer how many of them are remembered; beyond it the least recently used ones are forgotten
---@field prefix? puerta.prefix how much of a client's address counts for affinity
---@field fingerprint_ip? boolean the address, up to `prefix`, belongs to the fingerprint; `false` for clients behind several addresses of a NAT
---@field pool? puerta.pool connections from each worker to each backend; needs `forward = "request"`
---@field timeouts? puerta.timeouts time limits
---@field buffer? string bytes that wait for one side of a client's connection before no more are read from the other
---@field health? puerta.health how backends are checked
---@field proxy_protocol? puerta.proxy_protocol PROXY headers of load balancers
---@field auth? puerta.mongodb.user|puerta.mongodb.user[] who may connect, by SCRAM-SHA-256; without it everybody may. Needs `forward = "request"`; with `"connection"` backends decide
---@field backend_auth? puerta.mongodb.backend_auth how puerta authenticates to backends: for checks, and with `forward = "request"` for everything
---@field compression? ("snappy"|"zlib"|"zstd")[] what clients may compress with; needs `forward = "request"`
---@field max_connections? integer clients of this listener at once; 0: no limit but that of the process
---@field max_per_source? integer clients at once from one source; 0: no limit. Load balancers that send a PROXY header are not counted
---@field source_prefix? puerta.source_prefix how much of its address makes a source
---@field accept_rate? integer new clients a second; 0: no limit. More of them wait in the kernel's queue (`backlog`)
---@field allow? (string)[] only clients from these addresses are let in; those that are in stay in
---@field deny? (string)[] clients from these addresses are not let in, whatever `allow` says
---@field tls? puerta.tls TLS for clients; files are read again by a reload, connections that are open live on
---@field backend_tls? puerta.backend_tls TLS to the backends, `backend_tls = {}` suffices where the system knows their CA; a reload counts for new connections
---@field backlog? integer connections the kernel holds until they are accepted

---@class puerta.backend.options
---@field [1] string the address of a mongos
---@field weight? integer its share of the clients, relative to the other backends
---@field drain? boolean it gets nothing new; its connections close as soon as they hold no cursor and no transaction

---@class puerta.prefix
---@field v4? integer bits of an IPv4 address
---@field v6? integer bits of an IPv6 address

---@class puerta.pool
---@field min? integer connections kept open without use
---@field max? integer connections at most
---@field idle? string how long a connection above `min` is kept without use
---@field wait? string how long a request waits for a free connection before it fails
---@field queue? integer requests that may wait; more fail at once

---@class puerta.timeouts
---@field connect? string time to reach a backend, and to authenticate there
---@field handshake? string a client has to say hello within
---@field idle? string a client that sends nothing for so long is disconnected
---@field request? string how long a reply may take; `"0s"`: for ever
---@field stall? string a client in the middle of a request, or with a reply to read, that moves less than 16 KiB within it is disconnected; `"0s"`: never

---@class puerta.health
---@field interval? string between two checks of a backend
---@field timeout? string how long the answer to a check may take
---@field jitter? integer percent of the interval, at random, so that proxies do not check in step
---@field rise? integer good checks in a row that bring a backend back
---@field fall? integer bad checks in a row that take it out: one that is dead is out within interval × fall + timeout (if (1 + retries) × timeout fit into the interval)
---@field retries? integer times a check is repeated at once before it counts as bad
---@field slow_start? string how long a backend that came back gets less than its share of what is new; `"0s"`: not at all
---@field require_mongos? boolean a backend has to call itself a mongos (`msg: "isdbgrid"`)
---@field resolve? string between two look-ups of the backends' names

---@class puerta.proxy_protocol
---@field from? (string)[] load balancers: a connection from these addresses begins with a PROXY header (v1 or v2) that tells the client's; from others none is expected
---@field send? "off"|"v1"|"v2" the header that backends get at the start of each connection; needs `forward = "connection"`

---@class puerta.mongodb.user
---@field user string the user
---@field verifier string|puerta.secret checks the password without telling it

---@class puerta.mongodb.backend_auth
---@field user string the user
---@field password string|puerta.secret the password
---@field source? string the database the user is kept in
---@field mechanism? "auto"|"SCRAM-SHA-1"|"SCRAM-SHA-256" `auto`: the best that both sides know

---@class puerta.source_prefix
---@field v4? integer bits of an IPv4 address
---@field v6? integer bits of an IPv6 address: who has one mostly has a whole /64

---@class puerta.tls
---@field cert string PEM file: the certificate, then those between it and the CA
---@field key string PEM file: its private key, without a passphrase
---@field ca? string PEM file: who issues the certificates of clients
---@field client_auth? "none"|"optional"|"required" `optional`: a certificate that a client shows has to be good; `required`: it has to show one. Needs `ca`
---@field min_version? "1.2"|"1.3" the oldest TLS version that is spoken
---@field ciphers? string ciphers of TLS 1.2, as `openssl ciphers` takes them
---@field ciphersuites? string cipher suites of TLS 1.3, separated by colons
---@field session_tickets? boolean clients may resume their sessions for an hour, with any worker and after a reload; the keys are those of this process
---@field handshake_timeout? string a client has to be done with its handshake within
---@field sni? table<string, puerta.tls.pair> other certificates by the name that clients ask for: `["db.example.com"] = { cert =, key = }`; `"*.example.com"` is every name right below

---@class puerta.tls.pair
---@field cert string PEM file: the certificate, then those between it and the CA
---@field key string PEM file: its private key, without a passphrase

---@class puerta.backend_tls
---@field ca? string who issues the certificates of backends: a PEM file, or those the system trusts
---@field cert? string PEM file: the certificate shown to backends, for those that ask for one
---@field key? string PEM file: its private key
---@field server_name? string the name every backend's certificate has to be for, and that is asked for by SNI; needed where nodes are known by addresses that their certificates do not name
---@field verify? boolean `false`: backends' certificates are not looked at
---@field min_version? "1.2"|"1.3" the oldest TLS version that is spoken
---@field ciphers? string ciphers of TLS 1.2, as `openssl ciphers` takes them
---@field ciphersuites? string cipher suites of TLS 1.3, separated by colons

---@class puerta.env
---@field int fun(name: string, default?: integer): integer
---@field string fun(name: string, default?: string): string
---@field bool fun(name: string, default?: boolean): boolean
---@field list fun(name: string, default?: string[]): string[]
---@field secret fun(name: string, default?: string): puerta.secret
---@field file fun(path: string, default?: string): puerta.secret

local puerta = {}

---@type puerta.env
puerta.env = {}

---@param options puerta.config.options
---@return puerta.config
function puerta.config(options) end

---@param options puerta.redis.options
---@return puerta.redis
function puerta.redis(options) end

---@param options puerta.mongodb.options
---@return puerta.mongodb
function puerta.mongodb(options) end

---@param options puerta.backend.options
---@return puerta.backend
function puerta.backend(options) end

---@param name string
---@param options? table
---@return puerta.policy
function puerta.policy(name, options) end

return puerta
