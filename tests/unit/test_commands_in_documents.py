# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command that a document tells a reader to type is run by a test, or a table says why not.

The real readers of command lines, of plugstack.conf and of qrmi_config.json take the examples.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from spank_qrmi.admin import command as cli
from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.qrmi_config import load_config
from spank_qrmi.configuration.slurm_files import read_plugstack
from spank_qrmi.qrun import command as qrun
from spank_qrmi.qrun.primitive_input import read_primitive_input
from spank_qrmi_simulator import command as simulator

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("man/*.[1-8]")]
)
FENCED = re.compile(r"(?ms)^ *```(\w*)\n(.*?)^ *```$")
LITERAL = re.compile(r"(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed$|^\.Dl (.*?\n)")
INLINE = re.compile(r"`([^`]+)`|^\.Ql \"?([^\"\n]+)", re.MULTILINE)
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
        if language == "json" or (not prompted and re.search("[─│▼]", "".join(lines))):
            continue
        for line in prompted or lines:
            # Without what crontab(5) has before the command, and without a comment.
            typed = re.sub(r"(?:\* ){5}root |\s+#.*", "", line.strip())
            yield from re.split(r" && | \|\| ", typed)
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


COMMANDS = sorted({each for document in DOCUMENTS for each in commands_of(document)})
MAKEFILE = (REPOSITORY / "Makefile").read_text()
VARIABLES = dict(re.findall(r"(?m)^([A-Z]+) [:?]?= ((?:.*\\\n)*.*)", MAKEFILE))


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield each command of the table, what runs it or why nothing does, and what shows that."""
    runner = ""
    for line in Path(__file__).with_name("commands_in_documents.txt").read_text().splitlines():
        if header := re.fullmatch(r"\[(.*)\]", line):
            runner = header[1]
        elif line and not line.startswith("#"):
            command, _, shown_by = line.partition(" = ")
            yield command, runner, shown_by


ROWS = [*rows()]


def test_table_has_the_commands_of_the_documents() -> None:
    listed = Counter(command for command, _, _ in ROWS)
    assert [each for each in listed if listed[each] > 1 or each not in COMMANDS] == []
    beginnings = [
        each for each in COMMANDS if any(re.match(re.escape(each) + "[ =]", row) for row in listed)
    ]
    running_tests = [each for each in COMMANDS if re.match(r"make test|\.venv/bin/pytest", each)]
    assert {*COMMANDS} - {*listed, *beginnings, *running_tests} == set()


@cache
def text_of(path: str) -> str:
    """Return a test's file and what it imports of ours, with the conftest beside it."""
    files = [REPOSITORY / path, (REPOSITORY / path).with_name("conftest.py")]
    for file in files:
        if file.exists():
            found = re.findall(r"(?m)^from ((?:tests|loopback)[\w.]*) import", file.read_text())
            named = [REPOSITORY / f"{each.replace('.', '/')}.py" for each in found]
            files += [each for each in named if each not in files]
    return "\n".join(each.read_text() for each in files if each.exists())


def what_shows(command: str) -> list[str]:
    """Return the words of a command that a test has too, if it runs the command."""
    variables, words = [], shlex.split(command.replace("$(", "").replace(")", ""))
    while "=" in words[0]:
        variables.append(words.pop(0).partition("=")[0])
    program, *rest = words
    options = [each.partition("=")[0] for each in rest if each.startswith("-")]
    variables += [each.partition("=")[0] for each in rest if re.match("[A-Z_]+=", each)]
    subcommands = rest[:1] if re.fullmatch(r"[a-z][a-z-]*", "".join(rest[:1])) else []
    # The unit tests call the function behind it.
    programs = [] if program.endswith("spank-qrmi") else [Path(program).name]
    return [*variables, *programs, *options, *subcommands]


def rule_of(target: str) -> str:
    """Return what the Makefile has for a target: what it needs, and its recipe."""
    rule = rf"(?m)^(?:[\w -]+ )?{target}(?: [\w -]+)?:(?!=)(.*\n(?:\t.*\n)*)"
    text = "".join(re.findall(rule, MAKEFILE))
    return re.sub(r"\$\((\w+)\)", lambda found: VARIABLES.get(found[1], ""), text)


