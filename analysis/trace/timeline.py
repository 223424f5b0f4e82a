"""What each thread did when: on a CPU, in an interrupt, idle, or off it.

Every event is an entry in the line of the thread that it happened to; a switch is one in the line of the thread that
goes on too (``IN``), a wake-up in that of the thread that is woken (``WOKEN``), a new thread's first is ``NEW``.  A
line begins and ends with the window (``BEGIN``, ``END``).  The time between two entries of a line is spent in one
state, so that what a thread spent between any two of them is a difference of two sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.window import HOW, KIND, Codes, Ints, Mask, Window, among
from probes.events import EVENT_KINDS

IN, WOKEN, NEW, BEGIN, END = range(len(EVENT_KINDS), len(EVENT_KINDS) + 5)
_KINDS: Final = len(EVENT_KINDS) + 5
OFF, ON, GONE = 0, 1, 2
NEEDED: Final = ("switch", "wake", "irq-enter", "irq-exit", "idle-begin", "idle-end", "thread-new", "thread-exit")
"""The kinds of events that a window must have for its timeline."""
_MOST: Final = 1 << 22


@dataclass(frozen=True)
class Timeline:
    """Entries, sorted by thread and then by order; ``thread`` is a position in ``threads``.

    ``row`` is the entry's event in ``window`` (-1 for BEGIN and END), ``state`` is OFF, ON or GONE behind the entry.
    """

    window: Window
    threads: Codes  # numbers of threads, ascending
    thread: npt.NDArray[Any]
    row: npt.NDArray[Any]
    kind: npt.NDArray[np.int8]
    time: Ints
    state: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.row)

    def of_kind(self, *kinds: str | int) -> Mask:
        """The entries of some kinds: of EVENT_KINDS, or IN, WOKEN, NEW, BEGIN, END."""
        return among(self.kind, [KIND[kind] if isinstance(kind, str) else kind for kind in kinds], _KINDS)

    @cached_property
    def firsts(self) -> Ints:
        """The entry where each thread's line begins, and at last the number of entries."""
        return np.append(np.flatnonzero(self.kind == BEGIN), len(self))

    @cached_property
    def in_irq(self) -> Mask:
        """Whether the thread is in an interrupt behind each entry."""
        return self.depth(["irq-enter"], ["irq-exit"])[0] > 0

    @cached_property
    def idle(self) -> Ints:
        """A clock, as the next three: idle ns up to each entry, its vCPU halted; only differences in a line count."""
        return self._clock(self._halted)

    @cached_property
    def irq(self) -> Ints:
        """Ns that each thread executed interrupts, up to each entry."""
        return self._clock((self.state == ON) & self.in_irq & ~self._halted)

    @cached_property
    def on(self) -> Ints:
        """Ns that each thread executed, interrupts left out, up to each entry."""
        return self._clock((self.state == ON) & ~self.in_irq & ~self._halted)

    @cached_property
    def off(self) -> Ints:
        """Ns that each thread was off every CPU up to each entry."""
        return self._clock(self.state == OFF)

    @cached_property
    def _halted(self) -> Mask:
        halted: Mask = (self.depth(["idle-begin"], ["idle-end"])[0] > 0) & (self.state == ON)
        return halted

    def total(self, clock: Ints) -> Ints:
        """What each thread has of a clock in the whole window."""
        return clock[self.firsts[1:] - 1] - clock[self.firsts[:-1]]

    def _clock(self, mask: Mask) -> Ints:
        passed = np.zeros(len(self), dtype=np.int64)
        np.subtract(self.time[1:], self.time[:-1], out=passed[1:])
        passed[1:][~mask[:-1]] = 0
        return np.cumsum(passed, out=passed)

    def depth(self, enters: Sequence[str], exits: Sequence[str]) -> tuple[Codes, Mask]:
        """How many of something are open in the thread behind each entry, and which entries open or close one.

        What is closed without having been opened was open when the window began.
        """
        opens, closes = self.of_kind(*enters), self.of_kind(*exits)
        step = opens.astype(np.int32)
        step -= closes
        level = np.cumsum(step, dtype=np.int32)
        starts = self.firsts[:-1]
        if not len(starts):
            return level, opens | closes
        before = np.where(starts > 0, level[starts - 1], 0)
        lowest = np.minimum(np.minimum.reduceat(level, starts) - before, 0)
        level -= np.repeat((before + lowest).astype(np.int32), np.diff(self.firsts))
        return level, opens | closes


