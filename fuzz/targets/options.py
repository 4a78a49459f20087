# SPDX-License-Identifier: GPL-3.0-or-later
"""What administrators and users say in words: plugstack.conf, --qpu, the variables of qrun.

The input is texts with a NUL between them.
"""

from collections.abc import Sequence

from fuzz.targets.claims import check_line, is_variable_name, result_or_refusal
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.configuration.qrmi_plugstack import parse_arguments
from spank_qrmi.configuration.qrun_plugstack import parse_arguments as parse_qrun_arguments
from spank_qrmi.errors import AcquisitionError, ArgumentError, QrmiError, VariableError
from spank_qrmi.job.environment import collect_variables, export_variable, resource_variables
from spank_qrmi.job.resolution import split_names
from spank_qrmi.job.site_choices import check_credentials_stay_home, check_values_are_text
from spank_qrmi.qrun.settings import read_settings
from spank_qrmi.redaction import shown_argument

_SITE = {"QRMI_ENDPOINT": "https://site.test", "QRMI_KEY": "the-site's"}
_RESOURCE = Resource("a", "fake", _SITE)


def check_options(data: bytes) -> None:
    """Read the texts as everything that they may be."""
    texts = [text.decode("utf-8", "surrogateescape") for text in data.split(b"\0")]
    check_arguments(texts)
    check_names(texts[0])
    pairs = [(name, value) for name, _, value in (text.partition("=") for text in texts)]
    check_qrun_variables(dict(pairs))
    check_job_variables(pairs)


def check_arguments(arguments: Sequence[str]) -> None:
    """Read the arguments of both plugins; only ArgumentError may come of them."""
    for argument in arguments:
        shown_argument(argument)
    ours = result_or_refusal(lambda: parse_arguments(arguments), ArgumentError)
    if not isinstance(ours, QrmiError):
        assert all(map(is_variable_name, ours.node_variables))
        assert ours.config_path.startswith("/")
        assert ours.state_directory.startswith("/")
        assert ours.worker_user not in {"", "0", "root"}
        for exposure in ours.exposures:
            check_line(exposure)
    qruns = result_or_refusal(lambda: parse_qrun_arguments(arguments), ArgumentError)
    if not isinstance(qruns, QrmiError):
        assert all(map(is_variable_name, (*qruns.node_variables, *qruns.values)))
        assert bool(qruns.values) != bool(qruns.credentials_path)


def check_names(option: str) -> None:
    """Split what --qpu was given."""
    split = split_names(option)
    assert len(set(split)) == len(split)
    for name in split:
        assert name == name.strip(" ")
        assert name
        assert "," not in name
    assert split_names(",".join(split)) == split


def check_qrun_variables(environment: dict[str, str]) -> None:
    """Read what the command qrun is told; only VariableError may come of it."""
    settings = result_or_refusal(lambda: read_settings(environment), VariableError)
    if not isinstance(settings, QrmiError):
        assert 1 <= settings.time_limit_seconds <= LONGEST_JOB_SECONDS
        assert settings.quantum_job_id not in {"", ".", ".."}
        assert "/" not in settings.quantum_job_id
    result_or_refusal(lambda: quantum_system_from(environment), VariableError)


def check_job_variables(pairs: Sequence[tuple[str, str]]) -> None:
    """Take a job's variables as those of a resource; what is set bears names of ours alone."""
    variables = collect_variables(_RESOURCE, 7, pairs)
    result_or_refusal(lambda: check_values_are_text(_RESOURCE, variables), AcquisitionError)
    sent_to = {"QRMI_ENDPOINT": ("QRMI_KEY",)}
    is_kept_home = result_or_refusal(
        lambda: check_credentials_stay_home(_RESOURCE, variables, sent_to), AcquisitionError
    )
    values = variables.values
    if not isinstance(is_kept_home, QrmiError) and values["QRMI_KEY"] == _SITE["QRMI_KEY"]:
        assert values["QRMI_ENDPOINT"] == _SITE["QRMI_ENDPOINT"]
    answered = resource_variables(_RESOURCE, variables, "token", 60)
    for name, value in answered:
        assert name.startswith("a_QRMI_")
        assert is_variable_name(name)
        key = name.removeprefix("a_")
        assert variables.user.get(key, value) == value
    exported = dict(export_variable(pairs, [name for name, _ in answered]))
    assert set(exported) <= {"SLURM_EXPORT_ENV"}
