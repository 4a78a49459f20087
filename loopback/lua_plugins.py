# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in Lua, as a site puts them beside its slurm.conf."""

import itertools
import os
import time
from pathlib import Path

from loopback.configuration import write_public
from loopback.installation import REPOSITORY

LUA_SETTINGS = {"CliFilterPlugins": "lua", "JobSubmitPlugins": "lua"}
"""What slurm.conf says of them."""
_EXAMPLES = REPOSITORY / "examples" / "slurm"
_NEXT_SECONDS = itertools.count(2, 2)


def install_lua_plugins(folder: Path, *, must_refuse: bool = False) -> None:
    """Put them into the folder of a cluster; with `must_refuse`, no job is given licences."""
    younger = int(time.time()) + next(_NEXT_SECONDS)
    for source in _EXAMPLES.glob("*.lua"):
        text = source.read_text().replace("/etc/slurm", str(folder))
        if must_refuse:
            text = text.replace("MUST_REFUSE = false", "MUST_REFUSE = true")
        write_public(folder / source.name, text)
        # slurmctld reads a file again that is younger than its last look, to the second.
        os.utime(folder / source.name, (younger, younger))
