"""Operations: their begins and ends paired, and what a thread was doing at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.timeline import WOKEN, Timeline
from analysis.trace.window import KIND, NAMES, Codes, Ints, Mask
from probes.events import ROLES

OPERATIONS: Final = (("op-enter", "op-exit"), ("syscall-enter", "syscall-exit"), ("fault-enter", "fault-exit"))
"""From the outside in: what the app asks for, the kernel's own calls, exceptions."""
NEEDED: Final = tuple(kind for pair in OPERATIONS for kind in pair)
BACKGROUND, USER, INTERRUPT = (NAMES.index(name) for name in ("background", "user", "interrupt"))
DEFERRED: Final = 1 << 20
_MAIN, _APP, _KERNEL = (ROLES.index(role) for role in ("main", "app", "kernel"))


@dataclass(frozen=True)
class Calls:
    """Entries of a timeline where something begins and ends; -1 where that is outside the window."""

    begin: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.begin)

    def where(self, mask: Mask) -> Calls:
        """Some of them."""
        return Calls(self.begin[mask], self.end[mask])

    @cached_property
    def whole(self) -> Mask:
        """Those that begin and end in the window."""
        return (self.begin >= 0) & (self.end >= 0)

    @cached_property
    def seen(self) -> Ints:
        """An entry of each that is in the window: its begin if it can be had."""
        return np.where(self.begin >= 0, self.begin, self.end)

    def around(self, line: Timeline, entries: Ints, *, behind: bool = False) -> Ints:
        """The call that each entry is in (its own begin and end too), or -1.  Calls of a thread must not overlap.

        ``behind``: the call that the thread is in behind each entry, so that one which ends there is over.
        """
        if not len(self):
            return np.full(len(entries), -1, dtype=np.int64)
        starts = np.where(self.begin >= 0, self.begin, line.firsts[line.thread[self.end]])
        ends = np.where(self.end >= 0, self.end, line.firsts[line.thread[self.begin] + 1] - 1)
        call = np.searchsorted(starts, entries, side="right") - 1
        return np.where((call >= 0) & (ends[call] >= entries + behind), call, -1)


def outermost(line: Timeline, enter: str, leave: str) -> Calls:
    """What begins with ``enter`` and ends with ``leave``, without what is inside another such; in order of entries."""
    depth, edges = line.depth([enter], [leave])
    at = np.flatnonzero(edges)
    opens = line.kind[at] == KIND[enter]
    outer = depth[at] + ~opens == 1
    at, opens = at[outer], opens[outer]
    # By turns in each thread: a begin, its end; a line may begin with an end and end with a begin.
    pair = np.zeros(len(at), dtype=bool)
    pair[:-1] = opens[:-1] & ~opens[1:] & (line.thread[at[:-1]] == line.thread[at[1:]])
    alone = ~opens
    alone[1:] &= ~pair[:-1]
    begin = np.concatenate([at[opens], np.full(int(alone.sum()), -1)])
    end = np.concatenate([np.where(pair, np.append(at[1:], -1)[: len(at)], -1)[opens], at[alone]])
    order = np.argsort(np.where(begin >= 0, begin, end), kind="stable")
    return Calls(begin[order], end[order])


def operations(line: Timeline) -> Calls:
    """What was asked for: operations, and system calls and exceptions that are in none."""
    found = Calls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    for enter, leave in OPERATIONS:
        inner = outermost(line, enter, leave)
        bare = inner.where(found.around(line, inner.seen) < 0)
        begin, end = np.concatenate([found.begin, bare.begin]), np.concatenate([found.end, bare.end])
        order = np.argsort(np.where(begin >= 0, begin, end), kind="stable")
        found = Calls(begin[order], end[order])
    return found


@dataclass(frozen=True)
class Doing:
    """What the threads of a timeline did: operations are codes of the window's names, deferred ones DEFERRED more."""

    line: Timeline
    calls: Calls
    roles: npt.NDArray[Any]  # of each thread of the timeline, a position in ROLES; -1 if not known

    @cached_property
    def of_calls(self) -> Codes:
        """The operation of each call."""
        found: Codes = self.line.window.name[self.line.row[self.calls.seen]]
        return found

    def at(self, entries: Ints, *, behind: bool = False) -> Codes:
        """What the thread was doing at each of some entries, or behind it, interrupts aside, as the ledger names it."""
        found = self._asked(entries, behind=behind)
        later = np.flatnonzero((found == BACKGROUND) & (self.roles[self.line.thread[entries]] == _KERNEL))
        woken = np.flatnonzero(self.line.kind == WOKEN)
        if not len(later) or not len(woken):
            return found
        last = np.searchsorted(woken, entries[later], side="right") - 1
        known = (last >= 0) & (woken[last] >= self.line.firsts[self.line.thread[entries[later]]])
        waker = self.wakers[self.line.row[woken[last[known]]]]
        # One hop: what is woken from the background, or by deferred work, is background.
        found[later[known]] = np.where(waker == BACKGROUND, BACKGROUND, DEFERRED + waker)
        return found

    @cached_property
    def wakers(self) -> Codes:
        """For each event that is a wake-up what the waker was doing, which may be INTERRUPT."""
        own = np.flatnonzero(self.line.kind == KIND["wake"])
        doing = self._asked(own)
        doing[self.line.in_irq[own]] = INTERRUPT
        found = np.zeros(len(self.line.window), dtype=np.int32)
        found[self.line.row[own]] = doing
        return found

    def _asked(self, entries: Ints, *, behind: bool = False) -> Codes:
        """The operation at each entry; USER or BACKGROUND outside any, and nothing where the role is not known."""
        role = self.roles[self.line.thread[entries]]
        found = np.where((role == _MAIN) | (role == _APP), USER, np.where(role >= 0, BACKGROUND, 0)).astype(np.int32)
        call = self.calls.around(self.line, entries, behind=behind)
        found[call >= 0] = self.of_calls[call[call >= 0]]
        return found


def text(code: int, names: Sequence[str]) -> str:
    """What a code of ``Doing`` stands for."""
    return f"deferred:{names[code - DEFERRED]}" if code >= DEFERRED else names[code]
