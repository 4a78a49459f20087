# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a daemon's or a user's environment says, it is our code that runs as root."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from tests.slurm.product import PRINT_RESOURCES, Product
from tests.slurm.qrun_product import MARK, QrunProduct

MODULES = ("sitecustomize", "usercustomize", "spank_qrmi", "ctypes", "json", "socket")

# Leaves a mark where it is loaded into a Python; that alone would be ours.
PRELOADED = """
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void mark(void)
{
	char program[4096] = "";

	if (readlink("/proc/self/exe", program, sizeof(program) - 1) > 0 && strstr(program, "python"))
		close(open(MARK, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}
"""


class Trap:
    """A folder full of code that leaves a mark once it runs, and variables that lead there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks = folder / "marks"
        self._marks.mkdir()
        self._plant_modules(folder)
        home = folder / "home"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._plant_modules(home / ".local" / "lib" / version / "site-packages")
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(folder),
            "PYTHONHOME": str(folder),
            "PYTHONSTARTUP": str(folder / "ctypes.py"),
            "PYTHONUSERBASE": str(home / ".local"),
            "PYTHONINSPECT": "1",
            "PYTHONWARNINGS": "error",
            "LD_PRELOAD": str(self._preloaded()),
            "LD_LIBRARY_PATH": str(folder),
            "LANG": "xx_XX.nothing",
            "LC_ALL": "xx_XX.nothing",
            **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
            **dict.fromkeys(("HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
            "SSL_CERT_FILE": "/nowhere",
            "SSL_CERT_DIR": "/nowhere",
            "SSLKEYLOGFILE": str(self._marks / "keys"),
            "OPENSSL_CONF": "/nowhere",
        }

    def marks(self) -> list[str]:
        """Return what of the trap has run."""
        return sorted(path.name for path in self._marks.iterdir())

    def _plant_modules(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in MODULES:
            mark = self._marks / name
            (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
        (folder / "trap.pth").write_text(f"import sys; open({str(self._marks / 'pth')!r}, 'w')\n")

    def _preloaded(self) -> Path:
        source, library = self.folder / "preloaded.c", self.folder / "preloaded.so"
        source.write_text(PRELOADED)
        mark = f'-DMARK="{self._marks / "preloaded"}"'
        command = ["gcc", "-shared", "-fPIC", mark, str(source), "-o", str(library)]
        subprocess.run(command, check=True)
        return library


@pytest.fixture
def trap(cluster: SlurmCluster, cluster_folder: Path) -> Iterator[Trap]:
    """A trap for the workers of a node whose slurmd was started in it."""
    trap = Trap(cluster_folder)
    cluster.stop_slurmd("n1")
    try:
        cluster.start_slurmd("n1", trap.environment)
        yield trap
    finally:
        cluster.restart_slurmd("n1")
    assert trap.marks() == []


def test_trap_catches_an_ordinary_python(cluster_folder: Path):
    trap = Trap(cluster_folder)
    # With PYTHONHOME it would not even start.
    environment = {name: value for name, value in trap.environment.items() if "HOME" not in name}
    command = [sys.executable, "-c", "import json"]
    subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, check=False, capture_output=True
    )
    assert {"json", "preloaded", "sitecustomize"} <= set(trap.marks())


def test_qpu_job(product: Product, trap: Trap):
    result = product.run_job(
        PRINT_RESOURCES,
        "--qpu=ibm_sherbrooke,ibm_torino,FRESNEL",
        "--nodelist=n1",
        f"--chdir={trap.folder}",
        env=trap.environment,
    )

    assert result.stdout == "ibm_sherbrooke,ibm_torino,FRESNEL"
    product.wait_until_released()


def test_clean_up_of_a_quantum_job(qrun_product: QrunProduct, trap: Trap):
    job = qrun_product.submit(
        f"unset LD_PRELOAD; {MARK}", "--nodelist=n1", f"--chdir={trap.folder}", env=trap.environment
    )

    assert job.wait().state == "COMPLETED"
    qrun_product.wait_until_released()
    assert any("/direct-access/v1/jobs/" in path for path in qrun_product.site.asked())


def test_code_that_others_may_change_is_not_run(product: Product):
    """The interpreter is reached through a folder that is not root's alone."""
    folder = product.folder / "open"
    folder.mkdir()
    (folder / "environment").symlink_to(product.installation.environment)
    folder.chmod(0o777)
    python = folder / "environment" / "bin" / "python"
    plugin = product.installation.copy_plugin(product.folder / "plugins", python)
    product.write_plugstack(plugin=plugin)

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert result.stderr.splitlines()[0].endswith(
        f"--qpu: {folder} may be changed by everybody (mode 0777), and the worker runs as root: "
        "remove it, and install anew where nobody else may write; spank-qrmi check, as root on "
        "this node, says more"
    )
    assert (result.state, result.stdout) == ("FAILED", "")
