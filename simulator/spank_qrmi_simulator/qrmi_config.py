# SPDX-License-Identifier: GPL-3.0-or-later
"""The qrmi_config.json that makes the plugins use a simulated site."""

import errno
import os
import tempfile
from pathlib import Path

import orjson

from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.vendors import VENDORS


def site_config(base_url: str, store: ObjectStore | None = None) -> dict[str, object]:
    """Return the configuration for all that a new site offers; `base_url` ends without a slash.

    Without `store`, Direct Access can be acquired but runs nothing.
    """
    site = Site()
    offers = [offer for vendor in VENDORS for offer in vendor(site).offers(base_url, store)]
    resources = [
        {"name": name, "type": offer.type_name, "environment": dict(offer.environment)}
        for offer in offers
        for name in offer.names
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
