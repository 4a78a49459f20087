# SPDX-License-Identifier: GPL-3.0-or-later
"""What our documents name is there: files, headings, and the code's own tables."""

import re
from pathlib import Path

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
    broken = []
    for name, anchor in LINK.findall(FENCED.sub("", document.read_text())):
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{name}#{anchor}")
    return broken


def test_links_lead_somewhere(tmp_path: Path) -> None:
    wrong = tmp_path / "a.md"
    wrong.write_text("# What `x` is\n[1](#what-x-is) [2](#what) [3](b.md) [4](https://x.org)\n")
    assert broken_links(wrong) == ["#what", "b.md#"]
    assert {each.name: broken_links(each) for each in DOCUMENTS if broken_links(each)} == {}


def test_readme_shows_jobs_that_tests_run() -> None:
    """tests/e2e/test_examples.py submits them as they stand."""
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```$", (REPOSITORY / "README.md").read_text())
    for name in ("sampler.sh", "qrun.sh"):
        assert (REPOSITORY / "examples" / name).read_text() in blocks, name


def between(path: str, start: str, end: str) -> str:
    """Return what a document has between two texts."""
    return (REPOSITORY / path).read_text().partition(start)[2].partition(end)[0]


def test_recipes_name_files_that_are_there() -> None:
    text = between("CONTRIBUTING.md", "\n## Recipes\n", "\n## Style\n")
    paths = {each.replace("NAME", "oqtopus") for each in re.findall(r"`(\w+/[\w./]+)`", text)}
    assert len(paths) > 20
    assert [each for each in sorted(paths) if not (REPOSITORY / each).exists()] == []


def test_documents_have_the_exit_statuses_of_qrun_and_of_the_check() -> None:
    document = (REPOSITORY / "docs" / "qrun.md").read_text().replace("`", "")
    rows = re.findall(r"(?m)^\| (\d+) \| (.*) \|$", document)
    assert rows == [(str(each.value), each.meaning) for each in ExitStatus]
    told = re.findall(r"(?m)^\.It (\d+)$", between("man/qrun.1", ".Sh EXIT STATUS", "\n.Sh "))
    assert told == [str(each.value) for each in ExitStatus]
    verdicts = [(str(each.value), each.name.lower()) for each in Verdict]
    page = between("man/spank-qrmi.8", "\n.Cm check :\n", "\n")
    assert re.findall(r"(\d) if \w+ is (\w+)", page) == verdicts
    row = between("docs/administration.md", "| `spank-qrmi check` |", "\n")
    assert re.findall(r"(\d) if \w+ is (\w+)", row) == verdicts[1:]


def test_document_of_the_simulated_site_has_every_type() -> None:
    table = between("docs/simulator.md", "| Type | Resources |", "\n\n")
    types = re.findall(r"(?m)^\| `([a-z-]+)` \|", table)
    assert types == [*CLIENTS], "the table of types in docs/simulator.md"


def test_every_rule_of_security_names_tests_that_are_there() -> None:
    """A rule without one would be a promise."""
    table = between("SECURITY.md", "| Threat | Rule | Shown by |\n", "\n## ")
    rows = [row.split("|") for row in table.splitlines()[1:] if row.startswith("|")]
    assert len(rows) > 20
    assert [row[1] for row in rows if not re.search(r"`((\w+/)?test_|make )", row[3])] == []
    text = (REPOSITORY / "SECURITY.md").read_text()
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(test_\w+))?`", text))
    assert len(named) > 20
    for file, name in sorted(named):
        beginning = f"\ndef {name}(" if name else "\ndef test_"
        texts = [path.read_text() for path in REPOSITORY.glob(f"tests/**/{file}")]
        assert any(beginning in each for each in texts), (file, name)
