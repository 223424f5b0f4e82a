"""The probe's event log, written and read as events: for tests that make one, and those that look into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from probes.exec import log
from probes.exec.frames import NO_STACK

EVENT: Final = np.dtype([
    ("time", "<u8"), ("value", "<i8"), ("thread", "<u4"), ("stack", "<u4"), ("name", "<u2"), ("kind", "u1"),
    ("how", "u1"), ("vcpu", "u1"),
], align=True)  # fmt: skip
"""An event, with all that holds for it: also what cannot be, as far as a log can say it."""

Events = np.ndarray[Any, Any]
"""Of dtype ``EVENT``."""


def write(path: Path, events: Events) -> None:
    """Write a vCPU's log, as plugin/events.c does."""
    pack(events).tofile(path)


def pack(events: Events) -> np.ndarray[Any, Any]:
    """The records of some events; ``vcpu`` is not among them."""
    later = np.diff(events["time"], prepend=np.uint64(0))  # backwards is very much later
    jumps = later > 0xFFFFFFFF
    context = (
        (log.THREAD, events["thread"], np.diff(events["thread"], prepend=np.uint32(0)) != 0),
        (log.STACK, events["stack"], np.diff(events["stack"], prepend=np.uint32(NO_STACK)) != 0),
        (log.TIME, events["time"], jumps),
    )
    each = 1 + sum(said.astype(np.int64) for _, _, said in context)
    place = np.cumsum(each) - each
    records = np.zeros(int(each.sum()), dtype=log.RECORD)
    for kind, values, said in context:
        records["kind"][place[said]] = kind
        records["value"][place[said]] = values[said].astype(np.int64)
        place += said
    for field in ("name", "kind", "how", "value"):
        records[field][place] = events[field]
    records["after"][place] = np.where(jumps, 0, later)
    return records


def read(path: Path) -> Events:
    """The events of a log, whole or cut."""
    whole = log.Log(((path, path.stat().st_size // log.RECORD.itemsize),))
    return rows(list(whole.pieces()))


def rows(pieces: Sequence[log.Piece]) -> Events:
    """Events that are columns, one after the other."""
    every = np.zeros(sum(len(piece["time"]) for piece in pieces), dtype=EVENT)
    for name in EVENT.names or ():
        every[name] = np.concatenate([every[name][:0], *(piece[name] for piece in pieces)])
    return every
