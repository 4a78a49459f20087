# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environment tells `qrun`: the `IBMQRUN_*` variables, checked, and SRUN_DEBUG."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.qrun_service import QrunSettings
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS
from spank_qrmi.errors import VariableError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.time_limit import UNLIMITED_SECONDS

_JOB_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,256}")
_LONGEST_NAME = 256

_ERROR_LEVEL, _INFO_LEVEL, _DEBUG_LEVEL = "error", "info", "debug"
_QUIET_SRUN_DEBUG, _VERBOSE_SRUN_DEBUG = 2, 4


@dataclass(frozen=True)
class StoreSettings:
    """The S3 bucket between us and the service; the endpoint has no trailing slash."""

    endpoint_url: str
    bucket: str
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class RunSettings:
    """One run: which backend, which primitive, for how long, under which id.

    `time_limit_seconds` is Slurm's limit, from 1 to 604800. `log_level` is the service's word.
    """

    backend: str
    primitive: str
    time_limit_seconds: int
    quantum_job_id: str
    log_level: str
    store: StoreSettings


def read_settings(environment: Mapping[str, str]) -> RunSettings:
    """Return the settings; raise VariableError that names the variable and what is wrong."""
    settings = QrunSettings("", environment)
    return RunSettings(
        backend=_backend(settings),
        primitive=_primitive(settings),
        time_limit_seconds=_time_limit_seconds(settings),
        quantum_job_id=_quantum_job_id(settings),
        log_level=service_log_level(environment.get("SRUN_DEBUG", "")),
        store=StoreSettings(
            endpoint_url=settings.require_url(names.S3_ENDPOINT),
            bucket=settings.require(names.S3_BUCKET),
            region=settings.require(names.S3_REGION),
            access_key_id=settings.require(names.AWS_ACCESS_KEY_ID),
            secret_access_key=settings.require(names.AWS_SECRET_ACCESS_KEY),
        ),
    )


def service_log_level(srun_debug: str) -> str:
    """Return how much the service shall log, after srun's own verbosity (SRUN_DEBUG).

    2 is `srun --quiet`, 3 the default, 4 and more `srun --verbose`; 3 stands for everything else.
    """
    level = parse_number(srun_debug.strip(), 9) or 0
    if level == _QUIET_SRUN_DEBUG:
        return _ERROR_LEVEL
    return _DEBUG_LEVEL if level >= _VERBOSE_SRUN_DEBUG else _INFO_LEVEL


def _backend(settings: QrunSettings) -> str:
    backend = settings.require(names.BACKEND)
    if len(backend) > _LONGEST_NAME or not backend.isprintable():
        raise VariableError(
            f"{names.BACKEND} must be the name of a backend: give it with --q-backend"
        )
    return backend


def _primitive(settings: QrunSettings) -> str:
    primitive = settings.require(names.PRIMITIVE)
    if primitive not in names.PRIMITIVES:
        raise VariableError(
            f"{names.PRIMITIVE} must be {' or '.join(names.PRIMITIVES)}: give it with --q-primitive"
        )
    return primitive


def _time_limit_seconds(settings: QrunSettings) -> int:
    seconds = parse_number(settings.require(names.TIMEOUT_SECONDS), 2**64) or 0
    if seconds == UNLIMITED_SECONDS:
        return LONGEST_JOB_SECONDS
    if not 1 <= seconds <= LONGEST_JOB_SECONDS:
        raise VariableError(
            f"{names.TIMEOUT_SECONDS} must be a whole number of seconds from 1 to "
            f"{LONGEST_JOB_SECONDS}: the service could not store the result of a job "
            "that runs longer than 7 days"
        )
    return seconds


def _quantum_job_id(settings: QrunSettings) -> str:
    quantum_job_id = settings.get(names.JOB_ID)
    if quantum_job_id is None:
        return str(uuid.uuid4())
    if not _JOB_ID.fullmatch(quantum_job_id):
        raise VariableError(
            f"{names.JOB_ID} must be up to 256 letters, digits, dots, hyphens or underscores: "
            "unset it to get a random one"
        )
    return quantum_job_id
