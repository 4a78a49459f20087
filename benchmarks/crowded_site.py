# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated site with more Qiskit Runtime backends, as a program for `loopback.site.Site`.

usage: crowded_site.py [--backends COUNT] --write-config FILE
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spank_qrmi_simulator import qrmi_config, server
from spank_qrmi_simulator.command import READY
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.site import Site

LIKE = "ibm_sherbrooke"


def more_backends(count: int) -> tuple[str, ...]:
    """Return the names of so many backends."""
    return tuple(f"bench_{number:02}" for number in range(1, count + 1))


BACKENDS = more_backends(16)
"""What one job can ask for, unless there are to be more."""


class CrowdedSite(Site):
    """A site with more backends, `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        super().__init__()

    def reset(self) -> None:
        """Go back to the first state, which has all backends."""
        super().reset()
        self.qiskit_runtime_backends |= {name: Backend(name, "active") for name in self._names}


def crowded_config(base_url: str, names: Sequence[str]) -> dict[str, object]:
    """Return the configuration of a site at this URL."""
    resources: Any = qrmi_config.site_config(base_url)["resources"]
    [like] = (one for one in resources if one["name"] == LIKE)
    return {"resources": [*resources, *(like | {"name": name} for name in names)]}


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write-config", type=Path, required=True)
    parser.add_argument("--backends", type=int, default=len(BACKENDS))
    options = parser.parse_args()
    names = more_backends(options.backends)
    listener, base_url = server.bind("127.0.0.1", 0)
    qrmi_config.write_config(options.write_config, crowded_config(base_url, names))

    def announce() -> None:
        sys.stdout.write(f"{READY} {base_url}\n")
        sys.stdout.flush()

    server.SimulatorServer(CrowdedSite(names), announce).run(sockets=[listener])


if __name__ == "__main__":
    main()
