# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/migrating.md calls right for the established plugin and for ours is right here."""

import re
from pathlib import Path

from tests.unit.check.checked_node import CheckedNode, found

TEXT = (Path(__file__).parents[3] / "docs" / "migrating.md").read_text()
[LINE] = re.findall(r"(?m)^optional .*$", TEXT)
[CONFIG] = re.findall(r"(?ms)^```json\n(.*?)^```$", TEXT)


def test_nothing_is_found_of_line_and_configuration(node: CheckedNode) -> None:
    mode, _, _, *arguments = LINE.split()
    node.write_plugstack(node.line(*arguments, mode=mode))
    node.write_config_text(re.sub(r"<.*?>", "filled in", CONFIG))

    _, findings = node.look()

    # Whether a munged runs is the machine's.
    assert found([each for each in findings if each["check"] != "MUNGE"]) == []
    usable = " ".join(each["text"] for each in findings)
    for name in re.findall(r'"name": "(\w+)"', CONFIG):
        assert name in usable, name
