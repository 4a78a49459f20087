# SPDX-License-Identifier: GPL-3.0-or-later
"""`make install` and `make uninstall`: the package's own virtual environment, then its plugins.

Runs with the Python that the environment is to be made of, and needs only its standard library.
"""

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CREATED = "created-folders"


def main() -> None:
    """Install or uninstall, as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument("--destdir", type=Path, required=True)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--plugindir", type=Path, required=True)
    parser.add_argument("--sysconfdir", type=Path, required=True)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--pip", help="Python with the pip that fills the environment")
    options = parser.parse_args()
    os.umask(0o022)
    root = options.destdir.absolute()
    environment = root / options.environment.relative_to("/")
    if options.action == "install":
        install(options, root, environment)
    else:
        uninstall(root, environment)


def install(options: argparse.Namespace, root: Path, environment: Path) -> None:
    """Make the environment, fill it, and let it install its plugins."""
    created = [each for each in environment.parents if not each.exists()]
    if environment.exists():
        created = folders_to_remove(root, environment)
    environment.parent.mkdir(parents=True, exist_ok=True)
    venv.create(environment, symlinks=True, with_pip=False)
    environment.joinpath(CREATED).write_text(
        "".join(f"{each.relative_to(root)}\n" for each in created if each.is_relative_to(root))
    )
    interpreter = environment / "bin" / "python"
    run(
        *(options.pip, "-m", "pip", "--python", interpreter, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-compile", "--force-reinstall", options.wheel),
    )
    forget_wheel(environment)
    forget_staging(environment, root)
    compileall.compile_dir(
        environment / "lib",
        quiet=1,
        stripdir=str(root) if root != Path("/") else None,
        invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
    )
    run(
        *(interpreter, "-I", "-m", "spank_qrmi", "install", "--root", root),
        *("--plugindir", options.plugindir, "--sysconfdir", options.sysconfdir),
    )


def forget_wheel(environment: Path) -> None:
    """Remove pip's note of the file that the package was installed from: it will not stay."""
    for note in environment.glob("lib/*/site-packages/spank_qrmi-*.dist-info/direct_url.json"):
        record = note.with_name("RECORD")
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if f"/{note.name}," not in line))
        note.unlink()


def forget_staging(environment: Path, root: Path) -> None:
    """Replace the staging folder's name by the final one where files of the environment name it."""
    if root == Path("/"):
        return
    scripts = environment.joinpath("bin").iterdir()
    staged = os.fsencode(environment)
    final = os.fsencode(Path("/", environment.relative_to(root)))
    for path in [environment / "pyvenv.cfg", *scripts]:
        if not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(staged, final))


def uninstall(root: Path, environment: Path) -> None:
    """Take away the plugins, the environment and the folders that were made for it."""
    interpreter = environment / "bin" / "python"
    if not interpreter.exists():
        sys.exit(f"error: nothing is installed in {environment}")
    created = folders_to_remove(root, environment)
    run(interpreter, "-I", "-m", "spank_qrmi", "uninstall", "--root", root)
    shutil.rmtree(environment)
    for folder in created:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    print(f"removed {environment}")


def folders_to_remove(root: Path, environment: Path) -> list[Path]:
    """Return the folders that an installation made for the environment, innermost first."""
    record = environment / CREATED
    lines = record.read_text().splitlines() if record.exists() else []
    return [root / line for line in lines]


def run(*command: object) -> None:
    """Run a command; end with its exit status if it fails."""
    ended = subprocess.run([str(word) for word in command], check=False)
    if ended.returncode != 0:
        sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
