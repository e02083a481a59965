-- Several mongos behind one port: drivers connect to it as if it were one mongos, and no cursor, session or transaction lands on the wrong one.
-- The two mandatory options are bind and backends. Every other one, with its default: REFERENCE.md beside this file, or puerta --dump.
local puerta = require "puerta"

return puerta.config {
  listeners = {
    puerta.mongodb {
      bind = "127.0.0.1:27017",
      backends = { puerta.backend { "127.0.0.1:27018" }, puerta.backend { "127.0.0.1:27019" } },
    },
  },
}
