# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the plugins reads bytes from elsewhere, as programs that a fuzzer or a test runs."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import PROJECT

_HERE = PROJECT / "fuzz" / "plugin"
_FAKE_SLURM = PROJECT / "tests" / "unit"
_FLAGS = (
    "-std=gnu11",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
_TAKEN_OVER = (
    "_exit",
    "kill",
    "posix_spawn",
    "posix_spawn_file_actions_adddup2",
    "waitid",
    "waitpid",
)


@dataclass(frozen=True)
class PluginTarget:
    """One program: a .pyx, C sources beside it, and the libc functions that these take over."""

    name: str
    sources: tuple[str, ...] = ()
    taken_over: tuple[str, ...] = field(default=(), repr=False)


PLUGIN_TARGETS = (
    PluginTarget("answer"),
    PluginTarget("catalog"),
    PluginTarget("text"),
    PluginTarget("qrmi_step", ("step.c",), _TAKEN_OVER),
    PluginTarget("qrun_step", ("step.c",), _TAKEN_OVER),
)


def build_fuzzer(target: PluginTarget, folder: Path) -> Path:
    """Compile a target with clang and libFuzzer; return the program's path."""
    return _build(target, folder, ["clang", "-O1", "-fsanitize=fuzzer"], ())


def build_replayer(target: PluginTarget, folder: Path) -> Path:
    """Compile a target with gcc as a program that runs the files it is given, each once."""
    return _build(target, folder, ["gcc", "-O0"], ("replay.c",))


def _build(
    target: PluginTarget, folder: Path, compiler: Sequence[str], sources: Sequence[str]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generated = folder / f"{target.name}.c"
    program = folder / target.name
    cython = [sys.executable, "-m", "cython", "-Wextra", "-Werror"]
    cython += [f"-I{PROJECT}", f"-I{PROJECT / 'include'}", "-o", str(generated)]
    subprocess.run([*cython, str(_HERE / f"{target.name}.pyx")], check=True)
    slurm_folders = [each for each in os.environ.get("SLURM_INCLUDE_DIRS", "").split(":") if each]
    include_folders = [
        PROJECT / "include",
        _FAKE_SLURM,
        *slurm_folders,
        sysconfig.get_path("include"),
    ]
    own = [_HERE / name for name in ("host.c", *target.sources, *sources)]
    subprocess.run(
        [
            *compiler,
            *_FLAGS,
            *(f"-I{each}" for each in include_folders),
            str(generated),
            *(str(each) for each in (*own, _FAKE_SLURM / "fake_slurm.c")),
            *(f"-Wl,--wrap={name}" for name in target.taken_over),
            "-o",
            str(program),
            *_python_library(),
        ],
        check=True,
    )
    # Beside the program, as beside the plugin: what step.c would start if it started anything.
    link = folder / "spank_qrmi.python"
    link.unlink(missing_ok=True)
    link.symlink_to("/nonexistent")
    return program


def _python_library() -> Sequence[str]:
    """Return what links Cython's module code, which sanitizers keep and nothing ever runs."""
    told = {name: sysconfig.get_config_var(name) or "" for name in ("LIBDIR", "LIBS", "SYSLIBS")}
    library = f"-lpython{sysconfig.get_config_var('LDVERSION')}"
    folder = f"-L{told['LIBDIR']}"
    return (folder, library, *told["LIBS"].split(), *told["SYSLIBS"].split())
