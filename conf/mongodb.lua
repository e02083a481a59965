-- Several mongos behind one port. This listener is validated and not built yet: puerta refuses to start with it.
local puerta = require "puerta"

return puerta.config {
  listeners = {
    puerta.mongodb {
      bind = "127.0.0.1:27017",
      backends = { puerta.backend { "127.0.0.1:27018" }, puerta.backend { "127.0.0.1:27019" } },
    },
  },
}
