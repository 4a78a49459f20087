# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker reads what a plugin asks."""

from dataclasses import astuple

from fuzz.targets.claims import result_or_refusal
from spank_qrmi.errors import ProtocolError
from spank_qrmi.protocol import Request
from tests.unit.conversation import encode_request, in_pieces, read_request


def check_request(data: bytes) -> None:
    """Read a message; one that is taken must come back the same from what it is written as."""
    request = result_or_refusal(lambda: read_request(in_pieces(data, 1 << 20)), ProtocolError)
    # What holds a NUL cannot be written.
    if isinstance(request, Request) and "\\x00" not in repr(astuple(request)):
        assert read_request(in_pieces(encode_request(request), 7)) == request
