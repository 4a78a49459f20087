# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make install` has written works by itself, wherever it was built."""

import os
import re
from pathlib import Path

from loopback.installation import REPOSITORY, Installation, snapshot
from loopback.processes import PROC, command_line
from loopback.site import RELEASE_SECONDS
from loopback.waiting import wait_until
from spank_qrmi import __version__
from tests.slurm.product import Product


def test_plugin_finds_its_own_worker(product: Product):
    product.site.order_fault("delay", "/pasqal/", delay_seconds=1, times=1)
    job = product.submit("true", "--qpu=FRESNEL")
    worker = product.wait_for_worker(job)
    command = command_line(worker)
    environment = (PROC / str(worker) / "environ").read_text().rstrip("\0").split("\0")
    user = (PROC / str(worker) / "status").stat().st_uid

    python = product.installation.environment / "bin" / "python"
    assert command == [str(python), "-I", "-m", "spank_qrmi.worker"]
    assert environment == ["PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]
    assert user == 0
    assert job.wait().state == "COMPLETED"


def test_nothing_refers_to_the_source_folder(installation: Installation):
    source = os.fsencode(REPOSITORY)
    found = [
        str(path.relative_to(installation.folder))
        for path in installation.folder.rglob("*")
        if source in (os.fsencode(path.readlink()) if path.is_symlink() else _bytes_of(path))
    ]

    assert found == []


def test_installing_again_changes_nothing(product: Product):
    before = snapshot(product.installation.folder)

    product.installation.make("install")

    assert snapshot(product.installation.folder) == before
    # Nor does a job.
    assert product.run_job("true", "--qpu=ibm_torino,FRESNEL").state == "COMPLETED"
    assert snapshot(product.installation.folder) == before


def test_commands_that_verify_it(product: Product):
    """Those of "Verify it" in docs/install.md, with the places of this installation."""
    page = (REPOSITORY / "docs" / "install.md").read_text().partition("\n## Verify it\n")[2]
    output = product.folder / "output"
    places = {
        "/usr/lib64/slurm": product.installation.plugin_directory,
        "/etc/slurm/qrmi_config.json": product.site.config_path,
        "--qpu=NAME": f"--qpu=FRESNEL --output={output}",
        "spank-qrmi ": f"{product.installation.command_directory}/spank-qrmi ",
    }

    def shown_by(command: str) -> str:
        for place, here in places.items():
            command = command.replace(place, str(here))
        return product.cluster.run("sh", "-c", f"{command} 2>&1", check=False).stdout

    *commands, status = re.findall(r"(?m)^\| `(.*?)`", page.partition("\n## ")[0])
    options, version, mode, owners, refused, _ = map(shown_by, commands)
    assert re.search(r"--qpu=names .*\n +--qpu-hold=job\|step", options)
    assert (version, mode) == (f"{__version__}\n", "root 600\n")
    assert re.search(r"-rw------- root root \S+\n$", owners)
    assert ": not defined in " in refused
    product.cluster.wait_for_empty_queue()
    assert output.read_text() == "FRESNEL\n"
    wait_until(
        lambda: shown_by(status),
        RELEASE_SECONDS,
        "empty journal",
        accept="nothing is held on this node\n".__eq__,
    )


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