def test_named_tests_run_their_commands() -> None:
    for command, runner, shown_by in ROWS:
        if not runner.startswith("no test: "):
            path, _, name = runner.partition("::")
            defined = rf"(?m)^def {name}\(" if name else ""
            assert re.search(defined, (REPOSITORY / path).read_text()), runner
            needed = [shown_by] if shown_by else what_shows(command)
            assert [word for word in needed if word not in text_of(path)] == [], command


def test_targets_of_make_are_there() -> None:
    shown = {command: shown_by for command, _, shown_by in ROWS}
    for command in COMMANDS:
        if re.search(r"\bmake\b", command):
            words = command.partition("make")[2].split()
            target = next((each for each in words if "=" not in each), "all")
            rule, shown_by = rule_of(target), shown.get(command, "")
            assert rule, command
            assert shown_by in rule or target in re.split(r"[^\w-]", rule_of(shown_by)), command


INCOMPLETE = {"spank-qrmi release", "spank-qrmi worker-server --socket", "srun qrun"}


def test_commands_of_ours_are_understood() -> None:
    """The real parsers take them, with their placeholders filled."""
    for command in COMMANDS:
        found = re.fullmatch(r"(?:.*[/\s])?(spank-qrmi|qrun) ([a-z-].*)", command)
        if found is None or command in INCOMPLETE:
            continue
        text = found[2]
        for placeholder, value in (("…", ""), (" ID", " 7")):
            text = text.replace(placeholder, value)
        arguments = shlex.split(text)
        if found[1] == "qrun":
            qrun._parser().parse_args(arguments)
        elif arguments[0] == "simulate":
            simulator._parser().parse_args(arguments[1:])
        else:
            cli._parser().parse_args(arguments)


def test_options_for_jobs_are_those_of_the_plugins() -> None:
    plugins = (REPOSITORY / "spank_qrmi" / "plugin").glob("*.pyx")
    registered = "".join(path.read_text() for path in plugins)
    known = {*re.findall(r'register_option\(spank, b"([\w-]+)"', registered)}
    lines = [line for document in DOCUMENTS for line in lines_of(document)]
    submitted = [line for line in lines if re.match(r"#SBATCH|srun|sbatch|salloc", line)]
    named = {each for line in submitted for each in re.findall(r"--(q(?:pu)?(?:-\w+)*)\b", line)}
    assert named == known


def test_files_in_documents_are_accepted(tmp_path: Path) -> None:
    """Lines of plugstack.conf, qrmi_config.json and entries of it, inputs of qrun."""
    accepted: set[str] = set()
    for document in DOCUMENTS:
        path = tmp_path / document.name
        for language, lines in blocks_of(document):
            text = re.sub("@SYSCONFDIR@|@PLUGINDIR@", "/etc/slurm", "\n".join(lines))
            path.write_text(text)
            for line in read_plugstack(path):
                is_qrmi = line.library == qrmi_plugstack.LIBRARY
                (qrmi_plugstack if is_qrmi else qrun_plugstack).parse_arguments(line.arguments)
                accepted.add(line.library)
            value = json.loads(text) if language == "json" or '"resources"' in text else {}
            if "pubs" in value:
                read_primitive_input(str(path))
                accepted.add("input")
            elif value:
                if "resources" not in value:
                    path.write_text(json.dumps({"resources": [value]}))
                path.chmod(0o600)
                config = load_config(path, CLIENTS)
                assert (config.problems, bool(config.resources)) == ((), True), path
                accepted.add("configuration")
    libraries = {qrmi_plugstack.LIBRARY, qrun_plugstack.LIBRARY}
    assert accepted == {*libraries, "input", "configuration"}


def test_usage_of_qrun_is_that_of_the_command() -> None:
    usage = " ".join(qrun._parser().format_usage().removeprefix("usage: ").split())
    assert usage in {line for each in DOCUMENTS for line in lines_of(each)}
