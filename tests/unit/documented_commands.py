# SPDX-License-Identifier: GPL-3.0-or-later
"""What our documents and manual pages tell a reader to type, and to write into files."""

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("man/*.[1-8]")]
)
FENCED = re.compile(r"(?ms)^ *```(\w*)\n(.*?)^ *```$")
LITERAL = re.compile(r"(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed$|^\.Dl (.*?\n)")
INLINE = re.compile(r"`([^`]+)`|^\.Ql \"?([^\"\n]+)", re.MULTILINE)
DRAWING = re.compile("[─│▼]")
CRON = re.compile(r"(?:\* ){5}root ")
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*((?:/?[\w.]+/)*[a-z][\w.-]*|\$\(readlink .*?\))( .*|$)")
# What begins with these words is a message, a state, or a line of another file.
NO_PROGRAMS = {
    *("accounts", "all", "another", "bookworm", "exit", "for", "never", "no", "noexcept", "not"),
    *("nothing", "only", "optional", "qpu_licenses.server", "ready", "root", "slurmctld"),
    *("spank_ibm_qrun.so", "the", "this", "told", "you"),
}
MESSAGES = ("munge encode failed: ", "spank-qrmi check ibm_torino, as root")


def blocks_of(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the language of each block, "" if none is named, and its lines."""
    text = document.read_text()
    for language, block in FENCED.findall(text):
        yield language, block.splitlines()
    for block, line in LITERAL.findall(text):
        yield "", (block or line).splitlines()


def lines_of(document: Path) -> Iterator[str]:
    """Yield what a reader may type or copy, without prompt, comment and neighbours in a line."""
    for language, lines in blocks_of(document):
        prompted = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
        if language == "json" or (not prompted and DRAWING.search("".join(lines))):
            continue
        for line in prompted or lines:
            yield from re.split(r" && | \|\| ", re.sub(r"\s+#.*", "", CRON.sub("", line.strip())))
    for code, quoted in INLINE.findall(FENCED.sub("", document.read_text())):
        yield " ".join((code or re.sub(r" [.,]$", "", quoted)).split())


def commands_of(document: Path) -> Iterator[str]:
    """Yield the commands of a document: a program with arguments, or make alone."""
    for line in lines_of(document):
        found = COMMAND.fullmatch(line)
        if not found or found[1] in NO_PROGRAMS or line.startswith(MESSAGES) or " [-" in line:
            continue
        if found[2] or found[1] == "make":
            yield line
