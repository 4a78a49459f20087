# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule that makes the name of a Slurm licence of a QPU's name."""

import re

# slurm.conf gives `,` `:` `@` `;` `=` `|` and blanks a meaning in lists of licences.
_OTHERS = re.compile(r"[^A-Za-z0-9._-]")


def license_name_of(qpu_name: str) -> str:
    """Return the name of the licence that stands for a QPU: `qpu_` and its name.

    Each character but ASCII letters, digits, `.`, `_` and `-` becomes `_`.
    """
    return f"qpu_{_OTHERS.sub('_', qpu_name)}"
