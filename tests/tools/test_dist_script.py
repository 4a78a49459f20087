# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built does not tell who made it where and when; and its checksums."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from slurm_matrix.sources import copy_sources, sources_of

from loopback.installation import REPOSITORY
from scripts import dist


def make_archive(seconds: int, uid: int, names: list[str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"package-1/{name}")
            member.mtime, member.uid, member.uname, member.size = seconds, uid, f"user{uid}", 4
            member.mode = 0o700 if name == "run" else 0o600
            archive.addfile(member, io.BytesIO(b"text"))
    return packed.getvalue()


def test_archive_does_not_depend_on_who_makes_it_when() -> None:
    # What setuptools derives, which names itself, is left out.
    derived = ["setup.cfg", "package.egg-info/SOURCES.txt"]
    names = ["b", "run", "a/setup.cfg", "old", *derived]
    # One that is made stands for an older one of the same name.
    made = {"b.spec": b"made", "old": b"made"}
    one = dist.normalised(make_archive(1_000, 1, names), 7, made)
    other = dist.normalised(make_archive(2_000, 2, names[::-1]), 7, made)
    assert one == other
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        packed = [
            (each.name, each.mode, each.mtime, archive.extractfile(each).read())  # type: ignore[union-attr]
            for each in archive
        ]
    assert packed == [
        ("package-1/a/setup.cfg", 0o644, 7, b"text"),
        ("package-1/b", 0o644, 7, b"text"),
        ("package-1/b.spec", 0o644, 7, b"made"),
        ("package-1/old", 0o644, 7, b"made"),
        ("package-1/run", 0o755, 7, b"text"),
    ]


def test_checksums_name_every_file_but_themselves(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_text("")
    (tmp_path / "a").write_text("text")
    for _ in range(2):
        assert dist.write_checksums(tmp_path).read_text() == (
            "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1  a\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b/c\n"
        )
    (tmp_path / "a").unlink()
    check = ["sha256sum", "--check", "--ignore-missing", "SHA256SUMS"]
    assert subprocess.check_output(check, cwd=tmp_path, text=True) == "b/c: OK\n"


def build(folder: Path, seconds: int, umask: int) -> dict[str, str]:
    """Build wheels and source distribution of a copy whose files have this time."""
    copy_sources(REPOSITORY, sources_of(REPOSITORY), folder)
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))
        # Who checks out with another umask has other modes.
        path.chmod(0o777 & ~umask if path.is_dir() or os.access(path, os.X_OK) else 0o666 & ~umask)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(
        ["make", "sdist", "wheel", "simulator-wheel", f"VENV={sys.prefix}"],
        cwd=folder,
        env=variables | {"SOURCE_DATE_EPOCH": "1700000000"},
        umask=umask,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    built = [*folder.glob("dist/*"), *folder.glob("build/wheel/*.whl")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


def test_wheels_and_source_distribution_are_the_same_each_time(tmp_path: Path) -> None:
    one = build(tmp_path / "one", 1_000_000_000, 0o022)
    other = build(tmp_path / "another folder" / "two", 1_500_000_000, 0o077)
    assert one == other
    assert sorted(Path(name).suffix for name in one) == [".gz", ".whl", ".whl"]
