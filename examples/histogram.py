# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how often each result was measured."""

BAR_COLUMNS = 40


def print_counts(title: str, counts: dict[str, int]) -> None:
    """Print a title and one line with a bar for each result."""
    print(title)
    shots = sum(counts.values())
    for result, count in sorted(counts.items()):
        print(f"  {result}  {count:5}  {'#' * round(BAR_COLUMNS * count / shots)}")
