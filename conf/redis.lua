-- A Redis Cluster behind one port: any plain client connects to it as if the whole cluster were one Redis.
-- The two mandatory options are bind and nodes. Every other one, with its default: REFERENCE.md beside this file, or puerta --dump.
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  listeners = {
    puerta.redis {
      bind = env.string("PUERTA_BIND", "127.0.0.1:6380"),
      nodes = env.list("PUERTA_NODES", { "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003" }), -- seeds; the rest is discovered
    },
  },
}
