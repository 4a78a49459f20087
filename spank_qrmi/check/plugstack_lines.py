# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether plugstack.conf loads our plugins, once, with arguments that they can use."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePath

from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import LIBRARIES, Node
from spank_qrmi.clients.http import HttpClient, open_client
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import Argument, CommonArguments
from spank_qrmi.configuration.node_variables import check_certificates, with_file_variables
from spank_qrmi.configuration.qrun_credentials import load_credentials
from spank_qrmi.configuration.slurm_files import (
    LONGEST_LINE_BYTES,
    MODES,
    USUAL_FOLDERS,
    PluginLine,
    TextLine,
    included_files,
)
from spank_qrmi.errors import QrmiError
from spank_qrmi.trust.paths import trouble_at, trouble_with
from spank_qrmi.trust.worker_user import ids_of

_MODULES = {qrmi_plugstack.LIBRARY: qrmi_plugstack, qrun_plugstack.LIBRARY: qrun_plugstack}
_MANY_TIMES = "--env:"


def check_plugstack(node: Node) -> Iterator[Finding]:
    """Look for plugstack.conf, and whether others than root or SlurmUser could write it."""
    if node.slurm_conf is None:
        places = ", ".join(f"/{each}" for each in USUAL_FOLDERS)
        yield wrong(
            f"no slurm.conf is found: not in {places}",
            "SLURM_CONF=/path/of/slurm.conf spank-qrmi check",
        )
    path = node.plugstack
    if path is None:
        return
    if not path.exists():
        yield wrong(
            f"{path}: is not there: slurmd takes it for an empty one, and loads no plugin",
            "make it, or correct PlugStackConfig in slurm.conf",
        )
        return
    files = dict.fromkeys([path, *(line.file for line in node.text_lines)])
    if node.slurm_conf is not None:
        files[node.slurm_conf] = None
    troubles = list(dict.fromkeys(filter(None, map(_trouble_with, files))))
    slurm_user = node.slurm_values.get("slurmuser", "root")
    troubles = [each for each in troubles if f"by user {slurm_user}, " not in each]
    for trouble in troubles:
        yield wrong(
            f"{trouble}: slurmd loads what it names",
            "remove it, and make it anew as root, with mode 0644",
        )
    if node.lines and not troubles:
        yield right(f"{path}: {', '.join(line.path for line in node.lines)}")


def _trouble_with(path: Path) -> str:
    return trouble_with([path]) or trouble_at(str(path))


def check_lines(node: Node) -> Iterator[Finding]:
    """Look whether each plugin is loaded by one line that slurmd understands."""
    loading = {line.place for line in node.lines}
    for text_line in node.text_lines:
        if any(map(_is_ours, text_line.words[1:2])) or text_line.place in loading:
            yield from _findings_of_line(text_line)
    for library in LIBRARIES:
        found = node.lines_of(library)
        for other in found[1:]:
            yield doubtful(
                f"{other.place}: loads {library} a second time: the arguments of "
                f"{found[0].place} count",
                f"remove {other.place}",
            )
    if node.plugstack is not None and node.plugstack.exists() and not node.lines:
        empty = [line for line in node.text_lines if line.is_include and not included_files(line)]
        why = f": {empty[0].place}: nothing is there of {empty[0].words[1]}" if empty else ""
        yield wrong(
            f"{node.plugstack}: no line loads spank_qrmi.so: --qpu is no option{why}",
            "optional /path/of/spank_qrmi.so /etc/slurm/qrmi_config.json",
        )


def _is_ours(word: str) -> bool:
    return PurePath(word.strip("\"'")).name in LIBRARIES


def _findings_of_line(line: TextLine) -> Iterator[Finding]:
    mode, path, *_ = line.words
    quoted = [word for word in line.words if word[0] in "\"'" or word[-1] in "\"'"]
    if mode not in MODES:
        yield wrong(
            f"{line.place}: begins with {mode[:40]}: slurmd leaves the line out",
            f"optional {path} …",
        )
    if quoted:
        yield wrong(
            f"{line.place}: has quotes, which slurmd takes for a part of the word",
            "write it without quotes; no argument can hold a blank",
        )
    if len(line.text.encode("utf-8", "surrogateescape")) > LONGEST_LINE_BYTES:
        yield wrong(
            f"{line.place}: is longer than {LONGEST_LINE_BYTES} bytes: slurmd cuts it in two",
            "move values to the files of --env-file or --credentials",
        )


def check_arguments(node: Node) -> Iterator[Finding]:
    """Look whether the arguments of each line can be used, and none takes another one back."""
    for library in LIBRARIES:
        for line in node.lines_of(library)[:1]:
            findings = [*_repeated(line), *_usable(line)]
            yield from findings or [right(f"{line.place}: the arguments of {library} can be used")]


def _repeated(line: PluginLine) -> Iterator[Finding]:
    """Find arguments that are given twice, of which the last one counts."""
    words = [word for word in line.arguments if word.startswith("--")]
    names = [word.partition("=")[0] for word in words]
    for name in dict.fromkeys(each for each in names if names.count(each) > 1):
        values = {word for word, each in zip(words, names, strict=True) if each == name}
        if len(values) > 1:
            yield doubtful(f"{line.place}: {name} is given twice: the last one counts", "keep one")


def _usable(line: PluginLine) -> Iterator[Finding]:
    module = _MODULES[line.library]
    try:
        given: CommonArguments = module.parse_arguments(line.arguments)
    except QrmiError as error:
        yield wrong(f"{line.place}: {error}", _meant(line.arguments, module.OPTIONS))
        return
    try:
        check_certificates(given.node_variables)
        arguments = with_file_variables(given)
        client = open_client(arguments.node_variables)
        if not isinstance(client, HttpClient):
            raise client
        ids_of(arguments.worker_user)
        if isinstance(arguments, qrun_plugstack.QrunArguments) and arguments.credentials_path:
            load_credentials(arguments.credentials_path, is_strict=arguments.is_strict)
    except QrmiError as error:
        yield wrong(f"{line.place}: {error}")
        return
    client.__exit__()
    for text in arguments.exposures:
        found = wrong if arguments.is_strict else doubtful
        yield found(f"{line.place}: {text}")


def _meant(arguments: Sequence[str], known: Sequence[Argument]) -> str:
    """Return what an unknown argument may be meant for."""
    names = {each.name: each for each in known}
    for name in (word.partition("=")[0] for word in arguments if word.startswith("--")):
        if name not in names and not name.startswith(_MANY_TIMES):
            nearest = get_close_matches(name, [*names, _MANY_TIMES], 1)
            return f"is it {names[nearest[0]].text}?" if nearest and nearest[0] in names else ""
    return ""
