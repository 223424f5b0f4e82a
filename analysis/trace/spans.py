"""What each thread did from one moment to the next, and what it waited for: spans that leave no gap.

A line of a timeline is cut where the thread stops, is woken, goes on, and where an operation begins or ends.  Each span
that is off the CPU names what ends it: the thread that woke it (a node from 0), or one of NODES, which are no threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.operations import INTERRUPT, Doing
from analysis.trace.stops import Stops, stops
from analysis.trace.timeline import GONE, NEW, ON, Timeline
from analysis.trace.wakers import CLASSES, irqs_of_wakes
from analysis.trace.window import Codes, Ints, Mask

RUNNING, BLOCKED, QUEUED, ABSENT = range(4)
"""On the CPU (in an interrupt or halted too); until a wake-up; until there is a CPU; not made yet, or gone."""
NODES: Final = (*CLASSES, "interrupt", "a free CPU", "not seen", "the window's end")
"""What threads wait for that is no thread.  Not seen: it went on, and no wake-up had been seen."""
INTERRUPTS: Final = len(CLASSES) + 1
"""So many of NODES, the first ones, are interrupts; of the last of these the class is not known."""
FREE_CPU, NOT_SEEN, WINDOW = (NODES.index(name) for name in ("a free CPU", "not seen", "the window's end"))


@dataclass(frozen=True)
class Spans:
    """Spans by thread, then by time.  ``thread`` is a position in the timeline's threads.

    ``node`` is what ends the span: a thread's position, or a position in NODES less their number (below 0); of RUNNING
    it is the thread itself, of ABSENT the thread that makes it (-1, which is the window's end, if none does).
    ``doing`` is what the thread did, ``by`` what woke it, codes of ``Doing``; 0 where there is nothing to say.
    """

    line: Timeline
    thread: Ints
    begin: Ints
    end: Ints
    state: npt.NDArray[np.int8]
    node: Ints
    doing: Codes
    by: Codes

    def __len__(self) -> int:
        return len(self.thread)

    @cached_property
    def ns(self) -> Ints:
        """How long each is."""
        return self.end - self.begin

    @cached_property
    def waiting(self) -> Mask:
        """Those off the CPU."""
        found: Mask = (self.state == BLOCKED) | (self.state == QUEUED)
        return found

    @property
    def width(self) -> int:
        """What ``at`` puts between threads: more than the window is long."""
        return self.line.window.end - self.line.window.begin + 1

    def at(self, threads: Ints, times: Ints) -> Ints:
        """One number for a thread and a time, ascending by both."""
        found: Ints = threads * self.width + (times - self.line.window.begin)
        return found

    @cached_property
    def begins(self) -> Ints:
        """``at`` of each span's begin: ascending."""
        return self.at(self.thread, self.begin)


def spans(line: Timeline, doing: Doing) -> Spans:
    """The spans of all threads of a timeline; those of a thread add up to the window."""
    found = stops(line)
    cuts = [line.firsts[:-1], found.out, found.woken[found.woken >= 0], found.into[found.into >= 0],
            doing.calls.begin[doing.calls.begin >= 0], doing.calls.end[doing.calls.end >= 0]]  # fmt: skip
    start = np.unique(np.concatenate(cuts)).astype(np.int64)
    thread = line.thread[start].astype(np.int64)
    begin = line.time[start]
    last = line.time[line.firsts[thread + 1] - 1]
    end = np.append(begin[1:], 0)
    alone = np.append(thread[1:] != thread[:-1], True)
    end[alone] = last[alone]

    # An entry off the CPU belongs to the stop before it.
    stop = np.searchsorted(found.out, start, side="right") - 1
    off = (line.state[start] != ON) & (line.state[start] != GONE) & (stop >= 0)
    stop = np.maximum(stop, 0)
    state = np.where(line.state[start] == GONE, ABSENT, RUNNING).astype(np.int8)
    node, by = thread.copy(), np.zeros(len(start), dtype=np.int32)
    asked = doing.at(start, behind=True)
    if len(found):
        woken = found.woken[stop]
        queued = off & (found.of_reason("preempted", "yielded")[stop] | ((woken >= 0) & (start >= woken)))
        state[off], state[queued] = BLOCKED, QUEUED
        ended, wakers = _ended(line, doing, found)
        blocked = off & ~queued
        node[blocked], by[blocked] = ended[stop[blocked]], wakers[stop[blocked]]
        node[queued] = FREE_CPU - len(NODES)
        asked[off] = doing.at(found.out)[stop[off]]
    asked[state == ABSENT] = 0
    node[state == ABSENT] = _makers(line)[thread[state == ABSENT]]
    return Spans(line, thread, begin, end, state, node, asked, by)


def _ended(line: Timeline, doing: Doing, found: Stops) -> tuple[Ints, Codes]:
    """What ended the blocked part of each stop, as a node, and what the waker was doing."""
    node = np.where(found.into >= 0, NOT_SEEN, WINDOW).astype(np.int64) - len(NODES)
    by = np.zeros(len(found), dtype=np.int32)
    woken = np.flatnonzero(found.woken >= 0)
    event = line.row[found.woken[woken]]
    kind, name = (column[event] for column in irqs_of_wakes(line))
    waker = doing.wakers[event]
    in_irq = waker == INTERRUPT
    thread = np.searchsorted(line.threads, line.window.thread[event])
    node[woken] = np.where(in_irq, np.where(kind >= 0, kind, INTERRUPTS - 1) - len(NODES), thread)
    # An interrupt has a name that says more where its class is not known.
    by[woken] = np.where(in_irq, np.where(kind >= 0, 0, name), waker)
    return node, by


def _makers(line: Timeline) -> npt.NDArray[Any]:
    """Who made each thread in the window, as a node; the window's end where nobody did."""
    makers = np.full(len(line.threads), -1, dtype=np.int64)
    new = np.flatnonzero(line.kind == NEW)
    makers[line.thread[new]] = np.searchsorted(line.threads, line.window.thread[line.row[new]])
    return makers
