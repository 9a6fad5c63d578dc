-- Sends the requests of a file, one after the other, each once. Answers are not looked at: wrk would
-- make tables of their headers. One thread, so that no request is another's.
-- Arguments: the file, the bytes of each request, where to write what was measured.

local file, size, ahead
local threads = {}

function setup(thread)
    threads[#threads + 1] = thread
end

function init(arguments)
    file = assert(io.open(arguments[1], "rb"))
    size = tonumber(arguments[2])
    told = arguments[3]  -- global, so that `done` can ask for it
end

function request()
    local found = ahead or file:read(size)
    -- Before it begins wrk itself looks at one, which it does not send.
    ahead = looked == nil and found or nil
    looked = true
    if not found then
        dry = true
        wrk.thread:stop()
        return "GET / HTTP/1.0\r\n\r\n"
    end
    return found
end

function done(summary, latency)
    local out = assert(io.open(threads[1]:get("told"), "wb"))
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout
    if threads[1]:get("dry") then lost = -1 end
    out:write(summary.duration, " ", summary.requests, " ", errors.status, " ", lost, "\n")
    for i = 1, #latency do
        local us, count = latency(i)
        out:write(us, " ", count, "\n")
    end
    out:close()
end
