--- `require "puerta"` in a policy. A configuration file gets the constructors under the same name: see sandbox.lua.

return require "puerta.api"
