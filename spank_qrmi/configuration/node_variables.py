# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node sets for requests, by `--env:` in plugstack.conf and by the file of `--env-file`.

It is kept with what the node holds, so a release does without that file.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from spank_qrmi.clients.http import PROXY_VARIABLES
from spank_qrmi.configuration.common_plugstack import VARIABLES_FILE, CommonArguments
from spank_qrmi.errors import ArgumentError, ConfigError
from spank_qrmi.trust.files import StrPath, check_trusted, read_private_file

MAX_FILE_BYTES = 8 * 1024

AnyArguments = TypeVar("AnyArguments", bound=CommonArguments)


def check_certificates(node_variables: Mapping[str, str]) -> None:
    """Raise ArgumentError if others could change the certificates that requests will trust."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        # OpenSSL takes several folders.
        for path in filter(None, node_variables.get(name, "").split(os.pathsep)):
            try:
                check_trusted(path)
            except ConfigError as error:
                raise ArgumentError(f"--env:{name}: {error}") from error


def with_file_variables(arguments: AnyArguments) -> AnyArguments:
    """Return the arguments with the variables of `--env-file` too; one of `--env:` wins over it.

    Raises ArgumentError naming the file, and the line that cannot be used.
    """
    if arguments.variables_path is None:
        return arguments
    try:
        found = _read_variables(arguments.variables_path, is_strict=arguments.is_strict)
    except ConfigError as error:
        raise ArgumentError(f"{VARIABLES_FILE.name}: {error}") from error
    return replace(
        arguments,
        node_variables={**found, **arguments.node_variables},
        names_of_file=frozenset(found.keys() - arguments.node_variables.keys()),
    )


def _read_variables(path: StrPath, *, is_strict: bool) -> dict[str, str]:
    """Return what the lines of a file set, the last one of a name; raise ConfigError."""
    content = read_private_file(path, MAX_FILE_BYTES, is_strict=is_strict)
    found: dict[str, str] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        place = f"{path}: line {number}"
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise ConfigError(f"{place}: is not UTF-8 text") from None
        if text and not text.startswith("#"):
            name, separator, value = map(str.strip, text.partition("="))
            # The plugin lets an answer set no other variable that plugstack.conf does not name.
            if not separator or name not in PROXY_VARIABLES or not value.isprintable():
                raise ConfigError(
                    f"{place}: must be NAME=VALUE, printable, with http_proxy, https_proxy, "
                    "all_proxy or no_proxy as NAME"
                )
            found[name] = value
    return found
