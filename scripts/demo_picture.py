# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo-picture`: what `make demo` has printed, as the picture of a terminal.

    python3 scripts/demo_picture.py OUTPUT SVG

Of the output, two parts are shown: a job with two QPUs, and one that waits for a QPU in
maintenance. Needs only the standard library.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

# The heading with which each part begins, and that before which it ends.
PARTS = (
    ("== a user submits examples/two_qpus.sh", "== a user submits examples/qrun.sh"),
    ("== ibm_sherbrooke goes into maintenance", "== take everything away"),
)
COLUMNS = 112
# Pixels of a character, as most fonts of one width have it at this size, and of a line.
FONT_SIZE, CHARACTER_WIDTH, LINE_HEIGHT, MARGIN = 12, 7.25, 16, 14
PAPER, TEXT, HEADING = "#1b1f24", "#d0d7de", "#7ee787"


class OutputError(Exception):
    """The text is not what a demonstration prints."""


def main() -> int:
    """Read the output, write the picture; return 0, or 1 after a line that says what is wrong."""
    if len(sys.argv) != 3:  # noqa: PLR2004
        print("usage: demo_picture.py OUTPUT SVG", file=sys.stderr)
        return 2
    output, picture = map(Path, sys.argv[1:])
    try:
        picture.write_text(picture_of(output.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, OutputError, UnicodeDecodeError) as error:
        print(f"error: {output}: {error}", file=sys.stderr)
        return 1
    return 0


def shown_lines(output: str) -> list[str]:
    """Return the lines of all parts, too long ones cut; raise OutputError if a part is missing."""
    lines: list[str] = ["$ make demo"]
    for start, end in PARTS:
        _, found, rest = output.partition(f"\n{start}")
        part, ended, _ = rest.partition(f"\n{end}")
        if not found or not ended:
            message = f"has no part from {start!r} to {end!r}: give it what `make demo` prints"
            raise OutputError(message)
        lines += ["", "…", "", *f"{start}{part}".rstrip().split("\n")]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in lines]


def picture_of(output: str) -> str:
    """Return the picture as SVG: the same for the same output."""
    lines = shown_lines(output)
    width = round(COLUMNS * CHARACTER_WIDTH) + 2 * MARGIN
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    texts = (
        f'<text x="{MARGIN}" y="{MARGIN + LINE_HEIGHT * number - 4}" '
        f'fill="{HEADING if line.startswith(("== ", "$ ")) else TEXT}">{_text(line)}</text>\n'
        for number, line in enumerate(lines, 1)
        if line
    )
    return (
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later; made by `make demo-picture` -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" xml:space="preserve" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{FONT_SIZE}">\n'
        "<title>What make demo prints</title>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n'
        f"{''.join(texts)}</svg>\n"
    )


def _text(line: str) -> str:
    """Return a line as XML that keeps its blanks, without what XML cannot hold."""
    printed = "".join(each if each.isprintable() else "?" for each in line.expandtabs())
    return escape(printed).replace(" ", "\N{NO-BREAK SPACE}")


if __name__ == "__main__":
    sys.exit(main())
