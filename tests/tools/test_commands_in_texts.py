# SPDX-License-Identifier: GPL-3.0-or-later
"""No command in any text of ours has an index look for a project of ours: it is on none.

Whoever took the name there would have his code run as root on the nodes of our administrators.
"""

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Not made by us: what pip has installed, and what builds have left.
NOT_OURS = {".venv", ".git", "build", "dist", "mutants", "corpus", "__pycache__"}
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


FETCHED = {
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


def test_search_finds_commands_that_fetch() -> None:
    assert {text: fetched_names(text) for text in FETCHED} == FETCHED


def texts(folder: Path = REPOSITORY) -> Iterator[Path]:
    """Yield all text files of the source, and no file of tests that look for such commands."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or path.name.endswith(("_cache", ".egg-info")):
            continue
        if path == Path(__file__):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from texts(path)
        elif path.is_file() and path.suffix not in (".png", ".pyc", ".so", ".gz"):
            yield path


def test_no_text_has_a_command_that_fetches_a_project_of_ours() -> None:
    checked = {}
    for path in texts():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        checked[str(path.relative_to(REPOSITORY))] = fetched_names(text)
    assert {name: found for name, found in checked.items() if found} == {}
    assert {
        *("README.md", "SECURITY.md", "docs/install.md", "man/spank-qrmi.8", "Makefile"),
        *("spank_qrmi/qrun/object_store.py", "scripts/package.py", "setup.py"),
    } <= {*checked}
