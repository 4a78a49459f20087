# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that is looked at: what its files say, each read once and when a check asks for it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from spank_qrmi.check import slurmd
from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import CommonArguments
from spank_qrmi.configuration.node_variables import with_file_variables
from spank_qrmi.configuration.qrmi_config import Config, load_config
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments, has_configuration
from spank_qrmi.configuration.slurm_files import (
    PluginLine,
    TextLine,
    find_slurm_conf,
    plugstack_of_node,
    read_plugstack,
    read_slurm_conf,
    walk_plugstack,
)
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.trust.running_code import INTERPRETER_LINK

LIBRARIES = (qrmi_plugstack.LIBRARY, qrun_plugstack.LIBRARY)

_LARGEST_SECONDS = 10**6


class Node:
    """What is configured here. Each property raises the QrmiError of the file that is in the way.

    `names` are the QPUs to look at, all if there are none; `plugstack` and `config` stand for those
    files that slurm.conf and plugstack.conf lead to.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        *,
        plugstack: Path | None = None,
        config: Path | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._plugstack = plugstack
        self._config = config

    @cached_property
    def slurm_conf(self) -> Path | None:
        """The node's slurm.conf."""
        return find_slurm_conf()

    @cached_property
    def slurm_values(self) -> dict[str, str]:
        """What slurm.conf says, keys in lower case; nothing without one."""
        return read_slurm_conf(self.slurm_conf) if self.slurm_conf else {}

    def slurm_number(self, key: str, default: int) -> int:
        """Return a number of slurm.conf's, or Slurm's own if it has none."""
        number = parse_number(self.slurm_values.get(key, ""), _LARGEST_SECONDS)
        return default if number is None else number

    @cached_property
    def plugstack(self) -> Path | None:
        """The plugstack.conf that slurmd reads; None without a slurm.conf."""
        return plugstack_of_node(self._plugstack)

    @cached_property
    def text_lines(self) -> list[TextLine]:
        """All lines of plugstack.conf and of what it includes."""
        return list(walk_plugstack(self.plugstack)) if self.plugstack else []

    @cached_property
    def lines(self) -> list[PluginLine]:
        """The lines that load our plugins."""
        found = read_plugstack(self.plugstack) if self.plugstack else []
        return [line for line in found if line.library in LIBRARIES]

    def lines_of(self, library: str) -> list[PluginLine]:
        """Return the lines of one of our plugins, that which counts first."""
        return sorted(
            (line for line in self.lines if line.library == library),
            key=lambda line: (
                library == qrmi_plugstack.LIBRARY and not has_configuration(line.arguments)
            ),
        )

    @cached_property
    def arguments(self) -> CommonArguments:
        """What plugstack.conf says of spank_qrmi.so, and what its --env-file does."""
        found = with_file_variables(qrmi_plugstack.find_arguments(self._plugstack))
        if self._config is not None and isinstance(found, PluginArguments):
            found = replace(found, config_path=str(self._config))
        return found

    @cached_property
    def config(self) -> Config | None:
        """The QPUs; None where nothing says in which file they are."""
        arguments = self.arguments
        path = arguments.config_path if isinstance(arguments, PluginArguments) else self._config
        return None if path is None else load_config(path, CLIENTS)

    @cached_property
    def slurmds(self) -> list[slurmd.Slurmd]:
        """The slurmds that run with this slurm.conf."""
        return slurmd.find_slurmds(self.slurm_conf) if self.slurm_conf else []

    @cached_property
    def slurm_release(self) -> str | None:
        """Slurm's release here, such as `24.11`; None if nobody tells it."""
        return slurmd.slurm_release(self.slurmds)

    def plugin_file(self, line: PluginLine) -> Path | None:
        """Return the file that a line loads; None for one without a folder that is not found."""
        if "/" in line.path:
            return Path(line.path)
        folders = self.slurm_values.get("plugindir", "").split(":")
        paths = [Path(folder, line.path) for folder in [*folders, *_PLUGIN_FOLDERS] if folder]
        return next((path for path in paths if path.exists()), None)

    def interpreter(self, line: PluginLine) -> Path | None:
        """Return the interpreter of a plugin's workers as its link names it; None if none does."""
        file = self.plugin_file(line)
        if file is None:
            return None
        try:
            return Path(os.readlink(file.resolve().with_name(INTERPRETER_LINK)))  # noqa: PTH115 (its error is handled)
        except OSError:
            return None


_PLUGIN_FOLDERS = (
    *("/usr/lib/x86_64-linux-gnu/slurm-wlm", "/usr/lib/aarch64-linux-gnu/slurm-wlm"),
    *("/usr/lib64/slurm", "/usr/lib/slurm", "/usr/local/lib/slurm", "/opt/slurm/lib/slurm"),
)
"""Where a Slurm has its plugins that slurm.conf does not say it of."""
