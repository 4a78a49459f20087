# SPDX-License-Identifier: GPL-3.0-or-later
"""`make deb`, `make rpm` and `make srpm`: what `make install` writes, as a package.

The file list is the installation's own, staged in a folder. A deb is for the Slurm release of the
headers and the Python of this machine. An rpm is built by the spec that the source distribution
carries, here or where somebody else unpacks it: it then is for the Slurm and the Python of there.
Times come from SOURCE_DATE_EPOCH, so that two builds of the same content are the same.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "spank-qrmi"
SUMMARY = "QPUs for Slurm jobs: SPANK plugins, their worker and the command qrun"
DESCRIPTION = (
    "A job submitted with --qpu starts with its QPUs acquired and described in its environment,",
    "and they are released when it ends. The plugins are enabled by a line in plugstack.conf.",
)
# What a node runs beside slurmd; without a line in plugstack.conf nobody asks it for anything.
TARGET = "spank-qrmi.target"
WORKER_SERVER = "spank-qrmi-worker-server.service"
# Runs on one node, where an administrator has enabled it.
MONITOR = "spank-qrmi-monitor.service"
STATE_FOLDER = "/var/lib/spank_qrmi"
LOG_FOLDER = "/var/log/spank_qrmi"
SOCKET_FOLDER = "/run/spank_qrmi"
COMMAND = "/usr/sbin/spank-qrmi"
UNIT_FOLDER = Path("usr/lib/systemd/system")
# The folders that are an rpm's; all others are the system's or Slurm's, who say owner and mode.
OWN_FOLDERS = re.compile(rf"usr/(lib/spank_qrmi|share/doc/{NAME})(/.*)?")
# What is read beside manual pages.
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/*.svg",
    "benchmarks/REPORT.md",
    "benchmarks/report.svg",
    "examples/*.*",
    "examples/monitoring/*",
    "examples/slurm/*",
)
# Their names in a package.
RENAMED = {"(LICENSE)": "(copyright)", "(CHANGELOG.md)": "(changelog.gz)"}
# The one that documents name.
RPM_PLUGIN_FOLDER = "/usr/lib64/slurm"
SPEC = f"{NAME}.spec"
SPEC_TEMPLATE = REPOSITORY / "scripts" / f"{SPEC}.in"


@dataclass(frozen=True)
class Contents:
    """A staged installation and what it was built for; `slurm_release` is such as `22.05`."""

    stage: Path
    version: str
    slurm_release: str

    @property
    def python_release(self) -> str:
        """The release of the environment's Python, such as `3.11`."""
        return f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def next_python_release(self) -> str:
        """The first release that the environment cannot be used with."""
        return f"{sys.version_info.major}.{sys.version_info.minor + 1}"

    def files(self) -> list[Path]:
        """Return all files and links, relative to the stage."""
        return [each for each in self._paths() if not _is_folder(self.stage / each)]

    def folders(self) -> list[Path]:
        """Return all folders, relative to the stage."""
        return [each for each in self._paths() if _is_folder(self.stage / each)]

    def glibc_release(self) -> str:
        """Return the oldest glibc that has all that the libraries need."""
        libraries = [self.stage / each for each in self.files() if each.suffix == ".so"]
        symbols = _output("nm", "-D", "--undefined-only", *libraries)
        found = re.findall(r"@GLIBC_(\d+)\.(\d+)", symbols)
        return "{}.{}".format(*max((int(major), int(minor)) for major, minor in found))

    def _paths(self) -> list[Path]:
        return sorted(path.relative_to(self.stage) for path in self.stage.rglob("*"))


