# SPDX-License-Identifier: GPL-3.0-or-later
"""Source distribution and wheels that are the same for each build, and checksums of all files."""

import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import package

CHECKSUMS = "SHA256SUMS"
DERIVED = re.compile(r"^[^/]*/(setup\.cfg$|[^/]*\.egg-info(/|$))")


def main() -> None:
    """Do what the command line says: `sdist`, `wheels` or `checksums`, and a folder."""
    action, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    if action == "sdist":
        print(build_sdist(folder))
    elif action == "wheels":
        for wheel in folder.glob("*.whl"):
            give_usual_modes(wheel)
    else:
        print(write_checksums(folder))


def build_sdist(folder: Path) -> Path:
    """Build the source distribution with the setuptools of this Python; return its path."""
    with tempfile.TemporaryDirectory() as scratch:
        call = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", call, scratch], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"{done.stdout}{done.stderr}error: the source distribution cannot be built")
        [built] = Path(scratch).glob("*.tar.gz")
        target = folder / built.name
        version = built.name.removeprefix("spank_qrmi-").removesuffix(".tar.gz")
        made = {package.SPEC: package.spec(version).encode()}
        seconds = int(os.environ["SOURCE_DATE_EPOCH"])
        target.write_bytes(normalised(built.read_bytes(), seconds, made))
    return target


def normalised(archive: bytes, seconds: int, made: Mapping[str, bytes]) -> bytes:
    """Return a .tar.gz without what depends on when, where and by whom it was made.

    What setuptools derives from the rest, which names itself, is left out; the files that are
    `made` here stand at the top.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as source,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        members = {each.name: each for each in source.getmembers()}
        contents = {
            name: source.extractfile(each) for name, each in members.items() if each.isfile()
        }
        [top] = {name.partition("/")[0] for name in members}
        for name, text in made.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(text)
            members[member.name] = member
            contents[member.name] = io.BytesIO(text)
        for name, member in sorted(members.items()):
            if DERIVED.search(name):
                continue
            member.mtime = seconds
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            target.addfile(member, contents.get(name))
    return gzip.compress(packed.getvalue(), mtime=0)


def give_usual_modes(wheel: Path) -> None:
    """Write a wheel anew, with modes that do not depend on the umask of who checked out."""
    packed = io.BytesIO()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            is_executable = member.external_attr >> 16 & stat.S_IXUSR
            member.external_attr = (stat.S_IFREG | (0o755 if is_executable else 0o644)) << 16
            target.writestr(member, content)
    wheel.write_bytes(packed.getvalue())


def write_checksums(folder: Path) -> Path:
    """Write the checksums of all files below a folder for sha256sum(1); return the path."""
    names = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CHECKSUMS
    }
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in names.items()
    ]
    target = folder / CHECKSUMS
    target.write_text("".join(lines))
    return target


if __name__ == "__main__":
    main()
