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
---@field log? puerta.log the log on stderr
---@field drain_timeout? string how long SIGTERM waits for requests in flight
---@field coalesce? string how long a worker may sleep, when its batches are small, so that requests of many clients leave together; `"0us"`: never
---@field watchdog? puerta.watchdog what happens when a policy does not come back
---@field listeners (puerta.mongodb|puerta.redis)[] what puerta listens for; their number, order and kind need a restart, most of their options do not

---@class puerta.log
---@field level? "debug"|"info"|"warn"|"error" the least important lines to show
---@field format? "text"|"json" lines for people, or a JSON object a line

---@class puerta.watchdog
---@field warn? string a policy call that lasts so long is logged
---@field abort? string one that lasts so long ends the process; `"0s"`: never

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
---@field retry_interval? string how long requests for a failed node fail at once before it is tried again
---@field max_bulk? string largest argument of a request, as `proto-max-bulk-len` in Redis
---@field stream_above? string requests larger than this pass through in pieces; they cannot be sent again after a redirect
---@field max_pipeline? integer unanswered requests of one client before no more are read from it
---@field client_buffer? string replies a client may leave unread before it is disconnected
---@field max_request? string largest request that has to be held whole (an MSET over several slots)
---@field node_backlog? string unanswered requests, in bytes, one connection to a node may hold before new ones are refused
---@field remap? table<string, string> where nodes announce an address that is reached at another: `["10.0.0.1:6379"] = "127.0.0.1:7001"`
---@field backlog? integer connections the kernel holds until they are accepted

---@class puerta.credentials
---@field user? string the user
---@field password string|puerta.secret the password

---@class puerta.mongodb.options
---@field bind string where clients connect
---@field backends (puerta.backend)[] the mongos processes
---@field name? string what logs call this listener
---@field forward? "connection"|"request" whether a client's connection goes to one backend whole, or each of its requests is placed
---@field affinity? "socket_addr"|"fingerprint"|"session_id"|"hybrid" what keeps a client on its backend; `session_id` needs `forward = "request"`
---@field session_timeout? string how long a session without requests is remembered
---@field timeouts? puerta.timeouts time limits
---@field backlog? integer connections the kernel holds until they are accepted

---@class puerta.timeouts
---@field connect? string time to reach a backend
---@field idle? string a client that sends nothing for so long is disconnected

---@class puerta.backend.options
---@field [1] string the address of a mongos
---@field weight? integer its share of the clients, relative to the other backends

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
