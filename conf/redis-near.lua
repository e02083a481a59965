-- Reads stay in this proxy's zone when the slot has a node there. PUERTA_ZONE says which zone that is.
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  listeners = {
    puerta.redis {
      bind = env.string("PUERTA_BIND", "127.0.0.1:6380"),
      nodes = env.list("PUERTA_NODES", { "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003" }),
      policy = puerta.policy("read_near", {
        zone = env.string("PUERTA_ZONE", "a"),
        -- Zones by address; not needed where the cluster tells them itself (Valkey 8). The longest prefix wins.
        zones = {
          ["127.0.0.1:7001"] = "a",
          ["127.0.0.1:7004"] = "a",
          ["127.0.0.1"] = "b",
        },
      }),
    },
  },
}
