-- SPDX-License-Identifier: GPL-3.0-or-later
-- sbatch, salloc and srun ask for the licences of a job's QPUs, so that users write --qpu alone.
-- In slurm.conf: CliFilterPlugins=lua. This file and qpu_licenses.lua lie beside slurm.conf on each
-- node where users submit.

local qpu_licenses = dofile("/etc/slurm/qpu_licenses.lua")

-- A step has the licences of its job.
local function is_step(options)
    local job_id = tostring(options["jobid"] or "")
    return options["type"] == "srun" and (os.getenv("SLURM_JOB_ID") or job_id:match("^%d")) ~= nil
end

function slurm_cli_pre_submit(options, component)
    local of_plugin = (options["spank"] or {})["spank_qrmi"] or {}
    local qpus = of_plugin["qpu"]
    -- The first component's --qpu is that of a whole heterogeneous job.
    if qpus == nil or component > 0 or is_step(options) then
        return slurm.SUCCESS
    end
    local missing = qpu_licenses.missing(qpus, options["licenses"])
    if missing ~= "" then
        options["licenses"] = qpu_licenses.joined(options["licenses"], missing)
    end
    return slurm.SUCCESS
end

function slurm_cli_setup_defaults()
    return slurm.SUCCESS
end

function slurm_cli_post_submit()
    return slurm.SUCCESS
end
