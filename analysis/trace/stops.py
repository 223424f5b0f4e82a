"""The times that threads did not run: why each stopped, who woke it, how long it then had to wait for a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from analysis.trace.timeline import BEGIN, GONE, IN, NEW, OFF, WOKEN, Timeline
from analysis.trace.window import HOW, KIND, Codes, Ints, Mask

REASONS: Final = ("", "blocked", "preempted", "yielded", "exited", "new", "before")
"""Why a thread does not run; the last two: it has only just been made; it stopped before the window."""


@dataclass(frozen=True)
class Stops:
    """Entries of a timeline: where a thread stops, is woken, and goes on; -1 where there is none in the window."""

    line: Timeline
    out: Ints
    woken: Ints
    into: Ints
    reason: Codes  # of REASONS; inferred from wake-ups where the recording does not say
    inferred: Mask

    def __len__(self) -> int:
        return len(self.out)

    def where(self, mask: Mask) -> Stops:
        """Some of them."""
        return Stops(self.line, self.out[mask], self.woken[mask], self.into[mask], self.reason[mask],
                     self.inferred[mask])  # fmt: skip

    @cached_property
    def thread(self) -> Ints:
        """The thread of each, a position in the timeline's."""
        return self.line.thread[self.out].astype(np.int64)

    @cached_property
    def ends(self) -> Ints:
        """When each ends: with the window, if the thread does not go on in it."""
        return np.where(self.into >= 0, self.line.time[self.into], self.line.window.end)

    @cached_property
    def off(self) -> Ints:
        """Ns off the CPU, in the window."""
        return np.where(self.reason == REASONS.index("exited"), 0, self.ends - self.line.time[self.out])

    @cached_property
    def queued(self) -> Ints:
        """Ns of ``off`` that the thread could have run: since it was woken, or all if it had not blocked."""
        runs = np.isin(self.reason, [REASONS.index("preempted"), REASONS.index("yielded")])
        since = np.where(self.woken >= 0, self.line.time[self.woken], self.ends)
        return np.where(runs, self.off, self.ends - since)

    def of_reason(self, *reasons: str) -> Mask:
        """Those of some reasons."""
        return np.isin(self.reason, [REASONS.index(reason) for reason in reasons])


def stops(line: Timeline) -> Stops:
    """All times that threads of a timeline were off the CPUs."""
    own = line.kind == KIND["switch"]
    off = line.state == OFF
    at = np.flatnonzero(own | (line.kind == NEW) | ((line.kind == BEGIN) & off))
    ins = np.append(np.flatnonzero(line.kind == IN), len(line))
    # A thread that was awake is woken to no effect.
    real = (line.kind == WOKEN) & off
    rows = line.row[real]
    real[real] = line.window.how[rows] != HOW["awake"]
    wakes = np.append(np.flatnonzero(real), len(line))
    limit = np.minimum(line.firsts[line.thread[at] + 1], np.append(at[1:], len(line)))
    into = ins[np.searchsorted(ins, at)]
    into = np.where(into < limit, into, -1)
    woken = wakes[np.searchsorted(wakes, at)]
    woken = np.where(woken < limit, woken, -1)
    said = np.array([REASONS.index(how) if how in REASONS else 0 for how in HOW], dtype=np.int32)
    reason = np.full(len(at), REASONS.index("before"), dtype=np.int32)
    reason[line.kind[at] == NEW] = REASONS.index("new")
    switched = line.kind[at] == KIND["switch"]
    reason[switched] = said[line.window.how[line.row[at[switched]]]]
    reason[switched & (line.state[at] == GONE)] = REASONS.index("exited")
    unsaid = reason == 0
    if len(wakes) > 1:  # what goes on without having been woken could have gone on at any time
        reason[unsaid & (woken >= 0)] = REASONS.index("blocked")
        reason[unsaid & (woken < 0) & (into >= 0)] = REASONS.index("preempted")
    return Stops(line, at, woken, into, reason, unsaid)
