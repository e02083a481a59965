-- The door's structs as LuaJIT lays them out, against the C compiler's.
require "spec.support.door"
local ffi = require "ffi"

local structs = {
  pt_request = { "key", "frame", "key_len", "frame_len", "flags", "slot", "cmd", "argc", "client", "node", "reserved", "client_ip", "reserved2" },
  pt_view_node = { "host", "zone", "port", "replica", "up", "master", "nreplicas", "reserved", "inflight", "replicas", "latency_us" },
  pt_view = { "generation", "nnodes", "reserved", "owner", "nodes" },
  pt_conn_view = { "fingerprint", "address", "ip", "port", "has_client", "load_balanced", "reserved", "app", "driver", "driver_version", "ip_text" },
  pt_session_view = { "key", "identity", "kind", "reserved" },
  pt_backend_view = { "seed", "name", "weight", "effective", "connections", "inflight", "id", "up", "usable", "reserved" },
  pt_backends_view = { "generation", "n", "usable", "at" },
}
local sizes = { pt_request = 64, pt_view_node = 144, pt_view = 32, pt_conn_view = 360, pt_session_view = 24, pt_backend_view = 96, pt_backends_view = 24 }

local function ask_compiler()
  local source, program = os.tmpname() .. ".c", os.tmpname()
  local f = assert(io.open(source, "w"))
  f:write '#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include "src/script/puerta_ffi.h"\nint main(void) {\n'
  for struct, fields in pairs(structs) do
    f:write(('printf("%s %%zu\\n", sizeof(%s));\n'):format(struct, struct))
    for _, field in ipairs(fields) do
      f:write(('printf("%s.%s %%zu\\n", offsetof(%s, %s));\n'):format(struct, field, struct, field))
    end
  end
  f:write "return 0;\n}\n"
  f:close()
  assert(os.execute(("cc -I. -o %s %s"):format(program, source)) == 0)
  local answers, pipe = {}, assert(io.popen(program))
  for line in pipe:lines() do
    local name, value = line:match "^(%S+) (%d+)$"
    answers[name] = tonumber(value)
  end
  pipe:close()
  os.remove(source)
  os.remove(program)
  return answers
end

describe("puerta_ffi.h", function()
  local C = ask_compiler()

  for struct, fields in pairs(structs) do
    it("lays out " .. struct .. " as C does", function()
      assert.equal(C[struct], ffi.sizeof(struct))
      assert.equal(sizes[struct], ffi.sizeof(struct))
      for _, field in ipairs(fields) do
        assert.equal(C[struct .. "." .. field], ffi.offsetof(struct, field), field)
      end
    end)

    it("names every field of " .. struct .. " here", function()
      local header = assert(io.open("src/script/puerta_ffi.h")):read "*a"
      local body = header:match("typedef struct " .. struct .. " {(.-)\n}"):gsub("/%*.-%*/", "")
      local n = 0
      for _ in body:gmatch ";" do
        n = n + 1
      end
      assert.equal(n, #fields)
    end)
  end
end)
