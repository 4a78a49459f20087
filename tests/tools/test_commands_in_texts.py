# SPDX-License-Identifier: GPL-3.0-or-later
"""No command in any text of ours has an index look for a project of ours: it is on none.

Whoever took the name there would have his code run as root on the nodes of our administrators.
"""

import re
from contextlib import suppress
from pathlib import Path

from slurm_matrix.sources import sources_of

REPOSITORY = Path(__file__).parents[2]
INSTALLER = re.compile(
    r"""\b(?:pip3?|pipx|uv|uvx|apt|apt-get|aptitude|dnf|yum|zypper|conda|mamba)\b
        [^\n|;&`]*? \b(?:install|download|wheel|run|add|sync|upgrade|reinstall)\b ([^\n|;&`]*)""",
    re.VERBOSE,
)
# As pip reads a requirement: letters of either case, and -, _ and . alike.
OUR_NAME = re.compile(r"spank[-_.]+(?:qrmi|ibm[-_.]+qrun)(?:[-_.]+\w+)*(?:\[.*)?", re.IGNORECASE)
OUR_FILE = re.compile(r".*(?:\.whl|\.deb|\.rpm|\.tar\.gz|\.txt)(?:\[.*\])?")


def fetched_names(text: str) -> list[str]:
    """Return which projects of ours the commands in a text ask an index for."""
    # A command may go on in the next line, in a shell or in a string.
    text = re.sub(r'\\\n\s*|"\n\s*"', " ", text)
    words = [
        word.strip("'\"`,:()<>")
        for command in INSTALLER.finditer(text)
        for word in command[1].split()
    ]
    return [
        word
        for word in words
        if OUR_NAME.fullmatch(re.split(r"[=<>~!@;]", word)[0]) and not OUR_FILE.fullmatch(word)
    ]


def test_search_finds_commands_that_fetch() -> None:
    fetched = {
        "run pip install 'spank-qrmi[simulator]' first": ["spank-qrmi[simulator]"],
        "python3 -m pip --quiet install --upgrade spank_qrmi==0.1.0": ["spank_qrmi==0.1.0"],
        "pip install \\\n    Spank.QRMI-simulator": ["Spank.QRMI-simulator"],
        'f"pip install "\n    "spank-qrmi-simulator"': ["spank-qrmi-simulator"],
        "uv pip install spank-qrmi": ["spank-qrmi"],
        "`apt-get install -y spank-qrmi`": ["spank-qrmi"],
        "pip install --no-deps spank_qrmi-0.1.0-py3-none-linux_x86_64.whl": [],
        "pip install 'spank_qrmi-0.1.0-py3-none-any.whl[qrun]'": [],
        "pip install ./simulator -r spank_qrmi-0.1.0-requirements.txt": [],
        "apt install ./spank-qrmi_0.1.0+slurm22.05_amd64.deb": [],
        "dnf remove spank-qrmi": [],
        "pip install 'qrmi[ibm,pasqal]'": [],
    }
    assert {text: fetched_names(text) for text in fetched} == fetched


def test_no_text_has_a_command_that_fetches_a_project_of_ours() -> None:
    checked = {}
    # This file looks for such commands.
    for name in sources_of(REPOSITORY) - {Path(__file__).relative_to(REPOSITORY)}:
        with suppress(UnicodeDecodeError):
            checked[str(name)] = fetched_names((REPOSITORY / name).read_text(encoding="utf-8"))
    assert {name: found for name, found in checked.items() if found} == {}
    assert {
        *("README.md", "SECURITY.md", "docs/install.md", "man/spank-qrmi.8", "Makefile"),
        *("spank_qrmi/qrun/object_store.py", "scripts/package.py", "setup.py"),
    } <= {*checked}
