# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated site with 16 more Qiskit Runtime backends, as a program for `loopback.site.Site`.

usage: crowded_site.py --write-config FILE
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from spank_qrmi_simulator import qrmi_config, server
from spank_qrmi_simulator.command import READY
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.site import Site

BACKENDS = tuple(f"bench_{number:02}" for number in range(1, 17))
LIKE = "ibm_sherbrooke"


class CrowdedSite(Site):
    """A site where one job can ask for 16 sessions."""

    def reset(self) -> None:
        """Go back to the first state, which has all backends."""
        super().reset()
        self.qiskit_runtime_backends |= {name: Backend(name, "active") for name in BACKENDS}


def crowded_config(base_url: str) -> dict[str, object]:
    """Return the configuration of a site at this URL."""
    resources: Any = qrmi_config.site_config(base_url)["resources"]
    [like] = (one for one in resources if one["name"] == LIKE)
    return {"resources": [*resources, *(like | {"name": name} for name in BACKENDS)]}


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write-config", type=Path, required=True)
    path = parser.parse_args().write_config
    listener, base_url = server.bind("127.0.0.1", 0)
    qrmi_config.write_config(path, crowded_config(base_url))

    def announce() -> None:
        sys.stdout.write(f"{READY} {base_url}\n")
        sys.stdout.flush()

    server.SimulatorServer(CrowdedSite(), announce).run(sockets=[listener])


if __name__ == "__main__":
    main()
