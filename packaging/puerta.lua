-- What the puerta service does. All options: man puerta.lua; examples: /usr/share/puerta/conf.
-- After a change: systemctl reload puerta. It says what is wrong, and changes nothing then.
-- Secrets: puerta.env.file "/etc/puerta/password", or puerta.env.secret "NAME" with NAME=... in /etc/default/puerta.
local puerta = require "puerta"

return puerta.config {
  admin = {}, -- what it does, over HTTP at /run/puerta/admin.sock
  listeners = {
    puerta.redis {
      bind = "127.0.0.1:6380",
      nodes = { "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003" }, -- some nodes of your cluster; the rest is discovered
    },
    -- puerta.mongodb { bind = "127.0.0.1:27018", backends = { puerta.backend { "mongos-a:27017" }, puerta.backend { "mongos-b:27017" } } },
  },
}
