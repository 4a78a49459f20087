# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that the `IBMQRUN_*` variables describe: where it is and how it knows us."""

from collections.abc import Mapping

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.ibm import AppIdLogin
from spank_qrmi.clients.quantum_system import QuantumSystem
from spank_qrmi.errors import VariableError


class QrunSettings(Settings):
    """The `IBMQRUN_*` variables, whose keys are their names: they are of no resource."""

    failure = VariableError
    remedy = "use qrun in a job that was submitted with --q-backend and --q-primitive"
    blank_remedy = None

    def variable(self, key: str) -> str:
        """Return the key itself."""
        return key


def quantum_system_from(values: Mapping[str, str]) -> QuantumSystem:
    """Return the service, without any request; `values` holds `IBMQRUN_*` variables.

    The three variables of IAM together select it, else App ID's two are used. Raises VariableError
    that names what is missing or cannot be used.
    """
    settings = QrunSettings("", values)
    endpoint_url = settings.require_url(names.DAAPI_ENDPOINT)
    missing = [name for name in names.IAM_VARIABLES if settings.get(name) is None]
    if not missing:
        return QuantumSystem.from_settings(
            settings, prefix=names.PREFIX, endpoint_key="DAAPI_ENDPOINT"
        )
    client_id, secret = map(settings.get, names.APP_ID_VARIABLES)
    if client_id is None or secret is None:
        raise VariableError(
            f"no credentials for the service: set {', '.join(names.IAM_VARIABLES)} "
            f"({', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing), or "
            f"{' and '.join(names.APP_ID_VARIABLES)}"
        )
    if ":" in client_id:
        # HTTP Basic ends the user's name with the first colon (RFC 7617).
        raise VariableError(f"{names.APPID_CLIENT_ID} must not hold a colon")
    return QuantumSystem(
        *(endpoint_url, AppIdLogin(endpoint_url, client_id, secret), names.APP_ID_VARIABLES),
        endpoint_variable=names.DAAPI_ENDPOINT,
    )
