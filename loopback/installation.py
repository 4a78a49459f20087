# SPDX-License-Identifier: GPL-3.0-or-later
"""The product installed as an administrator would, below one folder."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


class Installation:
    """`make install` and `make uninstall` with all their folders below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "usr" / "local"
        self.plugin_directory = folder / "usr" / "lib64" / "slurm"
        self.config_directory = folder / "etc" / "slurm"

    @property
    def plugin(self) -> Path:
        """The installed spank_qrmi.so."""
        return self.plugin_directory / "spank_qrmi.so"

    def install(self) -> str:
        """Install, over an earlier installation too; return what was printed."""
        return self._make("install")

    def uninstall(self) -> str:
        """Take the installation away; return what was printed."""
        return self._make("uninstall")

    def _make(self, target: str) -> str:
        ended = subprocess.run(
            [
                *("make", "--no-print-directory", "-C", str(CHECKOUT), target),
                f"PREFIX={self.prefix}",
                f"PLUGINDIR={self.plugin_directory}",
                f"SYSCONFDIR={self.config_directory}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            message = f"make {target} failed:\n{ended.stdout}{ended.stderr}"
            raise RuntimeError(message)
        return ended.stdout
