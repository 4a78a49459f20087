# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the SPANK plugins: plain shared libraries for Slurm, without any reference to Python.

`SLURM_INCLUDE_DIRS` names the folders that hold slurm/spank.h, where they are not the compiler's
own; several are separated by `:`.
"""

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path

try:
    from Cython.Build import cythonize
    from Cython.Compiler import Options
    from setuptools import Extension, setup
    from setuptools.command.bdist_wheel import bdist_wheel
    from setuptools.command.build_ext import build_ext
except ImportError as missing:
    message = (
        f"error: the Python module {missing.name} is missing: "
        "python3 -m pip install 'Cython>=3.1' 'setuptools>=77'"
    )
    raise SystemExit(message) from missing

PLUGINS = ("spank_qrmi", "spank_ibm_qrun")
SLURM_INCLUDE_DIRS = [
    folder for folder in os.environ.get("SLURM_INCLUDE_DIRS", "").split(":") if folder
]
COMPILE_ARGUMENTS = [
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffunction-sections",
    "-fdata-sections",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-g0",
    # A plugin is in the slurmstepd of every job, and mostly waits for others.
    "-Os",
]
LINK_ARGUMENTS = [
    "-Wl,--version-script=include/spank.map",
    "-Wl,--gc-sections",
    "-Wl,-z,relro",
    # As in Slurm's own plugins: an ordinary job pays for the few functions that it calls.
    "-Wl,-z,lazy",
    "-Wl,-z,noexecstack",
]


def plugin(name: str) -> Extension:
    """Describe a plugin; beside its .pyx it needs only the declarations."""
    return Extension(
        f"spank_qrmi.plugin.{name}",
        [f"spank_qrmi/plugin/{name}.pyx"],
        include_dirs=["include", *SLURM_INCLUDE_DIRS],
        extra_compile_args=COMPILE_ARGUMENTS,
        extra_link_args=LINK_ARGUMENTS,
    )


def check_compiler() -> None:
    """End with one line that says what to install where compiler or headers are missing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    compiler = os.environ.get("CC", compiler).split()[0]
    needed = {
        "": "no C compiler works: apt-get install gcc libc6-dev",
        "#include <Python.h>\n": "Python.h is missing: apt-get install python3-dev",
        "#include <slurm/spank.h>\n#include <slurm/slurm.h>\n": (
            "slurm/spank.h is missing: install the headers of the Slurm that you have (package "
            "libslurm-dev, slurm-smd-dev or slurm-devel, from where your Slurm comes), or name the "
            "folder that holds slurm/spank.h: SLURM_INCLUDE_DIRS=DIR make"
        ),
    }
    if SLURM_INCLUDE_DIRS and not any(
        Path(folder, "slurm", "spank.h").exists() for folder in SLURM_INCLUDE_DIRS
    ):
        message = (
            f"error: SLURM_INCLUDE_DIRS: no slurm/spank.h in {' or '.join(SLURM_INCLUDE_DIRS)}"
        )
        raise SystemExit(message)
    folders = [*SLURM_INCLUDE_DIRS, sysconfig.get_path("include")]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        for text, remedy in needed.items():
            source.write_text(text + "int probe;\n")
            command = [compiler, "-c", str(source), "-o", str(Path(scratch, "probe.o"))]
            command += [f"-I{folder}" for folder in folders]
            try:
                works = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 (the compiler)
            except OSError:
                works = False
            if not works:
                message = f"error: {remedy}"
                raise SystemExit(message)


class BuildPlugins(build_ext):
    """Build plugins under the plain names that Slurm loads, for wheels and for `make`."""

    def finalize_options(self) -> None:
        """Leave the plugins out of an editable install: they are no modules to import."""
        super().finalize_options()
        if self.editable_mode:
            self.extensions = []
            self.distribution.ext_modules = []

    def run(self) -> None:
        """Look for what the build needs before it starts."""
        if self.extensions:
            check_compiler()
        super().run()

    def get_ext_filename(self, fullname: str) -> str:
        """Return `…/spank_qrmi.so` without the interpreter's tag, which means nothing to Slurm."""
        return str(Path(*fullname.split("."))) + ".so"


class PluginWheel(bdist_wheel):
    """Tag wheels for the platform alone: the plugins know no Python, the rest runs on any."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the wheel's tags."""
        return ("py3", "none", super().get_tag()[2])


Options.warning_errors = True
setup(
    ext_modules=cythonize(
        [plugin(name) for name in PLUGINS],
        build_dir="build/cython",
        include_path=["include"],
        compiler_directives=Options.extra_warnings,
        quiet=True,
    ),
    cmdclass={"bdist_wheel": PluginWheel, "build_ext": BuildPlugins},
)
