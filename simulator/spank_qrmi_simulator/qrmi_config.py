# SPDX-License-Identifier: GPL-3.0-or-later
"""The qrmi_config.json that makes the plugins use a simulated site."""

import errno
import os
import tempfile
from pathlib import Path

import orjson

from spank_qrmi_simulator.iam import Iam
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.pasqal_cloud import PasqalCloud
from spank_qrmi_simulator.pasqal_login import PasqalLogin
from spank_qrmi_simulator.pasqal_tokens import AUTH_TOKEN, PROJECT_ID
from spank_qrmi_simulator.qiskit_runtime import QiskitRuntime
from spank_qrmi_simulator.quantum_system import QuantumSystem
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN, Site


def site_config(base_url: str, store: ObjectStore | None = None) -> dict[str, object]:
    """Return the configuration for all that a new site offers; `base_url` ends without a slash.

    Without `store`, Direct Access can be acquired but runs nothing.
    """
    site = Site()
    direct_access = _ibm_environment("QRMI_IBM_DA_", base_url, QuantumSystem.prefix)
    if store is not None:
        direct_access |= store.environment("QRMI_IBM_DA_")
    runtime = _ibm_environment("QRMI_IBM_QRS_", base_url, f"{QiskitRuntime.prefix}/api/v1")
    pasqal = {
        "QRMI_PASQAL_CLOUD_BASE_URL": f"{base_url}{PasqalCloud.prefix}",
        "QRMI_PASQAL_CLOUD_PROJECT_ID": PROJECT_ID,
        "QRMI_PASQAL_CLOUD_AUTH_TOKEN": AUTH_TOKEN,
        # Read by a job whose user logs in with a name and password of his own.
        "QRMI_PASQAL_CLOUD_AUTH_ENDPOINT": f"{base_url}{PasqalLogin.prefix}/token",
    }
    groups = (
        ("direct-access", site.quantum_system_backends, direct_access),
        ("qiskit-runtime-service", site.qiskit_runtime_backends, runtime),
        ("pasqal-cloud", site.devices, pasqal),
    )
    resources = [
        {"name": name, "type": kind, "environment": dict(environment)}
        for kind, names, environment in groups
        for name in names
    ]
    return {"resources": resources}


def config_text(config: dict[str, object]) -> str:
    """Return the configuration as the text of a file."""
    return orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def write_config(path: Path, config: dict[str, object]) -> None:
    """Write the configuration in one step, for its owner's eyes only; raise OSError on failure.

    What is there and is no file, a device for instance, is left alone.
    """
    # Of a link, the file that it names is replaced.
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    # mkstemp's files are 0600 from the start: the keys are never readable by others.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(config_text(config).encode())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise


def _ibm_environment(prefix: str, base_url: str, path: str) -> dict[str, str]:
    return {
        f"{prefix}ENDPOINT": f"{base_url}{path}",
        f"{prefix}IAM_ENDPOINT": f"{base_url}{Iam.prefix}",
        f"{prefix}IAM_APIKEY": API_KEY,
        f"{prefix}SERVICE_CRN": SERVICE_CRN,
    }
