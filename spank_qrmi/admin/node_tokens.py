# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's access tokens for people: which QPUs use each, how old it is; never what it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.tokens import Login
from spank_qrmi.configuration import qrun_plugstack
from spank_qrmi.configuration.common_plugstack import CommonArguments
from spank_qrmi.configuration.qrmi_config import Config, Resource, load_config
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.configuration.qrun_credentials import load_credentials
from spank_qrmi.configuration.secret_files import read_secrets
from spank_qrmi.configuration.slurm_files import plugstack_of_node, read_plugstack
from spank_qrmi.errors import ConfigError, QrmiError
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.job.resolution import shown_names
from spank_qrmi.state.token_cache import TokenCache

QRUN = "the command qrun"
"""Stands for a QPU where the token is of the credentials of spank_ibm_qrun.so."""

_HEADINGS = ("AGE", "USED FOR", "QPUS")
_MINUTE_SECONDS = 60


class NodeTokens:
    """The tokens in one state directory, and the QPUs whose logins they are of."""

    def __init__(self, arguments: CommonArguments, plugstack: Path | None = None) -> None:
        self._cache = TokenCache(arguments.state_directory)
        self._config_path = (
            arguments.config_path if isinstance(arguments, PluginArguments) else None
        )
        self._plugstack = plugstack

    def lines(self) -> list[str]:
        """Return a table of all tokens; raise ConfigError."""
        stored = self._cache.stored()
        if not stored:
            return ["no access token is kept on this node"]
        users = self._users_by_key()
        lines = [f"{_HEADINGS[0]:<8}  {_HEADINGS[1]:<8}  {_HEADINGS[2]}"]
        for key, token in sorted(stored.items(), key=lambda pair: pair[1].age_seconds):
            names = ", ".join(users.get(key, ())) or "none that is configured now"
            times = f"{_shown(token.age_seconds):<8}  {_shown(token.seconds):<8}"
            lines.append(f"{times}  {names}")
        return lines

    def drop(self, name: str) -> str:
        """Remove the token of a QPU's login; return what became of it. Raises ConfigError."""
        users = self._users_by_key()
        keys = [key for key, names in users.items() if name in names]
        if not keys:
            known = list(dict.fromkeys(each for names in users.values() for each in names))
            raise ConfigError(
                f"{name}: no QPU of this name has a login whose tokens are kept; those that have: "
                f"{shown_names(known) or 'none'}"
            )
        if not self._cache.remove(keys):
            return f"{name}: no access token is kept"
        return f"dropped: the next job asks anew for {', '.join(users[keys[0]])}"

    def drop_all(self) -> str:
        """Remove all tokens; return what became of them. Raises ConfigError."""
        return f"dropped {self._cache.remove()}: the next jobs ask anew"

    def _users_by_key(self) -> dict[str, list[str]]:
        """Return for each login that is configured, by its token's key, who uses it."""
        users: dict[str, list[str]] = {}
        for name, login in self._logins():
            users.setdefault(TokenCache.key_of(login), []).append(name)
        return users

    def _logins(self) -> Iterator[tuple[str, Login]]:
        if self._config_path is not None:
            config = load_config(self._config_path, CLIENTS)
            for resource in config.resources.values():
                login = _login_of(resource, config)
                if login is not None:
                    yield resource.name, login
        path = plugstack_of_node(self._plugstack)
        for line in read_plugstack(path) if path else ():
            if line.library == qrun_plugstack.LIBRARY:
                arguments = qrun_plugstack.parse_arguments(line.arguments)
                yield QRUN, quantum_system_from(_credentials_of(arguments)).login


def _login_of(resource: Resource, config: Config) -> Login | None:
    """Return a resource's login as jobs have it; None if it has none, or is of no use to jobs."""
    try:
        whole, _ = read_secrets(resource, config.path)
        values = collect_variables(whole, 0, ()).values
        settings = Settings(resource.name, values, has_sites_login=True)
        return CLIENTS[resource.type](settings).login
    except QrmiError:
        return None


def _credentials_of(arguments: qrun_plugstack.QrunArguments) -> Mapping[str, str]:
    if arguments.credentials_path is None:
        return arguments.values
    return load_credentials(arguments.credentials_path)


def _shown(seconds: int) -> str:
    return f"{seconds // _MINUTE_SECONDS} min" if seconds >= _MINUTE_SECONDS else f"{seconds} s"
