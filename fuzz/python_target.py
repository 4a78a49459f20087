# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one Python target under Atheris: `python -m fuzz.python_target TARGET [OPTION]...`."""

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["spank_qrmi"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Run until an input fails or an option ends it."""
    # A warning is a finding, as in the tests.
    warnings.simplefilter("error")
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
