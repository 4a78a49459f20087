# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that users see."""

from spank_qrmi.catalog.table import Reader, age_text, table_of
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import AS_OF, PAUSED, VALID_UNTIL, catalog, entry


def table(*entries: object, uid: int = 1000, now: int = AS_OF, has_colours: bool = False) -> str:
    reader = Reader(uid, [100], now)
    lines = table_of(catalog(*entries), reader, has_colours=has_colours)  # type: ignore[arg-type]
    return "\n".join(lines)


def test_table_has_what_is_known_and_dashes_for_the_rest() -> None:
    reserved = entry("qa2", QpuState.BUSY, reason="reserved", free_slots=2, types=("x",))
    assert table(entry(), PAUSED, reserved, now=AS_OF + 61) == (
        "NAME  TYPE                              STATE   WAITING  FREE  CALIBRATED         AGE    "
        "REASON\n"
        "qa    direct-access                     online  -        -     -                  1 min\n"
        "qb    direct-access,ibm-quantum-system  paused  3        0/4   2023-11-14T20:00Z  never  "
        "maintenance, available again at 2023-11-15T08:00Z\n"
        "qa2   x                                 busy    -        2     -                  1 min  "
        "reserved"
    )


def test_who_may_not_use_a_qpu_reads_that() -> None:
    kept = entry(uids=(1001,), gids=(101,))
    expected = {1000: "not for you", 1001: "1 s", 0: "1 s"}
    for uid, end in expected.items():
        assert table(kept, uid=uid, now=AS_OF + 1).endswith(end)
    assert table(entry(gids=(100,)), now=AS_OF + 1).endswith("1 s")
    assert table(entry(uids=(), reason="sick")).endswith("not for you; sick")


def test_old_catalog_says_that_it_is_old() -> None:
    assert len(table(entry(), now=VALID_UNTIL).splitlines()) == 2
    assert table(entry(), now=VALID_UNTIL + 1).splitlines()[2] == (
        "this catalog is old: it is of 1 min ago, and none of it may still be so: tell the "
        "administrator that its monitor is silent"
    )


def test_states_have_colours_where_they_are_wanted() -> None:
    states = [entry(state.value, state) for state in QpuState]
    lines = table(*states, has_colours=True).splitlines()
    assert "\x1b" not in lines[0]
    shown = [line.partition("\x1b[")[2].partition("\x1b[0m")[0].strip() for line in lines[1:]]
    assert shown == ["32monline", "33mbusy", "33mpaused", "31moffline", "31munknown"]
    assert "\x1b" not in table(*states)


def test_age_is_in_its_largest_unit() -> None:
    ages = {-5: "0 s", 59: "59 s", 60: "1 min", 3599: "59 min", 86399: "23 h", 200000: "2 d"}
    assert {seconds: age_text(AS_OF, AS_OF + seconds) for seconds in ages} == ages
