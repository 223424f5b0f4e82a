"""The interrupts that threads are woken in."""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.trace.timeline import Timeline
from analysis.trace.window import KIND, Ints
from probes.events import HOWS

CLASSES: Final = ("timer", "device", "ipi")
Irqs = tuple[Ints, Ints]
"""By event: a position in CLASSES or -1, and the code of a name."""


def irqs_of_wakes(line: Timeline) -> Irqs:
    """For each event that is a wake-up in an interrupt, that interrupt's class and name."""
    kind, name = np.full(len(line.window), -1, dtype=np.int64), np.zeros(len(line.window), dtype=np.int64)
    own = np.flatnonzero((line.kind == KIND["wake"]) & line.in_irq)
    leaves = np.flatnonzero(line.kind == KIND["irq-exit"])
    if len(own) and len(leaves):
        place = np.searchsorted(leaves, own)
        leave = leaves[np.minimum(place, len(leaves) - 1)]
        there = (place < len(leaves)) & (line.thread[leave] == line.thread[own])
        event = line.row[leave]
        table = np.array([CLASSES.index(how) if how in CLASSES else -1 for how in HOWS])
        kind[line.row[own]] = np.where(there, table[line.window.how[event]], -1)
        name[line.row[own]] = np.where(there, line.window.name[event], 0)
    return kind, name
