# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a release's packages come from, and the keys that they are signed with."""

import os
import platform
import shutil
import subprocess
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from clean_root.machine import apt_mirror


class ArchiveError(Exception):
    """A release's archive is not known, or the keys that it is signed with are not to be had."""


@dataclass(frozen=True)
class Archive:
    """One distribution's archive as debootstrap needs it."""

    origin: str
    components: str
    keyring: Path
    suite_script: str
    # For a machine without the keyring: where the key is, and which one it must be.
    key_path: str = ""
    key_fingerprint: str = ""

    @property
    def mirror(self) -> str:
        """The mirror that the environment names, or the one of the machine's apt.

        Raises ArchiveError if neither knows one of this distribution.
        """
        variable = f"{self.origin.upper()}_MIRROR"
        mirror = os.environ.get(variable) or apt_mirror(self.origin)
        if mirror is None:
            message = f"this machine's apt has no mirror of {self.origin}: name one in {variable}"
            raise ArchiveError(message)
        return mirror

    def trusted_keys(self, folder: Path) -> Path:
        """Return the keyring, made in `folder` if the machine has none; raise ArchiveError."""
        if self.keyring.exists():
            return self.keyring
        if not self.key_path:
            message = f"{self.keyring} is missing: apt-get install {self.keyring.stem}"
            raise ArchiveError(message)
        made = folder / self.keyring.name
        if not made.exists():
            self._fetch_key(made)
        return made

    def _fetch_key(self, target: Path) -> None:
        """Keep of the keys that the mirror offers the one with our fingerprint."""
        if shutil.which("gpg") is None:
            message = f"gpg is missing, to check the keys of {self.origin}: apt-get install gnupg"
            raise ArchiveError(message)
        address = f"{self.mirror.rstrip('/')}/{self.key_path}"
        try:
            # The address is apt's or the caller's; what it gives is checked.
            with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
                exported = _export_key(answer.read(), self.key_fingerprint)
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"the keys of {self.origin} at {address} cannot be read: {error}"
            raise ArchiveError(message) from error
        if not exported:
            message = f"{address} does not hold the key {self.key_fingerprint}"
            raise ArchiveError(message)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(exported)


def _export_key(offered: bytes, fingerprint: str) -> bytes:
    """Return one of the keys in a keyring, nothing if it is not there."""
    with tempfile.TemporaryDirectory() as home:
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet")
        subprocess.run([*gpg, "--import"], check=True, capture_output=True, input=offered)
        command = [*gpg, "--export", fingerprint]
        return subprocess.run(command, check=True, capture_output=True).stdout


DEBIAN = Archive(
    origin="Debian",
    components="main",
    keyring=Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    suite_script="sid",
)
UBUNTU = Archive(
    origin="Ubuntu",
    components="main,universe",
    keyring=Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
    suite_script="gutsy",
    key_path="project/ubuntu-archive-keyring.gpg",
    # Ubuntu Archive Automatic Signing Key (2018), as package ubuntu-keyring has it.
    key_fingerprint="F6ECB3762474EDA9D21B7022871920D1991BC93C",
)
RELEASES = {
    "bookworm": DEBIAN,
    "noble": UBUNTU,
    "trixie": DEBIAN,
    "resolute": UBUNTU,
    "sid": DEBIAN,
}


def own_release() -> tuple[str, Archive]:
    """Return the machine's own suite and its archive, by os-release(5); raise ArchiveError."""
    try:
        system = platform.freedesktop_os_release()
    except OSError as error:
        message = f"this machine does not say its release: {error}"
        raise ArchiveError(message) from error
    for archive in (DEBIAN, UBUNTU):
        if system["ID"] == archive.origin.lower() and "VERSION_CODENAME" in system:
            return system["VERSION_CODENAME"], archive
    message = f"this machine is neither Debian nor Ubuntu of a known release: {system['ID']}"
    raise ArchiveError(message)
