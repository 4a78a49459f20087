# SPDX-License-Identifier: GPL-3.0-or-later
"""What our documents name is there: files, headings, and the code's own tables."""

import re
from pathlib import Path

import pytest

from spank_qrmi.check.finding import Verdict
from spank_qrmi.clients import CLIENTS
from spank_qrmi.qrun.outcome import ExitStatus

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
FENCED = re.compile(r"(?ms)^ *```.*?^ *```$")


def anchors(document: Path) -> set[str]:
    """Return the names by which GitHub links to the headings of a document."""
    headings = re.findall(r"(?m)^#+ (.*)$", FENCED.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def broken_links(document: Path) -> list[str]:
    """Return the links of a document that lead nowhere."""
    broken = []
    for name, anchor in LINK.findall(FENCED.sub("", document.read_text())):
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{name}#{anchor}")
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_search_finds_links_that_lead_nowhere(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# What `x` is\n[1](#what-x-is) [2](#what) [3](b.md) [4](https://x.org)\n")
    assert broken_links(document) == ["#what", "b.md#"]


@pytest.mark.parametrize("name", ["sampler.sh", "qrun.sh"])
def test_readme_shows_a_job_that_tests_run(name: str) -> None:
    """tests/e2e/test_examples.py submits it as it stands."""
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```$", (REPOSITORY / "README.md").read_text())
    assert (REPOSITORY / "examples" / name).read_text() in blocks


def test_recipes_name_files_that_are_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    text = text.partition("\n## Recipes\n")[2].partition("\n## Style\n")[0]
    paths = {each.replace("NAME", "oqtopus") for each in re.findall(r"`(\w+/[\w./]+)`", text)}
    assert len(paths) > 20
    assert [each for each in sorted(paths) if not (REPOSITORY / each).exists()] == []


def test_documents_have_the_exit_statuses_of_qrun() -> None:
    document = (REPOSITORY / "docs" / "qrun.md").read_text().replace("`", "")
    rows = re.findall(r"(?m)^\| (\d+) \| (.*) \|$", document)
    assert rows == [(str(each.value), each.meaning) for each in ExitStatus]
    page = (REPOSITORY / "man" / "qrun.1").read_text().partition(".Sh EXIT STATUS")[2]
    told = re.findall(r"(?m)^\.It (\d+)$", page.partition("\n.Sh ")[0])
    assert told == [str(each.value) for each in ExitStatus]


def test_documents_have_the_exit_statuses_of_the_check() -> None:
    expected = [(str(each.value), each.name.lower()) for each in Verdict]
    page = (REPOSITORY / "man" / "spank-qrmi.8").read_text().partition("\n.Cm check :\n")[2]
    told = re.findall(r"(\d) if \w+ is (\w+)", page.partition("\n")[0])
    assert told == expected
    document = (REPOSITORY / "docs" / "administration.md").read_text()
    row = document.partition("| `spank-qrmi check` |")[2].partition("\n")[0]
    assert re.findall(r"(\d) if \w+ is (\w+)", row) == expected[1:]


def test_document_of_the_simulated_site_has_every_type() -> None:
    document = (REPOSITORY / "docs" / "simulator.md").read_text()
    table = document.partition("| Type | Resources |")[2].partition("\n\n")[0]
    types = re.findall(r"(?m)^\| `([a-z-]+)` \|", table)
    assert types == [*CLIENTS], "the table of types in docs/simulator.md"
