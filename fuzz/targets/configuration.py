# SPDX-License-Identifier: GPL-3.0-or-later
"""An administrator's files: qrmi_config.json, the credentials of spank_ibm_qrun.so, proxies."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fuzz.targets.claims import check_line, is_variable_name, result_or_refusal
from fuzz.targets.scratch import folder_in_memory
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.http import PROXY_VARIABLES
from spank_qrmi.configuration.node_variables import with_file_variables
from spank_qrmi.configuration.qrmi_config import Config, Resource, load_config
from spank_qrmi.configuration.qrmi_plugstack import parse_arguments
from spank_qrmi.configuration.qrun_credentials import load_credentials
from spank_qrmi.errors import ArgumentError, ConfigError, QrmiError
from spank_qrmi.job.resolution import resolve_qpus
from spank_qrmi.qrun.outcome import QrunError
from spank_qrmi.qrun.primitive_input import read_primitive_input

_OF_OTHER_PROGRAMS = ("LD_", "SLURM_", "SPANK_")


def check_configuration(data: bytes) -> None:
    """Read a file as everything that it may be; only ConfigError may come of it."""
    path = _file()
    path.write_bytes(data)
    config = result_or_refusal(lambda: load_config(path, CLIENTS), ConfigError)
    if isinstance(config, Config):
        check_config(config)
    else:
        assert str(path) in str(config)
    credentials = result_or_refusal(lambda: load_credentials(path), ConfigError)
    if isinstance(credentials, dict):
        assert all(name.startswith("IBMQRUN_") for name in credentials)
        assert all(value.strip() and value.isprintable() for value in credentials.values())
    else:
        assert str(path) in str(credentials)
    result_or_refusal(lambda: read_primitive_input(str(path)), QrunError)
    line = parse_arguments(["/etc/qrmi_config.json", f"--env-file={path}"])
    arguments = result_or_refusal(lambda: with_file_variables(line), ArgumentError)
    if isinstance(arguments, QrmiError):
        assert str(path) in str(arguments)
    else:
        assert all(name in PROXY_VARIABLES for name in arguments.node_variables)
        assert all(value.isprintable() for value in arguments.node_variables.values())


def check_config(config: Config, secrets: Iterable[str] = ()) -> None:
    """Check that what is offered can be asked for and set, and that what is not says why.

    `secrets` are to be shown nowhere.
    """
    for name, resource in config.resources.items():
        assert resource.name == name
        assert resource.type in CLIENTS
        for is_strict in (True, False):
            _check_resolution(resource, config, secrets, is_strict=is_strict)
    for problem_name, problem in config.problems:
        check_line(str(problem), secrets)
        assert str(config.path) in str(problem)
        if problem_name is not None:
            assert problem_name in str(problem)
            ((rejected, reason),) = resolve_qpus(problem_name, config).rejected
            assert rejected == problem_name
            check_line(str(reason), secrets)
    for exposure in config.exposures:
        check_line(exposure, secrets)


def _check_resolution(
    resource: Resource, config: Config, secrets: Iterable[str], *, is_strict: bool
) -> None:
    """Ask for a resource as a job does: nothing but a file of its secrets can be in the way."""
    resolution = resolve_qpus(f" {resource.name} ,", config, is_strict=is_strict)
    for name, reason in resolution.rejected:
        assert name == resource.name
        assert resource.secret_files
        assert str(config.path) in str(reason)
        check_line(str(reason), secrets)
    for found in resolution.resources:
        assert found.name == resource.name
        assert found.environment.items() >= resource.environment.items()
        assert found.environment.keys() == {*resource.environment, *resource.secret_files}
        for key, value in found.environment.items():
            variable = f"{found.name}_{key}"
            assert is_variable_name(variable)
            assert not variable.startswith(_OF_OTHER_PROGRAMS)
            assert "\0" not in value
    assert len(resolution.rejected) + len(resolution.resources) == 1


@cache
def _file() -> Path:
    path = folder_in_memory() / "file.json"
    path.touch(mode=0o600)
    return path