def timeline(window: Window) -> Timeline:
    """The lines of all threads that a window has events of; it must have the kinds NEEDED."""
    told = window.of_kind("switch", "wake", "thread-new")
    told &= (window.value >= 0) & (window.value < 1 << 31)
    others = window.value[told].astype(np.int32)
    threads = _distinct(window.thread, others, np.array(list(window.running.values()), dtype=np.int32))
    # Narrow numbers: ten million events are sorted, and what is 16 bits wide is sorted several times as fast.
    size = np.int16 if len(threads) < 1 << 15 else np.int32
    wide = np.int32 if len(window) < 1 << 30 else np.int64

    row = np.repeat(np.arange(len(window), dtype=wide), told.astype(np.int8) + 1)
    second = np.zeros(len(row), dtype=bool)
    np.equal(row[1:], row[:-1], out=second[1:])
    owner = _positions(threads, window.thread).astype(size)[row]
    owner[second] = _positions(threads, others)
    kind = window.kind[row]
    pseudo = np.zeros(len(EVENT_KINDS), dtype=np.int8)
    for event, entry in (("switch", IN), ("wake", WOKEN), ("thread-new", NEW)):
        pseudo[KIND[event]] = entry
    kind[second] = pseudo[kind[second]]

    everyone = np.arange(len(threads), dtype=size)
    owner = np.concatenate([everyone, owner, everyone])
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=len(threads))
    edge = np.full(len(threads), -1, dtype=wide)
    row = np.concatenate([edge, row, edge])[order]
    kind = np.concatenate([edge.astype(np.int8), kind, edge.astype(np.int8)])[order]
    del order
    ends = np.cumsum(counts)
    kind[ends - counts], kind[ends - 1] = BEGIN, END
    time = window.time[row] if len(window) else np.zeros(len(row), dtype=np.int64)
    time[ends - counts], time[ends - 1] = window.begin, window.end
    thread = np.repeat(everyone, counts)
    return Timeline(window, threads, thread, row, kind, time, _states(window, threads, thread, row, kind))


def _states(window: Window, threads: Codes, thread: npt.NDArray[Any], row: npt.NDArray[Any], kind: npt.NDArray[np.int8]
            ) -> npt.NDArray[np.int8]:  # fmt: skip
    """OFF, ON or GONE behind each entry: what the last entry says that says anything."""
    said = np.full(len(kind), -1, dtype=np.int8)
    said[(kind == BEGIN) | (kind == NEW)] = OFF
    said[kind == IN] = ON
    out = np.flatnonzero(kind == KIND["switch"])
    said[out] = np.where(window.how[row[out]] == HOW["exited"], GONE, OFF)
    firsts = np.flatnonzero(kind == BEGIN)
    running = np.isin(threads, list(window.running.values()))
    said[firsts[running]] = ON
    # A thread that is made in the window is not there before; one that has exited runs no more once it has stopped.
    born = np.unique(thread[kind == NEW])
    said[firsts[born[~running[born]]]] = GONE
    exits = np.flatnonzero(kind == KIND["thread-exit"])
    if len(exits):
        after = np.zeros(len(kind) + 1, dtype=np.int32)
        after[exits] = 1
        ended = np.cumsum(after)[:-1] - np.cumsum(after)[firsts][thread] > 0
        said[out[ended[out]]] = GONE
    last = np.arange(len(kind), dtype=row.dtype)
    last[said < 0] = 0
    found: npt.NDArray[np.int8] = said[np.maximum.accumulate(last, out=last)]
    return found


def _distinct(*numbers: npt.NDArray[Any]) -> Codes:
    """All numbers that there are, ascending."""
    some = [one for one in numbers if len(one)]
    if not some or min(one.min() for one in some) < 0 or max(one.max() for one in some) >= _MOST:
        return np.unique(np.concatenate(numbers)).astype(np.int32)
    there = np.zeros(max(int(one.max()) for one in some) + 1, dtype=bool)
    for one in some:
        there[one] = True
    return np.flatnonzero(there).astype(np.int32)


def _positions(threads: Codes, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(threads) and threads[0] >= 0 and threads[-1] < _MOST:
        place = np.zeros(int(threads[-1]) + 1, dtype=np.int32)
        place[threads] = np.arange(len(threads))
        found: npt.NDArray[Any] = place[numbers]
        return found
    return np.searchsorted(threads, numbers)
