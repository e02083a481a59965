-- Clients that come through address translation or load balancers, so that their addresses say little: who a client is follows from its application name and
-- driver (set a different appName in the connection string of each), and from the address that a load balancer tells in a PROXY header.
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  listeners = {
    puerta.mongodb {
      bind = env.string("PUERTA_BIND", "127.0.0.1:27017"),
      backends = { puerta.backend { "127.0.0.1:27018" }, puerta.backend { "127.0.0.1:27019" } },
      affinity = "fingerprint",
      fingerprint_ip = false, -- one client, several outgoing addresses; true when a client keeps its address
      prefix = { v4 = 24, v6 = 56 }, -- clients that do not say who they are: by their network
      proxy_protocol = {
        from = env.list("PUERTA_BALANCERS", { "127.0.0.2", "fd00:1::/64" }), -- these begin each connection with a PROXY header, and must
        send = "off", -- "v2": the backends get one too
      },
    },
  },
}
