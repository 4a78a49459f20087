# SPDX-License-Identifier: GPL-3.0-or-later
"""What services say of the job's QPUs, which clients can ask from 0.25 on: prints it as JSON."""

import json

from qrmi import QRMIService

resources = QRMIService().resources()
print(json.dumps({each.resource_id(): each.status().to_dict() for each in resources}))
