# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of --qpu to resources, and the reasons for the names that stand for none."""

from pathlib import Path

import pytest

from spank_qrmi.configuration.qrmi_config import Config, Resource
from spank_qrmi.job.resolution import resolve_qpus, split_names

PATH = Path("/etc/slurm/qrmi_config.json")


def config_of(*names: str) -> Config:
    return Config(PATH, {name: Resource(name, "pasqal-cloud", {}) for name in names}, ())


def test_names_are_trimmed_and_count_once() -> None:
    names = {
        "a": ("a",),
        "a,b": ("a", "b"),
        " b , a ,, b,": ("b", "a"),
        "A,a": ("A", "a"),
        "\u00a0a,a": ("\u00a0a", "a"),
        " , ": (),
        "": (),
    }
    assert {option: split_names(option) for option in names} == names


@pytest.mark.parametrize(
    ("config", "known"), [(config_of("a", "b"), "a, b"), (config_of(), "none")]
)
def test_unknown_name_is_rejected_with_the_known_ones(config: Config, known: str) -> None:
    [(name, error)] = resolve_qpus("x", config).rejected
    text = f"not defined in {PATH} on this node; defined there: {known}"
    assert (name, str(error)) == ("x", text)
