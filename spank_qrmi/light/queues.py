# SPDX-License-Identifier: GPL-3.0-or-later
"""`queue`, as far as a worker needs it: the C module below.

The other kinds of queue, and what they need, take half a millisecond to import.
"""

from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    from queue import Empty, SimpleQueue
else:
    from _queue import Empty, SimpleQueue

__all__ = ["Empty", "SimpleQueue"]
