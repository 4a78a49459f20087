# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the counts in a result that qrun has written; needs no package."""

import json
import sys
from collections import Counter
from pathlib import Path

from histogram import print_counts

result = json.loads(Path(sys.argv[1]).read_text())["results"][0]
for register, bits in result["data"].items():
    states = (f"{int(sample, 16):0{bits['num_bits']}b}" for sample in bits["samples"])
    print_counts(f"register {register}", dict(Counter(states)))