def main() -> None:
    """Do what the command line says; print the path of a package that was built."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for name, run in {"deb": _make_deb, "contents": _make_contents}.items():
        command = commands.add_parser(name)
        command.add_argument("--wheel", type=Path, required=True)
        command.add_argument("--pip", required=True)
        command.add_argument("--output", type=Path, required=True)
        command.set_defaults(run=run)
        if run == _make_contents:
            command.add_argument("--plugindir", default=RPM_PLUGIN_FOLDER)
            command.add_argument("--sysconfdir", default="/etc/slurm")
            command.add_argument("--list", type=Path, required=True)
    for name in ("rpm", "srpm"):
        command = commands.add_parser(name)
        command.add_argument("--sdist", type=Path, required=True)
        command.add_argument("--output", type=Path, required=True)
        command.set_defaults(run=_make_rpm, is_source=name == "srpm")
    options = parser.parse_args()
    os.umask(0o022)
    options.run(options)


def _make_deb(options: argparse.Namespace) -> None:
    _need("dpkg-deb", "dpkg")
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch, "stage")
        options.plugindir, options.sysconfdir = f"/usr/{_multiarch_folder()}", "/etc/slurm"
        contents = Contents(stage, install(options, stage), slurm_release())
        finish(contents, options.plugindir)
        options.output.mkdir(exist_ok=True)
        print(build_deb(contents, options.output))


def _make_contents(options: argparse.Namespace) -> None:
    """Write what an rpm holds, and the list of it, for the spec."""
    contents = Contents(options.output, install(options, options.output), "")
    finish(contents, options.plugindir)
    options.list.write_text("".join(_file_list(contents)))


def _make_rpm(options: argparse.Namespace) -> None:
    _need("rpmbuild", "rpm")
    with tempfile.TemporaryDirectory() as scratch:
        options.output.mkdir(exist_ok=True)
        print(build_rpm(options.sdist, Path(scratch), options.output, is_source=options.is_source))


def _need(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        sys.exit(f"error: {tool} is missing: install this system's package for it ({package})")


def install(options: argparse.Namespace, stage: Path) -> str:
    """Install below the stage as `make install` does; return the version."""
    stage.mkdir(mode=0o755, exist_ok=True)
    command = [
        *(
            sys.executable,
            REPOSITORY / "scripts" / "install_environment.py",
            "install",
            "--destdir",
            stage,
        ),
        *("--environment", "/usr/lib/spank_qrmi", "--prefix", "/usr"),
        *("--plugindir", options.plugindir, "--sysconfdir", options.sysconfdir),
        *("--wheel", options.wheel, "--pip", options.pip),
    ]
    _output(*command)
    environments = stage / "usr/lib/spank_qrmi"
    # The package manager keeps the list.
    environments.joinpath("created-folders").unlink()
    for record in environments.glob("*/share/spank-qrmi/installed.json"):
        record.unlink()
    return str(environments.joinpath("current").readlink()).rpartition("-")[0]


def finish(contents: Contents, plugin_folder: str) -> None:
    """Add what a package has beside an installation, and give all of it the source's time."""
    write_documents(contents, plugin_folder)
    set_times(contents.stage)


