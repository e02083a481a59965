-- Reads go to the replicas, writes to the masters. Replicas lag: a client may read an older value than the one it wrote.
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  listeners = {
    puerta.redis {
      bind = env.string("PUERTA_BIND", "127.0.0.1:6380"),
      nodes = env.list("PUERTA_NODES", { "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003" }),
      policy = "read_replica",
    },
  },
}
