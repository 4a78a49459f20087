# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the client cannot make use of the job's QPUs: prints its error as JSON."""

import json

from qrmi import QrmiError, QRMIService

try:
    QRMIService()
except QrmiError as error:
    print(json.dumps({"error": str(error)}))
