# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service says of a QPU: whether jobs can run there now, why not, and how busy it is."""

from dataclasses import dataclass
from enum import Enum


class QpuState(str, Enum):
    """Whether a QPU takes jobs now.

    BUSY is one that works but is another's, or full; PAUSED one that will be back, as after
    maintenance; UNKNOWN one of which the service says nothing.
    """

    ONLINE = "online"
    BUSY = "busy"
    PAUSED = "paused"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


_PAUSED_WORDS = frozenset({"paused", "maintenance"})


def state_of_word(word: str) -> QpuState:
    """Return the state that a service's word means, where it is not its word for online."""
    if not word:
        return QpuState.UNKNOWN
    return QpuState.PAUSED if word.lower() in _PAUSED_WORDS else QpuState.OFFLINE


@dataclass(frozen=True)
class QpuStatus:
    """What is told of one QPU; every text can be shown as it is.

    `reason` says why it is in its state. What a service does not tell is None, or empty: how many
    jobs wait, how many of its slots (or lanes) are free, and the times that it names, in its own
    words. `facts_at` is when it last looked itself.
    """

    state: QpuState
    reason: str = ""
    waiting_jobs: int | None = None
    free_slots: int | None = None
    total_slots: int | None = None
    calibrated_at: str = ""
    available_at: str = ""
    facts_at: str = ""

    @property
    def is_online(self) -> bool:
        """Whether jobs can run there now."""
        return self.state is QpuState.ONLINE

    @property
    def facts_text(self) -> str:
        """What is told beside the reason, in one line; empty for nothing."""
        slots = ""
        if self.free_slots is not None:
            slots = f"{self.free_slots}" + (f" of {self.total_slots}" if self.total_slots else "")
        facts = {
            "available again at": self.available_at,
            "waiting jobs": str(self.waiting_jobs or ""),
            "free slots": slots,
            "calibrated at": self.calibrated_at,
            "as of": self.facts_at,
        }
        return ", ".join(f"{name} {text}" for name, text in facts.items() if text)

    @property
    def text(self) -> str:
        """The reason and all facts, in one line; empty for nothing."""
        facts = self.facts_text
        return f"{self.reason} ({facts})" if self.reason and facts else self.reason or facts

    @property
    def problem(self) -> str:
        """Why no job can run there now, in one line; empty if jobs can."""
        if self.is_online:
            return ""
        word = "busy" if self.state is QpuState.BUSY else "not accessible"
        return f"{word}: {self.text}"
