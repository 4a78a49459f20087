# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's accounting of one cluster: the files of slurmdbd and of the database behind it."""

import os
import pwd
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from loopback.errors import ClusterError

PROGRAMS = ("mariadb", "mariadb-install-db", "mariadbd", "sacct", "sacctmgr", "slurmdbd")
"""What must be installed for it, beside Slurm."""

# MariaDB refuses to run as root.
_USER = "nobody"
_SCHEMA = "slurm_acct_db"


class Accounting:
    """A database that listens on a socket in its own folder, for root alone; and slurmdbd."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Use `folder`, a cluster's; slurmdbd logs to `log`, all it can."""
        self._folder = folder
        self._log = log
        self._database = folder / "database"
        self._socket = self._database / "socket"

    def create(self, port: int) -> None:
        """Make an empty database and slurmdbd's configuration; raise ClusterError."""
        account = pwd.getpwnam(_USER)
        self._database.mkdir(mode=0o700)
        os.chown(self._database, account.pw_uid, account.pw_gid)
        command = (
            *_as_user("mariadb-install-db", "--no-defaults", f"--datadir={self._database}"),
            # Whoever is root is the database's root too, and nobody else gets in.
            *("--auth-root-authentication-method=socket", "--skip-name-resolve", "--skip-test-db"),
            *_IN_A_HURRY,
        )
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            message = f"mariadb-install-db ended with status {done.returncode}:\n{done.stderr}"
            raise ClusterError(message)
        self._write_configuration(port)

    def settings(self, port: int) -> dict[str, str]:
        """Return what slurm.conf says of it: as much as possible is to be kept of each job."""
        return {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(port),
            # The name tells it of other times: it is munge's socket.
            "AccountingStoragePass": str(self._folder / "munge.sock"),
            "AccountingStoreFlags": "job_comment,job_env,job_extra,job_script",
        }

    @property
    def database_command(self) -> Sequence[str]:
        """The command that serves the database in the foreground."""
        return (
            *_as_user("mariadbd", "--no-defaults", f"--datadir={self._database}"),
            *(f"--socket={self._socket}", f"--pid-file={self._database / 'pid'}"),
            *("--skip-networking", *_IN_A_HURRY),
        )

    @property
    def slurmdbd_environment(self) -> Mapping[str, str]:
        """What slurmdbd's environment needs: its configuration cannot name a socket."""
        return {"MYSQL_UNIX_PORT": str(self._socket)}

    def is_ready(self) -> bool:
        """Tell whether the database can be asked, and let it have what slurmdbd fills with tables.

        slurmdbd can make that itself, but then connects a second time, after which each statement
        fails with error 5027 of libmariadb 11.8.9.
        """
        return self._ask(f"CREATE DATABASE IF NOT EXISTS {_SCHEMA}").returncode == 0

    def tables(self) -> dict[str, str]:
        """Return all rows of all of slurmdbd's tables as text, by table; raise ClusterError."""
        names = self._rows("SHOW TABLES").split()
        return {name: self._rows(f"SELECT * FROM `{name}`") for name in names}  # noqa: S608

    def _rows(self, statement: str) -> str:
        done = self._ask(statement, "--raw", "--skip-column-names", _SCHEMA)
        if done.returncode != 0:
            message = f"{statement}: {done.stderr}"
            raise ClusterError(message)
        return done.stdout

    def _ask(self, statement: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("mariadb", "--no-defaults", f"--socket={self._socket}"),
                *("--batch", f"--execute={statement}", *options),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def _write_configuration(self, port: int) -> None:
        # slurmdbd demands that nobody else can read it, and looks for it beside slurm.conf.
        path = self._folder / "slurmdbd.conf"
        path.touch(mode=0o600)
        settings = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._folder / 'munge.sock'}",
            "DbdHost": socket.gethostname().split(".")[0],
            "DbdAddr": "127.0.0.1",
            "DbdPort": str(port),
            "SlurmUser": "root",
            "DebugLevel": "debug5",
            "LogFile": str(self._log),
            "PidFile": str(self._folder / "slurmdbd.pid"),
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": "root",
            "StorageLoc": _SCHEMA,
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _as_user(*command: str) -> Sequence[str]:
    # Changing the user undoes what a daemon is started with: that it ends with us.
    identity = (f"--reuid={_USER}", f"--regid={pwd.getpwnam(_USER).pw_gid}", "--clear-groups")
    return ("setpriv", *identity, "--pdeathsig", "TERM", "--", *command)


# Small, and never safe on a disk: it lives as long as a test.
_IN_A_HURRY = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-log-file-size=16M",
)
