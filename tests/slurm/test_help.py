# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands' help names the options, in the words of the plugin's documentation."""

import pytest

from tests.slurm.product import Product

HELP = """
Options provided by plugins:
      --qpu=names             Comma separated list of QPU resources to use.
      --qpu-hold=job|step     Hold QPUs for the job (default) or for each step.
"""


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_help_shows_the_options(product: Product, command: str):
    assert HELP in product.cluster.run(command, "--help").stdout
