# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in Lua name the licences that the plugin and the monitor mean."""

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback.installation import REPOSITORY
from spank_qrmi.catalog.license_list import held_licenses
from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.job.resolution import split_names
from tests.unit.strategies import texts

FOLDER = REPOSITORY / "examples" / "slurm"
# Debian's and Red Hat's Slurm have one of these.
RELEASES = ("lua51", "lua53", "lua54")
LISTS = st.lists(
    st.sampled_from(["qpu_a", "qpu_b@dbd", "qpu_c:2", " qpu_d = 3", "qpu_e:0", "qpu_f:x", "|", ""])
    | st.text("ab_:=@|; 0123456789", max_size=8)
)


def interpreter(release: str) -> Any:
    # Latin-1 hands each byte over as it is, as Slurm does.
    return importlib.import_module(f"lupa.{release}").LuaRuntime(encoding="latin-1")


def load(release: str) -> Any:
    return interpreter(release).execute((FOLDER / "qpu_licenses.lua").read_text())


LOADED = {release: load(release) for release in RELEASES}


def missing(release: str, *texts: str | None) -> list[str]:
    # Lua has a character for each byte.
    found = LOADED[release].missing(*(each and each.encode().decode("latin-1") for each in texts))
    return [each for each in found.split(",") if each]


@pytest.mark.parametrize("release", RELEASES)
@given(names=st.lists(texts, max_size=5))
def test_rule_is_the_plugins(release: str, names: list[str]) -> None:
    qpus = " , ".join(names)
    expected = list(dict.fromkeys(map(license_name_of, split_names(qpus))))
    assert missing(release, qpus, None) == expected


@pytest.mark.parametrize("release", RELEASES)
@given(lists=LISTS)
def test_list_is_read_as_the_plugin_reads_it(release: str, lists: list[str]) -> None:
    asked_for = ",".join(lists)
    held = held_licenses(asked_for)
    expected = [name for name in map(license_name_of, "abcdef") if name not in held]
    assert missing(release, "a,b,c,d,e,f", asked_for) == expected


@pytest.mark.parametrize("release", RELEASES)
def test_licences_of_slurmdbd_name_their_server(release: str) -> None:
    library = load(release)
    library.server = "spank_qrmi"
    assert library.missing("a,b", "qpu_b@spank_qrmi:1") == "qpu_a@spank_qrmi"


# Options, the job that the command runs in, and the licences that it asks for then.
COMMANDS: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({}, None, None),
    ({"spank": {}, "licenses": "m:1"}, None, "m:1"),
    ({"spank": {"spank_qrmi": {}}}, None, None),
    ({"qpu": "a, b"}, None, "qpu_a,qpu_b"),
    ({"qpu": "a,b", "licenses": "m:1;qpu_b:2"}, None, "m:1;qpu_b:2,qpu_a"),
    ({"qpu": "a", "licenses": ""}, None, "qpu_a"),
    ({"qpu": "a", "licenses": "qpu_a"}, None, "qpu_a"),
    ({"qpu": "a", "component": 1}, None, None),
    ({"qpu": "a", "type": "srun", "jobid": "unset"}, None, "qpu_a"),
    ({"qpu": "a", "type": "srun", "jobid": "12"}, None, None),
    ({"qpu": "a", "type": "sbatch", "jobid": "12"}, None, "qpu_a"),
    # A step has its job's.
    ({"qpu": "a", "type": "srun"}, "12", None),
]


@pytest.mark.parametrize("release", RELEASES)
def test_commands_ask_for_the_licences(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, job_id, expected in COMMANDS:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        if job_id is not None:
            monkeypatch.setenv("SLURM_JOB_ID", job_id)
        given_options = dict(options)
        component = given_options.pop("component", 0)
        if "qpu" in given_options:
            given_options["spank"] = {"spank_qrmi": {"qpu": given_options.pop("qpu")}}
        lua = with_slurm(release)
        lua.execute((FOLDER / "cli_filter.lua").read_text())
        table = lua.table_from(given_options, recursive=True)
        assert lua.globals().slurm_cli_pre_submit(table, component) == 0, options
        assert table.licenses == expected, options


def with_slurm(release: str) -> Any:
    """Return an interpreter as Slurm has it, where /etc/slurm is the examples' folder."""
    lua = interpreter(release)
    lua.execute(
        "slurm = {SUCCESS = 0, NO_VAL = 4294967294}\n"
        "local load_file = dofile\n"
        f"function dofile(path) return load_file((path:gsub('^/etc/slurm', '{FOLDER}'))) end"
    )
    return lua


def test_examples_name_one_folder() -> None:
    for name in ("cli_filter.lua", "job_submit.lua"):
        assert 'dofile("/etc/slurm/qpu_licenses.lua")' in (FOLDER / name).read_text()
