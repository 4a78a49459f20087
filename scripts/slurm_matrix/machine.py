# SPDX-License-Identifier: GPL-3.0-or-later
"""What the builds in the roots take over from the machine: pip's settings and Pythons."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from clean_root.machine import output_of

PIP = re.compile(r"PIP_\w+|SSL_CERT_\w+|\w+_CA_BUNDLE", re.IGNORECASE)


def package_variables() -> dict[str, str]:
    """Return what of our environment says where pip finds packages, and whom it trusts."""
    return {name: value for name, value in os.environ.items() if PIP.fullmatch(name)}


def package_paths() -> list[Path]:
    """Return pip's configuration files, and what they and `package_variables` name."""
    configs = re.findall(
        r"^\s*(/\S+), exists: True$",
        output_of(sys.executable, "-m", "pip", "config", "debug"),
        re.MULTILINE,
    )
    texts = [*package_variables().values(), *(Path(name).read_text() for name in configs)]
    words = [word for text in texts for word in re.split(r"[\s='\"]+", text)]
    # The files that an index lists lie beside it.
    indexes = [Path(word.removeprefix("file://")).parent for word in words if "file:///" in word]
    named = [Path(word) for word in [*configs, *words] if word.startswith("/")]
    found = dict.fromkeys([*named, *indexes])
    return [path for path in found if path != Path("/") and path.exists()]


@dataclass(frozen=True)
class Python:
    """An interpreter of this machine, and the folder that holds all of its files."""

    interpreter: Path
    prefix: Path


def find_python(version: str) -> Python | None:
    """Return this machine's newest Python of a version such as 3.10; None if it has none.

    One that shares /usr with the rest of the machine cannot be shown to a root.
    """
    name = f"python{version}"
    candidates = [Path(found) for found in [shutil.which(name)] if found]
    installed = Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/{name}")
    candidates += sorted(installed, key=lambda path: _numbers(path.parts[-3]), reverse=True)
    for candidate in candidates:
        # pyenv has a stand-in on the PATH, which fails for a version that is not active.
        program = "import ensurepip, sys, venv; print(sys.base_prefix)"
        prefix = Path(output_of(str(candidate), "-c", program).strip())
        if prefix.is_absolute() and prefix != Path("/usr"):
            return Python(prefix / "bin" / name, prefix)
    return None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
