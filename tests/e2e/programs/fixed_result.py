# SPDX-License-Identifier: GPL-3.0-or-later
"""The smallest task on the job's QPUs, whose sites run no programs: prints its results as JSON."""

import json

from qrmi import Payload, ResourceType
from qrmi.primitives import QRMIService

MEASUREMENT = {"name": "measure", "locus": ["QB1", "QB2"], "args": {"key": "m"}}
ORDER = {"circuits": [{"name": "c", "instructions": [MEASUREMENT]}], "shots": 3}

for resource in QRMIService().resources():
    kind = resource.resource_type()
    if kind == ResourceType.IQMServer:
        payload = Payload.IQMServer(
            iqmjson=json.dumps(ORDER), job_type="circuit", use_timeslot=False, tag=None
        )
    else:
        payload = Payload.AliceBobFelis(human_qir="", input_params=json.dumps({"nbShots": 3}))
    task_id = resource.task_start(payload)
    status = str(resource.task_status(task_id))
    result = resource.task_result(task_id).value
    print(json.dumps([str(kind), status, result]))
