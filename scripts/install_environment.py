# SPDX-License-Identifier: GPL-3.0-or-later
"""`make install` and `make uninstall`: the package's own virtual environment, then its plugins.

Runs with the Python that the environment is to be made of, and needs only its standard library.
Each content has an environment of its own, `VERSION-DIGEST` in the folder that `--environment`
names: a new one is made beside those in use and links are switched to it, so that a worker which
starts meanwhile finds a whole one. `current` is a link to the newest; the one before it is kept for
processes that still run from it.
"""

# So that a Python which is too old gets as far as being told so.
from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import check_python
import step

from spank_qrmi.trust.paths import trouble_with

CREATED = "created-folders"
CURRENT = "current"
STAGING_PREFIX = ".new-"
RECORD_OF_PLUGINS = Path("share", "spank-qrmi", "installed.json")
LOCK = "share/spank-qrmi/requirements/node.txt"
# What pip writes where the interpreter's path is too long for a first line: while it is staged.
LONG_FIRST_LINE = re.compile(rb"\A#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\" \"\$@\"\n' '''\n")
# Below these systemd looks for units.
PREFIXES_OF_SYSTEMD = {Path("/usr"), Path("/usr/local")}
HINT = "on a compute node, now: systemctl enable --now spank-qrmi.target"


def main() -> None:
    """Install or uninstall, as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument("--destdir", type=Path, required=True)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--plugindir", type=Path, required=True)
    parser.add_argument("--sysconfdir", type=Path, required=True)
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--pip", help="Python with the pip that fills the environment")
    parser.add_argument("--verbose", action="store_true", help="list all files")
    options = parser.parse_args()
    os.umask(0o022)
    root = options.destdir.absolute()
    folder = root / options.environment.relative_to("/")
    if options.action == "install":
        check_python.main()
        if root == Path("/"):
            refuse_open_folder(folder)
        install(options, root, folder)
        if root == Path("/") and options.prefix in PREFIXES_OF_SYSTEMD:
            print(HINT)
    else:
        uninstall(root, folder, is_verbose=options.verbose)


def install(options: argparse.Namespace, root: Path, folder: Path) -> None:
    """Make the environment, let it install its plugins, and forget those out of use."""
    remember_folders(root, folder)
    former = current(folder)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    try:
        environment = staging / "environment"
        make_environment(environment, options.wheel, options.pip)
        name = name_of(environment)
        finish(environment, Path("/", folder.relative_to(root), name))
        place(environment, folder / name, staging)
    finally:
        shutil.rmtree(staging)
    run(
        *(folder / name / "bin" / "python", "-I", "-m", "spank_qrmi", "install", "--root", root),
        *("--plugindir", options.plugindir, "--sysconfdir", options.sysconfdir),
        *("--prefix", options.prefix, *verbosity(is_verbose=options.verbose)),
    )
    if former != name:
        switch(folder, name)
        forget_others(folder, {name, former})


def refuse_open_folder(folder: Path) -> None:
    """End if others than root could change what is installed there: the worker would not start."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    trouble = trouble_with([existing])
    if trouble:
        sys.exit(
            f"error: {trouble}: choose another PREFIX, or remove what others may have put there "
            "and let only root write"
        )


def remember_folders(root: Path, folder: Path) -> None:
    """Make the folder of the environments; note which of its parents were not there."""
    if folder.exists():
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True)
    created = [each.relative_to(root) for each in missing if each.is_relative_to(root)]
    folder.joinpath(CREATED).write_text("".join(f"{each}\n" for each in created))


def current(folder: Path) -> str:
    """Return the name of the environment in use, or nothing."""
    link = folder / CURRENT
    return str(link.readlink()) if link.is_symlink() else ""


def switch(folder: Path, name: str) -> None:
    """Let `current` name another environment, at once."""
    scratch = folder / f"{STAGING_PREFIX}{CURRENT}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(name)
    scratch.replace(folder / CURRENT)


def make_environment(environment: Path, wheel: Path, pip: str) -> None:
    """Make an environment with the wheel and the very files that it was released with."""
    venv.create(environment, symlinks=True, with_pip=False)
    install = (
        *(pip, "-m", "pip", "--python", environment / "bin" / "python"),
        *("--disable-pip-version-check", "install", "--progress-bar", "off", "--no-compile"),
    )
    with tempfile.NamedTemporaryFile(suffix=".txt") as lock:
        lock.write(lock_of(wheel))
        lock.flush()
        locked = ("--require-hashes", "--only-binary", ":all:", "--requirement", lock.name)
        step.run(
            "installing what the worker depends on",
            [*install, *locked],
            step.LOGS / "dependencies.log",
        )
    step.run(
        f"installing {wheel.name}",
        [*install, "--no-deps", "--no-index", wheel],
        step.LOGS / "installation.log",
    )
    forget_wheel(environment)


