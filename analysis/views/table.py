"""The table of all phases on all guests, as lines of text of at most 80 terminal cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from analysis.comparison import Comparison
from analysis.overview import Entry, Row
from analysis.statistics import Change
from analysis.text import number, ratio

ABREAST: Final = 3
"""Guests beside the base that fit into a line; more are in a table of their own below."""
_PHASE: Final = 17
_CELL: Final = 18  # 1 + 6 for the figure, 1 + 5 for the ratio, 1 + 4 for the spread


def lines(comparison: Comparison, fit: Callable[[str, int], str]) -> Iterator[tuple[str, bool]]:
    """The lines, and whether each is a head or a total; ``fit`` makes text harmless and as wide as said."""
    specs = [guest.spec for guest in comparison.guests]
    rows = [*comparison.overview.rows, *([comparison.overview.whole] if comparison.overview.whole else [])]
    for first in range(1, len(specs), ABREAST):
        shown = [0, *range(first, min(first + ABREAST, len(specs)))]
        width = _PHASE + _CELL * (ABREAST + 1 - len(shown))
        width = min(width, max(_PHASE, max(len(row.name) for row in rows)))
        heads = [fit(specs[guest], _CELL - 1).rstrip() for guest in shown]
        wider = max(9, len(heads[0]) + 1) if len(shown) < ABREAST + 1 else 9
        head = fit("instructions/op", width) + f"{fit(heads[0], wider - 1).rstrip():>{wider}}"
        yield head + "".join(f" {text:>{_CELL - 1}}" for text in heads[1:]), True
        for row in rows:
            name = fit(row.name, width)
            yield name + _figures(row, shown, wider, "instructions"), row is comparison.overview.whole
            if row.bytes_matter:
                yield fit("  string bytes", width) + _figures(row, shown, wider, "rep_bytes"), False


def _figures(row: Row, shown: Sequence[int], width: int, cost: str) -> str:
    changes = [row.entries[guest].instructions if cost == "instructions" else row.entries[guest].string_bytes
               for guest in shown]  # fmt: skip
    first = f"{'-' if changes[0] is None else number(changes[0].other.mean):>{width}}"
    return first + "".join(_cell(change, changes[0] is not None, row.entries[guest],
                                 row.entries[guest].apart if cost == "instructions" else 0.0)
                           for change, guest in zip(changes[1:], shown[1:], strict=True))  # fmt: skip


def _cell(change: Change | None, based: bool, entry: Entry, apart: float) -> str:
    if change is not None and entry.in_libc:
        return f" {number(change.other.mean + apart):>6} {'libc':>5}     "
    if change is None:
        return f" {'-':>6}{'':{_CELL - 7}}"
    figure = f" {number(change.other.mean):>6}"
    return figure + (f" {ratio(change.ratio):>5} {half_range(change):<4}" if based else " " * (_CELL - 7))


def half_range(change: Change) -> str:
    """Half the range of the ratio over the seeds, in percent of it, in 4 characters; empty with one seed of a side."""
    if change.said == "spread unknown" or not change.base.low or not change.other.mean:
        return ""
    low, high = change.other.low / change.base.high, change.other.high / change.base.low
    half = 100 * (high - low) / (high + low)
    return "±>99" if half >= 99.5 else f"±{half:.0f}" if half >= 9.95 or half < 0.05 else f"±{half:.1f}"
