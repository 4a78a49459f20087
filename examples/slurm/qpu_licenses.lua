-- SPDX-License-Identifier: GPL-3.0-or-later
-- Which licences of Slurm a job needs for the QPUs of its --qpu. cli_filter.lua and job_submit.lua
-- of this folder load it; so can the ones that a site has already.

local qpu_licenses = {}

-- The server of the licences: "" for those of slurm.conf, "spank_qrmi" with
-- `spank-qrmi monitor --licenses=dbd`.
qpu_licenses.server = ""

-- Return the names of the licences that stand for these QPUs, each once, without the server. They
-- are `qpu_` and the QPU's name, with `_` for each character but ASCII letters, digits, `.`, `_`, `-`.
function qpu_licenses.of(qpus)
    local names, is_listed = {}, {}
    for qpu in qpus:gmatch("[^,]+") do
        qpu = qpu:match("^ *(.-) *$")
        -- Of a character of several bytes the first one is left, for one `_`.
        local name = "qpu_" .. qpu:gsub("[\128-\191]", ""):gsub("[^A-Za-z0-9._-]", "_")
        if qpu ~= "" and not is_listed[name] then
            is_listed[name] = true
            names[#names + 1] = name
        end
    end
    return names
end

-- Return the names of the licences that a list such as `a:2,b@server` surely asks for, as a set.
-- Of `a|b` slurmctld takes one, and it is not known which.
local function asked_for(licenses)
    local names = {}
    if licenses:find("|", 1, true) then
        return names
    end
    for license in licenses:gmatch("[^,;]+") do
        local name, rest = license:match("^ *([^:=]*)(.-) *$")
        local count = rest == "" and 1 or tonumber(rest:match("^[:=](%d+)$") or 0)
        if count > 0 then
            names[name:match("^[^@]*")] = true
        end
    end
    return names
end

-- Return those licences that these QPUs need and this list (nil for none) does not ask for, as
-- --licenses takes them; "" if there are none.
function qpu_licenses.missing(qpus, licenses)
    local missing, is_asked_for = {}, asked_for(licenses or "")
    local server = qpu_licenses.server ~= "" and "@" .. qpu_licenses.server or ""
    for _, name in ipairs(qpu_licenses.of(qpus)) do
        if not is_asked_for[name] then
            missing[#missing + 1] = name .. server
        end
    end
    return table.concat(missing, ",")
end

-- Return the list with what is missing put to its end.
function qpu_licenses.joined(licenses, missing)
    if licenses == nil or licenses == "" then
        return missing
    end
    return licenses .. "," .. missing
end

return qpu_licenses