def lock_of(wheel: Path) -> bytes:
    """Return the list of versions and hashes that a wheel carries; end if it has none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(f"/{LOCK}"):
                    return archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {wheel} cannot be read: {error}")
    sys.exit(f"error: {wheel} carries no {LOCK}: name a wheel that `make wheel` has built")


def forget_wheel(environment: Path) -> None:
    """Remove pip's note of the file that the package was installed from: it will not stay."""
    for note in environment.glob("lib/*/site-packages/spank_qrmi-*.dist-info/direct_url.json"):
        record = note.with_name("RECORD")
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if f"/{note.name}," not in line))
        note.unlink()


def name_of(environment: Path) -> str:
    """Return `VERSION-DIGEST`: the package's version, and what Python and all files amount to."""
    [information] = environment.glob("lib/*/site-packages/spank_qrmi-*.dist-info")
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(each for each in environment.rglob("*") if each.is_file()):
        # These name the folder in which the environment was made.
        if path.name not in ("RECORD", "pyvenv.cfg") and path.parent.name != "bin":
            digest.update(f"{path.relative_to(environment)}\n".encode() + path.read_bytes())
    version = information.name.removeprefix("spank_qrmi-").removesuffix(".dist-info")
    return f"{version}-{digest.hexdigest()[:12]}"


def finish(environment: Path, final: Path) -> None:
    """Give the environment its final name wherever it names itself, and compile it."""
    staged = os.fsencode(environment)
    scripts = environment.joinpath("bin").iterdir()
    for path in [environment / "pyvenv.cfg", *scripts]:
        if not path.is_symlink():
            text = path.read_bytes().replace(staged, os.fsencode(final))
            path.write_bytes(LONG_FIRST_LINE.sub(rb"#!\1\n", text))
    for record in environment.glob("lib/*/site-packages/*.dist-info/RECORD"):
        correct_hashes(record)
    run(
        *(sys.executable, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
        *("-s", environment, "-p", final, environment / "lib"),
        # Some Pythons write the elements of a set in the order of their hashes.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def correct_hashes(record: Path) -> None:
    """Write the hashes of the commands anew into an installed package's list of files."""
    lines = record.read_text().splitlines()
    for index, line in enumerate(lines):
        name = line.partition(",")[0]
        if name.startswith("../../../bin/"):
            written = (record.parents[1] / name).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(written).digest()).rstrip(b"=")
            lines[index] = f"{name},sha256={digest.decode()},{len(written)}"
    record.write_text("".join(f"{line}\n" for line in lines))


def place(environment: Path, target: Path, staging: Path) -> None:
    """Move an environment to its place, unless the same is there already."""
    if not target.exists():
        environment.rename(target)
    elif content(environment) != content(target):
        # The same name and another content: somebody has changed it.
        record = target / RECORD_OF_PLUGINS
        if record.exists():
            shutil.copy(record, environment / RECORD_OF_PLUGINS)
        target.rename(staging / "changed")
        environment.rename(target)


def content(environment: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of all files and links of an environment but its record."""
    found = {}
    for path in environment.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(environment))] = (0, os.fsencode(path.readlink()))
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).digest()
            found[str(path.relative_to(environment))] = (path.stat().st_mode, digest)
    found.pop(str(RECORD_OF_PLUGINS), None)
    return found


def forget_others(folder: Path, kept: set[str]) -> None:
    """Remove all environments but those named, and what an interrupted installation left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            shutil.rmtree(path)


def uninstall(root: Path, folder: Path, *, is_verbose: bool = False) -> None:
    """Take away the plugins, the environments and the folders that were made for them."""
    interpreter = folder / CURRENT / "bin" / "python"
    if not interpreter.exists():
        sys.exit(f"error: nothing is installed in {folder}")
    record = folder / CREATED
    created = [root / line for line in record.read_text().splitlines()] if record.exists() else []
    command = (interpreter, "-I", "-m", "spank_qrmi", "uninstall", "--root", root)
    run(*command, *verbosity(is_verbose=is_verbose))
    shutil.rmtree(folder)
    for each in created:
        if each.is_dir() and not any(each.iterdir()):
            each.rmdir()
    print(f"removed {folder}")


def verbosity(*, is_verbose: bool) -> list[str]:
    """Return the option that has `spank-qrmi` list all files, which an older one does not know."""
    return ["--verbose"] if is_verbose else []


def run(*command: object, env: dict[str, str] | None = None) -> None:
    """Run a command; end with its exit status if it fails."""
    ended = subprocess.run([str(word) for word in command], check=False, env=env)
    if ended.returncode != 0:
        sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
