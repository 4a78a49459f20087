# SPDX-License-Identifier: GPL-3.0-or-later
"""Links between our documents lead to a heading that is there, and what else they name is there."""

import re
from pathlib import Path

import pytest

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