def slurm_release() -> str:
    """Return the Slurm release for which plugins are built here, from its headers."""
    folders = os.environ.get("SLURM_INCLUDE_DIRS", "").split(":")
    number = subprocess.run(
        [os.environ.get("CC", "cc"), "-E", "-P", *(f"-I{each}" for each in folders if each), "-"],
        input="#include <slurm/slurm_version.h>\nSLURM_VERSION_NUMBER\n",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    value = int(number, 16)
    return f"{value >> 16:02}.{value >> 8 & 0xFF:02}"


def write_documents(contents: Contents, plugin_folder: str) -> None:
    """Add documents and examples of jobs; compress changes and manual pages.

    A line for plugstack.conf in a document has the path of this package's plugin.
    """
    folder = contents.stage / "usr" / "share" / "doc" / NAME
    folder.mkdir(parents=True)
    for name in DOCUMENTS:
        for path in sorted(REPOSITORY.glob(name)):
            target = folder / path.relative_to(REPOSITORY)
            target.parent.mkdir(exist_ok=True)
            text = path.read_text(encoding="utf-8")
            text = text.replace(f"{RPM_PLUGIN_FOLDER}/spank_", f"{plugin_folder}/spank_")
            for old, new in RENAMED.items():
                text = text.replace(old, new)
            target.write_text(text, encoding="utf-8")
    shutil.copyfile(REPOSITORY / "LICENSE", folder / "copyright")
    shutil.copyfile(REPOSITORY / "CHANGELOG.md", folder / "changelog")
    pages = contents.stage.glob("usr/share/man/man*/*")
    for path in [folder / "changelog", *pages]:
        content = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(f"{path.name}.gz").write_bytes(content)
        path.unlink()


def set_times(stage: Path) -> None:
    """Give all files the time of the source."""
    seconds = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [stage, *stage.rglob("*")]:
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def build_deb(contents: Contents, output: Path) -> Path:
    """Build the Debian package; return its path."""
    architecture = _output("dpkg", "--print-architecture").strip()
    version = f"{contents.version}+slurm{contents.slurm_release}"
    control = contents.stage / "DEBIAN"
    control.mkdir()
    conffiles = [f"/{each}\n" for each in contents.files() if each.parts[0] == "etc"]
    sums = list(_md5_sums(contents))
    for name, text in {
        "control": "".join(_control_fields(contents, version, architecture)),
        "conffiles": "".join(conffiles),
        "md5sums": "".join(sums),
    }.items():
        control.joinpath(name).write_text(text)
    for name, script in _deb_scripts(contents.slurm_release).items():
        control.joinpath(name).write_text(f"#!/bin/sh\nset -e\n{script}")
        control.joinpath(name).chmod(0o755)
    set_times(control)
    package = output / f"{NAME}_{version}_{architecture}.deb"
    _output("dpkg-deb", "--root-owner-group", "-Zxz", "--build", contents.stage, package)
    return package


def _control_fields(contents: Contents, version: str, architecture: str) -> Iterator[str]:
    """Yield the lines of the control file.

    No package of Slurm is named: Debian's, SchedMD's and those of a site have other names, and apt
    would put one of them in another's place. The script `postinst` looks at the release.
    """
    maintainer = os.environ.get("DEBFULLNAME", NAME), os.environ.get("DEBEMAIL", "root@localhost")
    size_bytes = sum((contents.stage / each).lstat().st_size for each in contents.files())
    depends = (
        f"libc6 (>= {contents.glibc_release()})",
        f"python3 (>= {contents.python_release})",
        f"python3 (<< {contents.next_python_release}~)",
        "ca-certificates",
    )
    yield f"Package: {NAME}\nVersion: {version}\nArchitecture: {architecture}\n"
    yield "Maintainer: {} <{}>\n".format(*maintainer)
    yield f"Installed-Size: {size_bytes // 1024 + 1}\nDepends: {', '.join(depends)}\n"
    yield f"Section: admin\nPriority: optional\nDescription: {SUMMARY}\n"
    yield from (f" {line}\n" for line in DESCRIPTION)


def _md5_sums(contents: Contents) -> Iterator[str]:
    for each in contents.files():
        path = contents.stage / each
        if not path.is_symlink() and each.parts[0] != "etc":
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            yield f"{digest}  {each}\n"


def _deb_scripts(slurm_release: str) -> dict[str, str]:
    """Return Debian's scripts: what an administrator has disabled stays so in an upgrade."""
    enable = (
        f"if deb-systemd-helper --quiet was-enabled {TARGET}; then\n"
        f"    deb-systemd-helper enable {TARGET} >/dev/null || :\n"
        "else\n"
        f"    deb-systemd-helper update-state {TARGET} >/dev/null || :\n"
        "fi\n"
    )
    disable = f"deb-systemd-helper purge {TARGET} >/dev/null || :\n"
    reload = _with_systemd("systemctl daemon-reload")
    return {
        "postinst": enable
        + _start_units(f"deb-systemd-invoke start {TARGET}")
        + _compare_releases(slurm_release),
        "prerm": f'if [ "$1" = remove ]; then\n{_refuse_too_early()}'
        f"{_in_files('disable', MONITOR)}{_stop_units()}fi\n",
        "postrm": f'if [ "$1" = remove ] || [ "$1" = purge ]; then\n{disable}{reload}'
        f"{_remove_socket_folder()}fi\n"
        # An rpm has no purge: there, records of what was used stay.
        f'if [ "$1" = purge ]; then\n{_forget_state()}rm -rf {LOG_FOLDER}\nfi\n',
    }


def _rpm_scripts(slurm_release: str) -> dict[str, str]:
    """Return the sections of a spec that do the same; the first installation has the number 1."""
    start = f"if systemctl is-enabled --quiet {TARGET}; then systemctl start {TARGET}; fi"
    return {
        "post": f'if [ "$1" = 1 ]; then\n{_in_files("enable", TARGET)}fi\n{_start_units(start)}'
        f"{_compare_releases(slurm_release)}",
        "preun": f'if [ "$1" = 0 ]; then\n{_refuse_too_early()}'
        f"{_in_files('disable', TARGET, MONITOR)}{_stop_units()}fi\n",
        "postun": f'if [ "$1" = 0 ]; then\n{_with_systemd("systemctl daemon-reload")}'
        f"{_remove_socket_folder()}{_forget_state()}fi\n",
    }


def _in_files(action: str, *units: str) -> str:
    """Enable or disable units, also where systemd does not run or is not there at all."""
    command = f"systemctl --quiet {action} {' '.join(units)}"
    return f"if command -v systemctl >/dev/null; then {command} || :; fi\n"


def _start_units(start: str) -> str:
    """Let the next worker be a new server's, the monitor a new one, and start what is not running.

    The server of before an upgrade ends once its workers have, which nobody waits for.
    """
    stop = f"systemctl --no-block stop {WORKER_SERVER}"
    renew = f"systemctl --no-block try-restart {MONITOR}"
    return _with_systemd("systemctl daemon-reload", stop, renew, start)


def _compare_releases(slurm_release: str) -> str:
    """Say so if the Slurm that is there is of another release: it will refuse the plugins."""
    return (
        "for program in slurmd srun; do\n"
        "    found=$($program -V 2>/dev/null) || continue\n"
        '    case "$found" in\n'
        f'    *" {slurm_release}."*) ;;\n'
        f'    *) echo "{NAME}: its plugins are for Slurm {slurm_release} and do not load in $found:'
        ' build the package anew for that" >&2 ;;\n'
        "    esac\n"
        "    break\n"
        "done\n"
    )


def _refuse_too_early() -> str:
    """Release what no step holds; end if a line still loads a plugin or a job holds a QPU.

    A command that cannot run, because its Python is gone, can tell nothing: the removal goes on.
    """
    return (
        f"if ls {STATE_FOLDER}/*.json >/dev/null 2>&1; then\n"
        f"    {COMMAND} release --orphaned >&2 || :\n"
        "fi\n"
        f"if ! said=$({COMMAND} uninstall --check 2>&1); then\n"
        '    echo "$said" >&2\n'
        '    case "$said" in\n'
        f'    "{NAME}: "*) echo "{NAME}: nothing was removed" >&2; exit 1 ;;\n'
        "    esac\n"
        "fi\n"
    )


def _stop_units() -> str:
    """Stop all, and wait for workers: they need their files."""
    units = sorted(each.name for each in (REPOSITORY / "systemd").iterdir())
    return _with_systemd(f"systemctl stop {' '.join(units)}")


def _with_systemd(*commands: str) -> str:
    lines = "".join(f"    {command} || :\n" for command in commands)
    return f"if [ -d /run/systemd/system ]; then\n{lines}fi\n"


def _remove_socket_folder() -> str:
    """Remove what systemd has made for the socket, and leaves."""
    return f"rmdir {SOCKET_FOLDER} 2>/dev/null || :\n"


def _forget_state() -> str:
    """Remove the node's record if nothing is held; what is held must not be forgotten."""
    return (
        f"if [ -d {STATE_FOLDER}/monitor ]; then\n"
        f'    echo "{NAME}: it watched QPUs here: jobs wait for what reservations spank_qrmi_qpu_* '
        'hold, until you delete them" >&2\n'
        "fi\n"
        f"rm -rf {STATE_FOLDER}/counts {STATE_FOLDER}/monitor\n"
        f"rm -rf {STATE_FOLDER}/tokens {STATE_FOLDER}/users\n"
        f"if [ -d {STATE_FOLDER} ] && ! rmdir {STATE_FOLDER} 2>/dev/null; then\n"
        f'    echo "{NAME}: kept {STATE_FOLDER}: it names QPUs that were not released" >&2\n'
        "fi\n"
    )


def build_rpm(sdist: Path, scratch: Path, output: Path, *, is_source: bool) -> Path:
    """Build the rpm, or the source rpm, by the spec in the source distribution; return its path.

    The rpm takes the wheel and the tools of this folder: what it holds is not built twice.
    """
    macros = {
        "_topdir": str(scratch / "rpm"),
        "_rpmdir": str(scratch / "built"),
        "_srcrpmdir": str(scratch / "built" / "source"),
        "_dbpath": str(scratch / "database"),
        "_buildhost": "localhost",
        "_binary_payload": "w19.zstdio",
        "_source_payload": "w19.zstdio",
    }
    if is_source:
        # It is for any of them.
        macros |= {"slurm_release": "%{nil}"}
    else:
        macros |= {"spank_python": sys.executable, "spank_tree": str(REPOSITORY)}
    defined = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    kind = "-ts" if is_source else "-tb"
    _output("rpmbuild", kind, "--quiet", "--nodeps", *defined, sdist.absolute(), env=environment)
    [built] = (scratch / "built").glob("*/*.rpm")
    return Path(shutil.copy(built, output))


def spec(version: str) -> str:
    """Return the spec of a version."""
    scripts = _rpm_scripts("%{slurm_release}")
    words = {
        "@NAME@": NAME,
        "@VERSION@": version,
        "@SUMMARY@": SUMMARY,
        "@DESCRIPTION@": "\n".join(DESCRIPTION),
        "@PLUGINDIR@": RPM_PLUGIN_FOLDER,
        "@SCRIPTS@": "\n".join(f"%{name}\n{text}" for name, text in scripts.items()),
    }
    text = SPEC_TEMPLATE.read_text()
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _file_list(contents: Contents) -> Iterator[str]:
    """Yield the lines that say what the rpm holds."""
    for each in contents.folders():
        if OWN_FOLDERS.fullmatch(str(each)) is not None:
            yield f'%dir "/{each}"\n'
    for each in contents.files():
        prefix = "%config(noreplace) " if each.parts[0] == "etc" else ""
        yield f'{prefix}"/{each}"\n'


def _multiarch_folder() -> str:
    """Return the folder below /usr where Debian's Slurm has its plugins, be it there or not.

    plugstack.conf names plugins by their path, so any other Slurm loads them from there too.
    """
    return f"lib/{sysconfig.get_config_var('MULTIARCH')}/slurm-wlm"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _output(*command: object, env: dict[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}error: {words[0]} failed")
    return done.stdout


if __name__ == "__main__":
    main()
