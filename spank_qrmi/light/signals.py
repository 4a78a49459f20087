# SPDX-License-Identifier: GPL-3.0-or-later
"""`signal`, as far as a worker needs it: the C module below.

What the standard library puts on top makes enumerations of its numbers, which takes 0.4 ms.
"""

from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
