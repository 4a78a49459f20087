# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make install` has written works by itself, wherever it was built."""

import os
import re

import pytest

from loopback.errors import SubmitError
from loopback.installation import REPOSITORY, Installation, snapshot
from loopback.site import RELEASE_SECONDS
from loopback.waiting import wait_until
from spank_qrmi import __version__
from tests.slurm.product import Product


def test_nothing_refers_to_the_source_folder(installation: Installation):
    source = os.fsencode(REPOSITORY)
    found = [
        path
        for path in installation.folder.rglob("*")
        if (path.is_symlink() and source in os.fsencode(path.readlink()))
        or (path.is_file() and source in path.read_bytes())
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


def version_number(text: str) -> bytes:
    """Return a release such as 22.05.8 as plugins carry it: a byte for each part."""
    major, minor, micro = (int(number) for number in re.findall(r"\d+", text)[:3])
    return bytes([micro, minor, major, 0])


def test_plugin_for_another_release_of_slurm_is_refused_by_slurm_and_harmless(product: Product):
    """A copy that differs in the number that Slurm goes by, and no more."""
    plugin = product.installation.copy_plugin(product.folder / "plugins", None)
    own = version_number(product.cluster.run("sbatch", "--version").stdout)
    code = plugin.read_bytes()
    assert own in code
    plugin.write_bytes(code.replace(own, version_number("21.8.8")))

    product.write_plugstack(plugin=plugin, mode="required")
    with pytest.raises(SubmitError) as refused:
        product.submit("true")
    assert f"Incompatible Slurm plugin {plugin} version (21.08.8)" in str(refused.value)
    assert f"spank: {plugin}: Incompatible plugin version" in str(refused.value)

    product.write_plugstack(plugin=plugin)
    assert "--qpu" not in product.cluster.run("sbatch", "--help").stdout
    assert product.run_job("true").state == "COMPLETED"
    with pytest.raises(SubmitError, match="unrecognized option '--qpu=FRESNEL'"):
        product.submit("true", "--qpu=FRESNEL")
