# SPDX-License-Identifier: GPL-3.0-or-later
"""How IBM's services write moments."""

from datetime import datetime, timezone


def timestamp(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC with milliseconds and a Z."""
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
