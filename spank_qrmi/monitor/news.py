# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling a log what is wrong once, not in every round."""

import contextlib
import logging
from collections.abc import Iterator


class News:
    """Lines of rounds: one is logged again only after a round that had none such."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._former: frozenset[str] = frozenset()
        self._now: set[str] = set()

    @contextlib.contextmanager
    def of_one_round(self) -> Iterator[None]:
        """Take what is told meanwhile for one round's."""
        self._now = set()
        yield
        self._former = frozenset(self._now)

    def tell(self, level: int, line: str) -> None:
        """Log a line unless the former round, or this one, has told it."""
        if line not in self._former and line not in self._now:
            self._log.log(level, "%s", line)
        self._now.add(line)
