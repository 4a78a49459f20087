# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin's file says is read without loading it, and whatever else it is does no harm."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.check.plugin_library import read_library
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import DEFAULT_WORKER_SERVER
from spank_qrmi.errors import ConfigError
from tests.unit.check.conftest import BUILT

PLUGIN = BUILT / "spank_qrmi.so"
SOURCES = Path(qrmi_plugstack.__file__).parents[1] / "plugin"


def test_name_and_release_are_those_of_the_build() -> None:
    found = read_library(PLUGIN)
    assert found.name == "spank_qrmi"
    assert re.fullmatch(r"\d\d\.\d\d", found.slurm_release)
    assert read_library(BUILT / "spank_ibm_qrun.so").name == "spank_ibm_qrun"


def test_what_is_no_plugin_is_told(tmp_path: Path) -> None:
    path = tmp_path / "spank_qrmi.so"
    cut_off, other = PLUGIN.read_bytes()[:5000], Path("/bin/true").read_bytes()
    for content in (b"", b"#!/bin/sh\n", cut_off, other):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is no plugin of Slurm's"):
            read_library(path)
    with pytest.raises(ConfigError, match="is no regular file"):
        read_library(tmp_path)


@given(st.data())
def test_any_bytes_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(PLUGIN.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.sampled_from([*range(64), len(content) - 200]) | st.integers(0, 4000))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "hostile.so"
    path.write_bytes(content)
    # What is left may still be one.
    with suppress(ConfigError):
        assert read_library(path).slurm_release


def test_defaults_are_the_plugins() -> None:
    text = "".join(path.read_text() for path in sorted(SOURCES.glob("*.p[yx]*")))

    def number(name: str) -> int:
        [found] = re.findall(rf"DEFAULT_{name}_TIMEOUT_SECONDS = (\d+)", text)
        return int(found)

    assert number("ACQUIRE") == qrmi_plugstack.DEFAULT_ACQUIRE_SECONDS
    assert number("RELEASE") == qrmi_plugstack.DEFAULT_RELEASE_SECONDS
    assert number("CLEANUP") == qrun_plugstack.DEFAULT_CLEANUP_SECONDS
    assert f'"{DEFAULT_WORKER_SERVER}"' in text
