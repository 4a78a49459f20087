# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of the demonstration shows what that prints; that of the documents is whole."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import demo_picture
import pytest

REPOSITORY = Path(__file__).parents[2]
OUTPUT = """
== install

== a user submits examples/two_qpus.sh
echo "<a> & b"   \x1b[31m
LONG
== a user submits examples/qrun.sh
== ibm_sherbrooke goes into maintenance; told
paused
== take everything away again
""".replace("LONG", "x" * 200)


def lines_of(picture: str) -> list[str]:
    texts = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return [(each.text or "").replace("\N{NO-BREAK SPACE}", " ") for each in texts]


def test_picture_has_both_parts_and_nothing_else() -> None:
    assert lines_of(demo_picture.picture_of(OUTPUT)) == [
        "$ make demo",
        "…",
        "== a user submits examples/two_qpus.sh",
        'echo "<a> & b"   ?[31m',
        "x" * 111 + "…",
        "…",
        "== ibm_sherbrooke goes into maintenance; told",
        "paused",
    ]


def test_output_of_something_else_makes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, picture = tmp_path / "output", tmp_path / "picture.svg"
    output.write_text(OUTPUT.partition("== take")[0])
    monkeypatch.setattr(sys, "argv", ["demo_picture.py", str(output), str(picture)])
    assert demo_picture.main() == 1
    assert capsys.readouterr().err.startswith(f"error: {output}: has no part from '== ibm_")
    assert not picture.exists()


def test_picture_of_the_documents_shows_the_example_of_today() -> None:
    shown = lines_of((REPOSITORY / "docs" / "demo.svg").read_text())
    example = (REPOSITORY / "examples" / "two_qpus.sh").read_text().splitlines()
    assert [line for line in example if line and line not in shown] == []
