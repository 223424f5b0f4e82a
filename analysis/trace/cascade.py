"""Whose time a wait is in the end: A waits for B while B waits for C, and it is C that all wait for.

wPerf's cascaded redistribution (F. Zhou and others, "wPerf: Generic Off-CPU Analysis to Identify Bottleneck Waiting
Events", OSDI 2018), moment by moment: a thread waits for the one that will wake it, which runs or waits itself.
Whoever wakes must have run, so the wake-ups of a chain come earlier the further it goes: it never comes back to where
it was, and ends with a thread that runs, or with what is no thread.

Each wait is divided into pieces that add up to it exactly.  Over all waits nothing adds up to the time that passed:
docs/waits.md says what goes wrong where that is demanded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.spans import ABSENT, RUNNING, Spans
from analysis.trace.window import Ints

HOPS: Final = 64
"""Links of a chain that are followed."""
MOST: Final = 4_000_000
"""Pieces of a window that are made; waits that come after those stay with what they wait for."""
_TOGETHER: Final = 50_000


@dataclass(frozen=True)
class Pieces:
    """Parts of waits.  ``wait`` is the span that waits, ``via`` the last wait on the way, ``ran`` the span of the
    thread that ran (-1: the chain ends with what ``via`` waits for, which is no thread, or was cut).
    """

    wait: Ints
    via: Ints
    ran: Ints
    begin: Ints
    end: Ints
    cut: int  # ns that belong further on: HOPS or MOST was reached

    @property
    def ns(self) -> Ints:
        """How long each is."""
        return self.end - self.begin


def cascade(spans: Spans, waits: Ints) -> Pieces:
    """The pieces of some waits, given as positions of spans."""
    done: list[tuple[npt.NDArray[Any], ...]] = []
    cut, made = 0, 0
    for first in range(0, max(len(waits), 1), _TOGETHER):
        some = waits[first : first + _TOGETHER]
        parts, left = _followed(spans, some, MOST - made)
        made += sum(len(part[0]) for part in parts)
        cut += left
        done += parts
    wait, via, ran, begin, end = (np.concatenate([part[column] for part in done]) for column in range(5))
    return Pieces(wait, via, ran, begin, end, cut)


def _followed(spans: Spans, waits: Ints, room: int) -> tuple[list[tuple[npt.NDArray[Any], ...]], int]:
    """Follow some waits hop by hop, as long as there is room; what is left over, in ns."""
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    open_ = (waits, waits, spans.node[waits], spans.begin[waits], spans.end[waits])
    for hop in range(HOPS + 1):
        wait, via, node, begin, end = open_
        final = node < 0
        parts.append((wait[final], via[final], np.full(int(final.sum()), -1), begin[final], end[final]))
        wait, via, node, begin, end = (column[~final] for column in open_)
        room -= len(parts[-1][0])
        if not len(wait):
            return parts, 0
        if hop == HOPS or len(wait) > room:
            parts.append((wait, via, np.full(len(wait), -1), begin, end))
            return parts, int((end - begin).sum())
        # What the thread that is waited for did meanwhile.
        low = np.searchsorted(spans.begins, spans.at(node, begin), side="right") - 1
        high = np.searchsorted(spans.begins, spans.at(node, end), side="left")
        count = np.maximum(high - low, 0)  # a wait of no time, where several spans begin
        piece = np.repeat(np.arange(len(wait)), count)
        span = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        begin, end = np.maximum(begin[piece], spans.begin[span]), np.minimum(end[piece], spans.end[span])
        kept = end > begin
        piece, span, begin, end = piece[kept], span[kept], begin[kept], end[kept]
        wait, via = wait[piece], via[piece]
        runs = spans.state[span] == RUNNING
        parts.append((wait[runs], via[runs], span[runs], begin[runs], end[runs]))
        room -= int(runs.sum())
        # Who waits for a thread that is not made yet waits for its maker, who is waited for where the thread would be.
        via = np.where(spans.state[span] == ABSENT, via, span)
        open_ = tuple(column[~runs] for column in (wait, via, spans.node[span], begin, end))
    raise AssertionError("the last hop returns")


def covered(group: Ints, begin: Ints, end: Ints, groups: int) -> Ints:
    """Ns in which at least one of the intervals of each group is: times counted once."""
    if not len(group):
        return np.zeros(groups, dtype=np.int64)
    order = np.lexsort((begin, group))
    group, begin, end = group[order], begin[order], end[order]
    # Groups one behind the other on one line, so that the largest end so far is that of the own group.
    lowest = int(begin.min())
    shift = group * (int(end.max()) - lowest + 1)
    reached = np.maximum.accumulate(end - lowest + shift)
    before = np.append(0, reached[:-1])
    begin = begin - lowest + shift
    found: Ints = np.rint(np.bincount(group, weights=np.maximum(end - lowest + shift - np.maximum(begin, before), 0),
                                      minlength=groups)).astype(np.int64)  # fmt: skip
    return found
