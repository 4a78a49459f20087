# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the plugins' symbols: it passes them, and it finds what it is there to find."""

import subprocess
import sys
from pathlib import Path

import pytest

from loopback.installation import REPOSITORY

GUARD = REPOSITORY / "scripts" / "check_symbols.py"
PLUGIN = REPOSITORY / "build" / "spank_qrmi.so"
QRUN_PLUGIN = REPOSITORY / "build" / "spank_ibm_qrun.so"
WHAT_SLURM_NEEDS = """
const char plugin_name[] = "x", plugin_type[] = "spank";
const unsigned int plugin_version = 1, spank_plugin_version = 1;
int slurm_spank_init(void) { return 0; }
"""


def check(*libraries: Path) -> tuple[int, str]:
    """Return the guard's exit status and what it says."""
    command = [sys.executable, GUARD, *libraries]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def library(folder: Path, source: str) -> Path:
    """Compile a shared library without the C library's start-up code."""
    (folder / "library.c").write_text(source)
    path = folder / "library.so"
    command = ["gcc", "-shared", "-fPIC", "-nostartfiles", folder / "library.c", "-o", path]
    subprocess.run(command, check=True)
    return path


def test_plugins_pass_and_no_other_library_is_built() -> None:
    assert sorted(PLUGIN.parent.glob("*.so")) == [QRUN_PLUGIN, PLUGIN]
    assert check(PLUGIN, QRUN_PLUGIN) == (0, "")


def test_every_broken_rule_and_a_file_that_is_no_library_are_told(tmp_path: Path) -> None:
    hook = "void slurm_info(void); int slurm_spank_exit(void) { slurm_info(); return 0; }"
    assert check(library(tmp_path, WHAT_SLURM_NEEDS + hook)) == (0, "")
    path = library(tmp_path, WHAT_SLURM_NEEDS + "int slurm_error;")
    assert check(path) == (1, f"{path} exports: slurm_error\n")
    path = library(
        tmp_path,
        "void Py_Exit(int); extern int _Py_NoneStruct;"
        "int b; void a(void) { Py_Exit(_Py_NoneStruct); }",
    )
    problems = (
        *("needs Python: Py_Exit _Py_NoneStruct", "exports: a b"),
        "does not export: plugin_name plugin_type plugin_version slurm_spank_init",
    )
    assert check(PLUGIN, path) == (1, "".join(f"{path} {problem}\n" for problem in problems))
    (tmp_path / "text.so").write_text("text")
    status, _ = check(tmp_path / "text.so")
    assert status != 0


@pytest.mark.parametrize("plugin", [PLUGIN, QRUN_PLUGIN])
def test_memory_is_erased_before_it_is_given_back(plugin: Path) -> None:
    """Buffers grow without realloc, which leaves the old copy where it was."""
    command = ["nm", "--dynamic", "--undefined-only", "--format=just-symbols", str(plugin)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    needed = {symbol.partition("@")[0] for symbol in symbols}
    assert needed & {"explicit_bzero", "__explicit_bzero_chk"}
    assert not needed & {"realloc", "reallocarray"}
