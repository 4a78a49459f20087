# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that the `IBMQRUN_*` variables describe: where it is and how it knows us."""

from collections.abc import Mapping

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.ibm import Access, AppIdLogin, IamLogin
from spank_qrmi.clients.quantum_system import QuantumSystem
from spank_qrmi.clients.request import base_url, is_header_value
from spank_qrmi.errors import VariableError


def quantum_system_from(values: Mapping[str, str]) -> QuantumSystem:
    """Return the service, without any request; `values` holds `IBMQRUN_*` variables.

    The three variables of IAM together select it, else App ID's two are used. Raises VariableError
    that names what is missing or cannot be used.
    """
    endpoint_url = require_url(values, names.DAAPI_ENDPOINT)
    return QuantumSystem(endpoint_url, _access(values, endpoint_url))


def require(values: Mapping[str, str], name: str) -> str:
    """Return the stripped value of `name`; raise VariableError if it is unset or blank."""
    value = values.get(name, "").strip()
    if not value:
        message = (
            f"{name} is not set: use qrun in a job that was submitted with --q-backend and "
            "--q-primitive"
        )
        raise VariableError(message)
    return value


def require_url(values: Mapping[str, str], name: str) -> str:
    """Return `name` as a base URL without trailing slash; raise VariableError if it is none."""
    url = base_url(require(values, name))
    if url is None:
        message = (
            f"{name} must be a URL that starts with https:// or http://, without user name, query "
            "or fragment"
        )
        raise VariableError(message)
    return url


def _access(values: Mapping[str, str], endpoint_url: str) -> Access:
    """Return how requests are authorised."""
    missing = [name for name in names.IAM_VARIABLES if not values.get(name, "").strip()]
    app_id = names.APP_ID_VARIABLES
    if not missing:
        return Access(
            login=IamLogin(
                require_url(values, names.IAM_ENDPOINT),
                _require_header_value(values, names.IAM_APIKEY),
            ),
            service_crn=_require_header_value(values, names.SERVICE_CRN),
            login_variables=(names.IAM_APIKEY,),
            crn_variable=names.SERVICE_CRN,
        )
    if not all(values.get(name, "").strip() for name in app_id):
        message = (
            f"no credentials for the service: set {', '.join(names.IAM_VARIABLES)} "
            f"({', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing), or "
            f"{' and '.join(app_id)}"
        )
        raise VariableError(message)
    client_id, secret = (require(values, name) for name in app_id)
    if ":" in client_id:
        # HTTP Basic ends the user's name with the first colon (RFC 7617).
        message = f"{names.APPID_CLIENT_ID} must not hold a colon"
        raise VariableError(message)
    return Access(
        login=AppIdLogin(endpoint_url, client_id, secret),
        service_crn=None,
        login_variables=app_id,
        crn_variable=None,
    )


def _require_header_value(values: Mapping[str, str], name: str) -> str:
    value = require(values, name)
    if not is_header_value(value):
        message = f"{name} must be plain ASCII text on one line"
        raise VariableError(message)
    return value
