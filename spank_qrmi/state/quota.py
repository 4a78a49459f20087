# SPDX-License-Identifier: GPL-3.0-or-later
"""How many entries of the journal one user, and a node, may have before no more are acquired.

An entry is counted once it is on disk, so that jobs which start together cannot exceed the numbers.
"""

import threading

from spank_qrmi.errors import AcquisitionError, JournalError, LimitError
from spank_qrmi.state.journal import OVER_PREFIX, TOLD_PREFIX, Entry, Journal

MOST_OF_USER = 128
"""Entries at endpoints of a user's own, and such whose release failed: as many as a large node may
run jobs at once, of one user who brings his endpoint."""

MOST_OF_NODE = 1000

_NO_JOBS = (TOLD_PREFIX, OVER_PREFIX)


class Quota:
    """Looks whether `uid` may have one entry more; for one piece of work.

    Contents are read only when there are more files than one user may have, and each but once.
    """

    def __init__(self, journal: Journal, uid: int) -> None:
        self._journal = journal
        self._uid = uid
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._count = 0

    def check(self) -> None:
        """Return if the last entry was not one too many.

        Raises LimitError if it was the user's, AcquisitionError if the node's, JournalError if the
        journal cannot be read.
        """
        with self._lock:
            names = [name for name in self._journal.names() if not name.startswith(_NO_JOBS)]
            if len(names) > MOST_OF_NODE:
                raise AcquisitionError(
                    f"this node's journal holds more than {MOST_OF_NODE} acquisitions: tell the "
                    "administrator, whom spank-qrmi status shows them"
                )
            if len(names) <= MOST_OF_USER:
                return
            new_names = [name for name in names if name not in self._known]
            self._known.update(new_names)
            self._count += sum(map(self._counts, self._journal.read(new_names)))
            if self._count > MOST_OF_USER:
                raise LimitError(
                    f"this node holds {MOST_OF_USER} acquisitions of yours at endpoints of your "
                    "own or whose release failed: wait until they are released, or ask the "
                    "administrator"
                )

    def _counts(self, found: Entry | JournalError) -> bool:
        if isinstance(found, JournalError) or found.uid != self._uid:
            return False
        return found.is_held and (found.has_users_endpoint or bool(found.failure))
