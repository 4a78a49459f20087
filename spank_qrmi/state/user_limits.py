# SPDX-License-Identifier: GPL-3.0-or-later
"""How much one user may hold on the node at once, and acquire within a minute.

What is held stands in the journal. When a user has acquired stands in a small file of each, root's
alone, whose lock also lets a user's jobs in one after the other: what one has counted is in the
journal before the next one counts.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, LimitError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.state import locked_files
from spank_qrmi.state.journal import Entry, Journal, utc_text
from spank_qrmi.state.owner import is_elsewhere
from spank_qrmi.trust.files import StrPath, open_trusted_folder

FOLDER_NAME = "users"

_MINUTE_SECONDS = 60
_LATEST_SECONDS = 10**12
_FILE_LIMIT_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class UserLimits:
    """The limits below one state directory; None is no limit."""

    state_directory: StrPath = ""
    most_held: int | None = None
    acquisitions_per_minute: int | None = None

    @contextmanager
    def admit(
        self, uid: int, journal: Journal, deadline: Deadline, *, is_held: bool
    ) -> Iterator[None]:
        """Let a user acquire once more; what is held for it (`is_held`) is to be begun meanwhile.

        Raises LimitError that says when to try again, AcquisitionError if nobody can tell.
        """
        with ExitStack() as opened:
            if self.most_held is not None or self.acquisitions_per_minute is not None:
                try:
                    descriptor = self._take_turn(uid, deadline, opened)
                    if is_held:
                        self._check_held(uid, journal)
                    self._count_acquisition(descriptor)
                except OSError as error:
                    raise AcquisitionError(
                        f"what users have acquired cannot be counted in {self.state_directory}: "
                        f"{error.strerror}"
                    ) from error
            yield

    def _take_turn(self, uid: int, deadline: Deadline, opened: ExitStack) -> int:
        """Return the descriptor of the user's file, once it is locked."""
        folder = opened.enter_context(
            open_trusted_folder(self.state_directory, FOLDER_NAME, is_made=True)
        )
        # Nodes may share the folder, but neither limits nor clocks.
        name = f"{uid}-{os.uname().nodename}"
        while True:
            descriptor = locked_files.open_file(folder, name, os.O_RDWR | os.O_CREAT)
            if locked_files.lock_in_place(descriptor, folder, name):
                opened.callback(os.close, descriptor)
                return descriptor
            os.close(descriptor)
            if not deadline.wait(_PAUSE_SECONDS):
                raise LimitError("too many jobs of yours began at once here: try again now")

    def _check_held(self, uid: int, journal: Journal) -> None:
        """Raise LimitError if the user holds as much as is allowed."""
        now = time.time()
        # The service has ended by itself what could not be released until then.
        ends = [
            float("inf") if entry.ends_at is None else entry.ends_at
            for entry in journal.entries()
            if isinstance(entry, Entry) and entry.uid == uid and not entry.is_told
            if entry.is_held
            if entry.owner is None or not is_elsewhere(entry.owner)
        ]
        ends = sorted(end for end in ends if end > now)
        if self.most_held is not None and len(ends) >= self.most_held:
            end = ends[-self.most_held]
            latest = "" if end == float("inf") else f", at the latest at {utc_text(int(end))}"
            raise LimitError(
                f"you hold as many sessions on this node as a user may ({self.most_held}): try "
                f"again when one of your jobs has ended{latest}"
            )

    def _count_acquisition(self, descriptor: int) -> None:
        """Note the acquisition; raise LimitError if there were enough within a minute."""
        most = self.acquisitions_per_minute
        if most is None:
            return
        # Of a clock that nobody sets.
        now = int(time.clock_gettime(time.CLOCK_BOOTTIME))
        words = os.pread(descriptor, _FILE_LIMIT_BYTES, 0).decode("ascii", "replace").split()
        numbers = (parse_number(word, _LATEST_SECONDS) for word in words)
        times = sorted(each for each in numbers if each is not None)
        times = [each for each in times if now - _MINUTE_SECONDS < each <= now]
        if len(times) >= most:
            raise LimitError(
                f"you have acquired as many QPUs on this node within a minute as a user may "
                f"({most}): try again in {times[-most] + _MINUTE_SECONDS - now} s"
            )
        content = "".join(f"{each}\n" for each in [*times, now]).encode()
        os.ftruncate(descriptor, os.pwrite(descriptor, content, 0))


NO_LIMITS = UserLimits()
