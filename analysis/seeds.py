"""What the seeds say, in words: intervals, too few seeds, runs that gather about several values."""

from __future__ import annotations

from typing import Final

from analysis.comparison import Comparison, Pair
from analysis.statistics import FEW_SEEDS, Change
from analysis.text import listed, number

TIGHT: Final = 0.01
"""In sentences an interval is said if it is wider than this share of the difference; tables and JSON have all."""


def interval(change: Change) -> str:
    """Where the difference is at 95 %: -2,310 to -1,790; "" where there is no interval."""
    if change.interval is None:
        return ""
    low, high = (number(end, sign=True) for end in change.interval)
    return low if low == high else f"{low} to {high}"


def wide(change: Change) -> str:
    """The same where it says more than the difference itself does."""
    ends = change.interval
    if change.verdict != "differs" or ends is None or ends[1] - ends[0] <= TIGHT * abs(change.delta):
        return ""
    return f"95 % interval {interval(change)}"


def few(pair: Pair) -> str:
    """A sentence where no difference of two guests is a finding; "" elsewhere."""
    sides = [guest for guest in (pair.base, pair.other) if guest.few]
    if not sides:
        return ""
    told = []
    for guest in sides:
        repeated = f", {guest.runs} of them different" if 1 < guest.runs < len(guest.seeds) else ""
        told.append(f"{guest.spec} {len(guest.seeds)}{repeated}")
    return (f"Few seeds ({listed(told)}): no difference here is a finding. That takes {FEW_SEEDS} different runs of "
            f"each guest, or {FEW_SEEDS} seeds that change nothing.")  # fmt: skip


def modes(comparison: Comparison) -> list[str]:
    """Phase, guest and the values that its runs gather about, where those are several; instructions per op."""
    told = []
    for row in comparison.overview.rows:
        for guest, entry in zip(comparison.guests, row.entries, strict=True):
            found = entry.instructions.other.modes if entry.instructions and not entry.in_libc else ()
            if found:
                values = listed([f"{number(mode.mean)} ({mode.runs})" for mode in found])
                told.append(f"{row.name} on {guest.spec} {values}")
    return told


MODES: Final = "More than one mode over the seeds (runs in each)"
"""What stands before ``modes``."""
