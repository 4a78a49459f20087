# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node sets for requests, by `--env:` in plugstack.conf, and keeps with what it holds."""

import os
from collections.abc import Mapping

from spank_qrmi.errors import ArgumentError, ConfigError
from spank_qrmi.trust.files import check_trusted


def check_certificates(node_variables: Mapping[str, str]) -> None:
    """Raise ArgumentError if others could change the certificates that requests will trust."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        # OpenSSL takes several folders.
        for path in filter(None, node_variables.get(name, "").split(os.pathsep)):
            try:
                check_trusted(path)
            except ConfigError as error:
                raise ArgumentError(f"--env:{name}: {error}") from error
