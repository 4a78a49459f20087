# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that was built for another release of Slurm is refused by Slurm itself, and harmless."""

import re
from pathlib import Path

import pytest

from loopback.errors import SubmitError
from tests.slurm.product import Product


def version_number(text: str) -> bytes:
    """Return a release such as 22.05.8 as plugins carry it: a byte for each part."""
    major, minor, micro = (int(number) for number in re.findall(r"\d+", text)[:3])
    return bytes([micro, minor, major, 0])


def plugin_of_another_release(product: Product) -> Path:
    """Return a copy of the plugin that differs in the number that Slurm goes by, and no more."""
    plugin = product.installation.copy_plugin(product.folder / "plugins", None)
    own = version_number(product.cluster.run("sbatch", "--version").stdout)
    code = plugin.read_bytes()
    assert code.count(own) >= 1
    plugin.write_bytes(code.replace(own, version_number("21.8.8")))
    return plugin


def test_required_plugin_is_refused_at_submission(product: Product):
    plugin = plugin_of_another_release(product)
    product.write_plugstack(plugin=plugin, mode="required")

    with pytest.raises(SubmitError) as refused:
        product.submit("true")

    assert f"Incompatible Slurm plugin {plugin} version (21.08.8)" in str(refused.value)
    assert f"spank: {plugin}: Incompatible plugin version" in str(refused.value)


def test_optional_plugin_is_left_out(product: Product):
    product.write_plugstack(plugin=plugin_of_another_release(product))

    assert "--qpu" not in product.cluster.run("sbatch", "--help").stdout
    assert product.run_job("true").state == "COMPLETED"
    with pytest.raises(SubmitError, match="unrecognized option '--qpu=FRESNEL'"):
        product.submit("true", "--qpu=FRESNEL")
