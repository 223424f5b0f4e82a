"""How often each operation was asked for: the table CALLS, from the events of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from probes.events import CALLS
from probes.manifest import AGAIN
from profiler.errors import RecordingInvalid

INTERRUPT: Final = "interrupt"


class Counter:
    """Entries per (phase, operation): ``op-enter`` and ``fault-enter`` by name, ``irq-enter`` as interrupt.

    Only events between a ``phase-begin`` and its ``phase-end`` count.  Events are given a piece at a time; three of
    their columns are read, and no event is touched in Python.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], int] = {}
        self._open: int | None = None  # the phase in which the piece before ended

    def add(self, events: pa.RecordBatch) -> None:
        """The next events.  Raises ``RecordingInvalid`` if the phases' begins and ends are not paired."""
        kinds, kind_names = _codes(events.column("kind"))
        names, name_names = _codes(events.column("name"))
        values = events.column("value").to_numpy()

        begin, end = (_code(kind_names, kind) for kind in ("phase-begin", "phase-end"))
        edges = np.flatnonzero((kinds == begin) | (kinds == end))
        phases, begins = values[edges], kinds[edges] == begin
        if self._open is not None:  # as if it had begun before the first event
            edges, phases, begins = np.append(-1, edges), np.append(self._open, phases), np.append(True, begins)
        starts, stops, numbers = edges[::2], edges[1::2], phases[::2]
        if not begins[::2].all() or begins[1::2].any() or not np.array_equal(numbers[: len(stops)], phases[1::2]):
            raise _unpaired()
        self._open = int(numbers[-1]) if len(stops) < len(starts) else None
        if not len(starts):
            return
        stops = np.append(stops, len(kinds)) if len(stops) < len(starts) else stops

        # An operation may itself be called "interrupt", and a phase may run twice: what is of one name is added up.
        words = [*name_names, INTERRUPT]
        for kind in ("op-enter", "fault-enter", "irq-enter"):
            rows = np.flatnonzero(kinds == _code(kind_names, kind))
            slot = np.searchsorted(starts, rows, side="right") - 1
            inside = (slot >= 0) & (rows < stops[slot])
            rows, slot = rows[inside], slot[inside]
            what = np.full(len(rows), len(name_names)) if kind == "irq-enter" else names[rows]
            counts = np.bincount(slot * len(words) + what)
            for flat in np.flatnonzero(counts).tolist():
                key = int(numbers[flat // len(words)]), words[flat % len(words)]
                self._counts[key] = self._counts.get(key, 0) + int(counts[flat])

    def table(self, *, cut: bool = False) -> pa.Table:
        """The table CALLS.  Raises ``RecordingInvalid`` if a phase has no end, unless what came last is ``cut`` off."""
        if self._open is not None and not cut:
            raise _unpaired()
        rows = [(phase, operation, calls) for (phase, operation), calls in sorted(self._counts.items())]
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, CALLS, strict=True)], schema=CALLS)


def count(events: Iterable[pa.RecordBatch], *, cut: bool = False) -> pa.Table:
    """Count all of a run's events; see ``Counter``."""
    counter = Counter()
    for batch in events:
        counter.add(batch)
    return counter.table(cut=cut)


def _unpaired() -> RecordingInvalid:
    return RecordingInvalid("the phases' begin and end events are not paired", hint=AGAIN)


def _codes(column: Any) -> tuple[np.ndarray, list[str]]:
    """A column of strings as numbers and what they stand for."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist()


def _code(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1
