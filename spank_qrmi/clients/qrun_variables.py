# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and bounds of the `IBMQRUN_*` variables, which the plugin sets and the command reads."""

from collections.abc import Collection

PREFIX = "IBMQRUN_"

APPID_CLIENT_ID = "IBMQRUN_APPID_CLIENT_ID"
APPID_SECRET = "IBMQRUN_APPID_SECRET"  # noqa: S105 (a variable's name)
DAAPI_ENDPOINT = "IBMQRUN_DAAPI_ENDPOINT"
AWS_ACCESS_KEY_ID = "IBMQRUN_AWS_ACCESS_KEY_ID"
AWS_SECRET_ACCESS_KEY = "IBMQRUN_AWS_SECRET_ACCESS_KEY"  # noqa: S105 (a variable's name)
S3_ENDPOINT = "IBMQRUN_S3_ENDPOINT"
S3_BUCKET = "IBMQRUN_S3_BUCKET"
S3_REGION = "IBMQRUN_S3_REGION"

SITE_VARIABLES = (
    *(APPID_CLIENT_ID, APPID_SECRET, DAAPI_ENDPOINT),
    *(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY),
    *(S3_ENDPOINT, S3_BUCKET, S3_REGION),
)
"""What the site sets, in the order of the plugin's arguments in plugstack.conf."""

IAM_APIKEY = "IBMQRUN_IAM_APIKEY"
SERVICE_CRN = "IBMQRUN_SERVICE_CRN"
IAM_ENDPOINT = "IBMQRUN_IAM_ENDPOINT"

APP_ID_VARIABLES = (APPID_CLIENT_ID, APPID_SECRET)
IAM_VARIABLES = (IAM_APIKEY, SERVICE_CRN, IAM_ENDPOINT)
"""All three together select IBM Cloud IAM instead of App ID."""

BACKEND = "IBMQRUN_BACKEND"
PRIMITIVE = "IBMQRUN_PRIMITIVE"
TIMEOUT_SECONDS = "IBMQRUN_TIMEOUT_SECONDS"
JOB_ID = "IBMQRUN_JOB_ID"

PRIMITIVES = ("sampler", "estimator")


def missing_of_logins(given: Collection[str]) -> list[str]:
    """Return which variables are missing of those logins of which some are given."""
    logins = (APP_ID_VARIABLES, IAM_VARIABLES)
    begun = [login for login in logins if not set(login).isdisjoint(given)]
    return [name for login in begun for name in login if name not in given]
