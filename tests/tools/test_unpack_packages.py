# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages are unpacked below a folder, and nothing is installed."""

import os
from pathlib import Path

from tests.tools.programs import ended, write_program

SCRIPT = Path(__file__).parents[2] / "scripts" / "unpack_packages.sh"
DOWNLOAD = "-qq -o APT::Sandbox::User=root download one two"


def test_packages_are_unpacked_and_what_was_there_goes(tmp_path: Path) -> None:
    programs, calls, lists, target = (tmp_path / name for name in ("bin", "calls", "lists", "new"))
    write_program(
        programs / "apt-get",
        f'echo "$*" >>{calls}\ncase "$*" in *update*) touch {lists} ;; '
        f"*) test -e {lists} && touch one_1.deb two_2.deb ;; esac",
    )
    write_program(programs / "dpkg-deb", 'mkdir -p "$3/usr/bin" && touch "$3/usr/bin/${2%%_*}"')
    for name in ("rm", "mkdir", "touch"):
        (programs / name).symlink_to(f"/bin/{name}")

    def unpack(user: int = 0) -> tuple[int, str]:
        write_program(programs / "id", f"echo {user}")
        calls.write_text("")
        environment = os.environ | {"PATH": str(programs)}
        done = ended("/bin/sh", SCRIPT, target, "one", "two", env=environment)
        return done.returncode, done.stderr

    line = "error: apt-get finds no one two; only root can: apt-get update\n"
    assert unpack(user=1000) == (1, line)
    # Root fetches lists that are missing, the first time.
    for called in ([DOWNLOAD, "-qq update", DOWNLOAD], [DOWNLOAD]):
        (target / "old").touch()
        assert unpack() == (0, "")
        files = [path for path in target.rglob("*") if path.is_file()]
        assert sorted(files) == [target / "usr/bin" / name for name in ("one", "two")]
        assert calls.read_text().splitlines() == called
    (programs / "apt-get").unlink()
    assert unpack() == (1, "error: wanted on the PATH, by the names of Debian: one two\n")
