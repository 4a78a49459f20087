# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of the demonstration shows what that prints; that of the documents is whole."""

from pathlib import Path
from xml.etree import ElementTree

import demo_picture

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


def test_picture_of_the_documents_shows_the_example_of_today() -> None:
    shown = lines_of((REPOSITORY / "docs" / "demo.svg").read_text())
    example = (REPOSITORY / "examples" / "two_qpus.sh").read_text().splitlines()
    assert [line for line in example if line and line not in shown] == []
