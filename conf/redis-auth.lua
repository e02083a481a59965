-- Passwords on both sides. None stands in this file: they come from the environment, or from files that a secret store mounts
-- (env.file "/run/secrets/redis").
local puerta = require "puerta"
local env = puerta.env

return puerta.config {
  log = { format = "json" },
  listeners = {
    puerta.redis {
      bind = env.string("PUERTA_BIND", "127.0.0.1:6380"),
      nodes = env.list("PUERTA_NODES", { "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003" }),
      -- Clients: AUTH password, or AUTH reports password. Without auth everybody may connect.
      auth = {
        { password = env.secret "PUERTA_PASSWORD" },
        { user = "reports", password = env.secret "PUERTA_REPORTS_PASSWORD" },
      },
      -- What puerta says to the nodes.
      backend_auth = { password = env.secret "REDIS_PASSWORD" },
    },
  },
}
