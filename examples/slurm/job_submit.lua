-- SPDX-License-Identifier: GPL-3.0-or-later
-- slurmctld gives each job with --qpu the licences of its QPUs, or refuses it without them, whatever
-- the user's commands have done. In slurm.conf: JobSubmitPlugins=lua. This file and qpu_licenses.lua
-- lie beside slurm.conf where slurmctld runs.
--
-- slurmctld sees the option of a job, not that of its steps: `srun --qpu` in an allocation that was
-- made without --qpu comes by here unseen. What counts is --license-check=require in plugstack.conf.

local qpu_licenses = dofile("/etc/slurm/qpu_licenses.lua")

-- true: a job without its licences is refused. false: it is given them.
local MUST_REFUSE = false

local OPTION = "_SLURM_SPANK_OPTION_spank_qrmi_qpu"

-- Return the value of the option among texts such as `NAME=value`, nil if it is not there.
local function option_in(variables)
    for _, variable in pairs(variables or {}) do
        if variable:sub(1, #OPTION + 1) == OPTION .. "=" then
            return variable:sub(#OPTION + 2)
        end
    end
    return nil
end

-- Return the QPUs of all ways in which the option reaches the node of a new job.
local function qpus_of(job)
    local found = { option_in(job.spank_job_env) }
    -- Only a batch job brings its environment, and slurmctld logs an error for the others.
    if job.script ~= nil then
        found[#found + 1] = job.environment[OPTION]
        found[#found + 1] = job.environment["SLURM_SPANK_" .. OPTION]
    end
    return table.concat(found, ",")
end

-- The first component's --qpu is that of a whole heterogeneous job.
local function is_later_component(job)
    local offset = job.het_job_offset
    return offset ~= nil and offset > 0 and offset < slurm.NO_VAL
end

-- Give the job what is missing in this list of licences, or refuse it.
local function demand_licenses(job, qpus)
    local missing = qpu_licenses.missing(qpus, job.licenses)
    if missing == "" then
        return slurm.SUCCESS
    end
    if MUST_REFUSE then
        slurm.log_user("a job with --qpu needs the licences of its QPUs: add --licenses=%s", missing)
        return slurm.ESLURM_INVALID_LICENSES
    end
    job.licenses = qpu_licenses.joined(job.licenses, missing)
    return slurm.SUCCESS
end

function slurm_job_submit(job, partitions, submit_uid)
    if is_later_component(job) then
        return slurm.SUCCESS
    end
    return demand_licenses(job, qpus_of(job))
end

-- A user may change the licences of a job of his; root may take them away.
function slurm_job_modify(job, known_job, partitions, modify_uid)
    if job.licenses == nil or modify_uid == 0 or is_later_component(known_job) then
        return slurm.SUCCESS
    end
    return demand_licenses(job, option_in(known_job.spank_job_env) or "")
end
