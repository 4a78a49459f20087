# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands' help names the option, in the words of the plugin's documentation."""

import pytest

from tests.slurm.product import Product

HELP = """
Options provided by plugins:
      --qpu=names             Comma separated list of QPU resources to use.
"""


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_help_shows_the_option(product: Product, command: str):
    assert HELP in product.cluster.run(command, "--help").stdout
