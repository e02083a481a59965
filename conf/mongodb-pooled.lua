-- Thousands of clients over few connections to the mongos: each request is placed by its session, and connections to the backends are shared.
-- Clients authenticate at puerta, puerta at the backends. No password stands in this file: `puerta --scram app` makes the verifier of the user's password.
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  listeners = {
    puerta.mongodb {
      bind = env.string("PUERTA_BIND", "127.0.0.1:27017"),
      backends = {
        puerta.backend { "127.0.0.1:27018" },
        puerta.backend { "127.0.0.1:27019", weight = 2 }, -- twice the sessions
        puerta.backend { "127.0.0.1:27020", drain = env.bool("PUERTA_DRAIN_C", false) }, -- true and a reload before it is taken away
      },
      forward = "request",
      affinity = puerta.policy("hybrid", { pick = "least_connections" }), -- how a new session is placed
      pool = { min = 1, max = 8, wait = "2s" }, -- per worker and backend
      auth = { { user = "app", verifier = env.secret "PUERTA_APP_VERIFIER" } },
      backend_auth = { user = "puerta", password = env.secret "MONGODB_PASSWORD" },
      compression = { "zstd", "snappy" },
      health = { interval = "1s", require_mongos = true },
    },
  },
}
