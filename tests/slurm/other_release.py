# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels of releases that do not exist: the built one under another version and message format."""

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from loopback.installation import REPOSITORY
from spank_qrmi import __version__
from spank_qrmi.protocol import VERSION


@dataclass(frozen=True)
class Release:
    """A release; its plugins and its worker speak one version of the message format."""

    version: str
    message_version: int = VERSION

    def build(self, folder: Path) -> Path:
        """Write this release's wheel, made of the built one, into a folder; return its path."""
        [built] = (REPOSITORY / "build" / "wheel").glob("*.whl")
        plugins = {} if self.message_version == VERSION else self._build_plugins(folder / "source")
        target = folder / built.name.replace(__version__, self.version, 1)
        with zipfile.ZipFile(built) as source, zipfile.ZipFile(target, "w") as wheel:
            for member in source.infolist():
                content = plugins.get(member.filename) or source.read(member)
                content = self._changed(member.filename, content)
                member.filename = self._renamed(member.filename)
                wheel.writestr(member, content)
        return target

    def _build_plugins(self, source: Path) -> dict[str, bytes]:
        """Compile the plugins for another message format; return them by their names."""
        for name in ("include", "spank_qrmi/plugin"):
            shutil.copytree(REPOSITORY / name, source / name)
        shutil.copy(REPOSITORY / "setup.py", source)
        definition = source / "spank_qrmi" / "plugin" / "message.pxd"
        old, new = f'b"QRMI\\x{VERSION:02}"', f'b"QRMI\\x{self.message_version:02}"'
        text = _replaced(definition.read_bytes(), old.encode(), new.encode())
        definition.write_bytes(text)
        subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", "."],
            cwd=source,
            check=True,
            capture_output=True,
        )
        return {
            str(path.relative_to(source)): path.read_bytes() for path in source.rglob("plugin/*.so")
        }

    def _renamed(self, name: str) -> str:
        return name.replace(f"spank_qrmi-{__version__}.", f"spank_qrmi-{self.version}.")

    def _changed(self, name: str, content: bytes) -> bytes:
        if name == "spank_qrmi/protocol.py":
            old, new = f"\nVERSION = {VERSION}\n", f"\nVERSION = {self.message_version}\n"
            return _replaced(content, old.encode(), new.encode())
        if name == "spank_qrmi/__init__.py":
            return _replaced(content, __version__.encode(), self.version.encode())
        if name.endswith(".dist-info/METADATA"):
            old, new = f"\nVersion: {__version__}\n", f"\nVersion: {self.version}\n"
            return _replaced(content, old.encode(), new.encode())
        if name.endswith(".dist-info/RECORD"):
            names = (line.partition(",")[0] for line in content.decode().splitlines())
            return "".join(f"{self._renamed(each)},,\n" for each in names).encode()
        return content


def _replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1, old
    return content.replace(old, new)
