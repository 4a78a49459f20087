# SPDX-License-Identifier: GPL-3.0-or-later
"""A sequence of two atoms on the job's QPU behind Warden: prints what became of it as JSON.

If no credential can be made, what the client says of that stands in place of the task.
"""

import json

from qrmi import Payload, QrmiError, QRMIService

SEQUENCE = {"register": [{"name": "q0", "x": 0.0, "y": 0.0}, {"name": "q1", "x": 5.0, "y": 0.0}]}

[resource] = QRMIService().resources()
printed = {
    "accessible": resource.is_accessible(),
    "status": resource.status().to_dict()["status"],
}
try:
    task_id = resource.task_start(Payload.PasqalCloud(sequence=json.dumps(SEQUENCE), job_runs=3))
except QrmiError as error:
    printed["error"] = str(error)
else:
    printed["task"] = str(resource.task_status(task_id))
    printed["result"] = json.loads(resource.task_result(task_id).value)
    printed["device"] = json.loads(resource.target().value)[0]["device_type"]
    printed["logs"] = resource.task_logs(task_id)
    resource.task_stop(task_id)
print(json.dumps(printed))
