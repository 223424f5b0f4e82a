"""How often each operation was asked for: the table CALLS, from the events of a run."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from probes.events import CALLS
from profiler.errors import RecordingInvalid

INTERRUPT: Final = "interrupt"


def count(events: pa.Table) -> pa.Table:
    """Entries per (phase, operation): ``op-enter`` and ``fault-enter`` by name, ``irq-enter`` as interrupt.

    Only events between a ``phase-begin`` and its ``phase-end`` count.  Raises ``RecordingInvalid`` if those are not
    paired.  Reads three columns and touches no event in Python.
    """
    kinds, kind_names = _codes(events["kind"])
    names, name_names = _codes(events["name"])
    values = events["value"].to_numpy()

    begins, ends = (np.flatnonzero(kinds == _code(kind_names, kind)) for kind in ("phase-begin", "phase-end"))
    paired = len(begins) == len(ends) and bool((begins < ends).all() and (ends[:-1] < begins[1:]).all())
    if not paired or not np.array_equal(values[begins], values[ends]):
        raise RecordingInvalid("the phases' begin and end events are not paired")

    # An operation may itself be called "interrupt", and a phase may run twice: numbers of sorted names, added up.
    phases, window = np.unique(values[begins], return_inverse=True)
    operations = sorted({*name_names, INTERRUPT})
    place = np.array([operations.index(name) for name in name_names], dtype=np.int64)
    counts = np.zeros((len(phases), len(operations)), dtype=np.int64)
    for kind in ("op-enter", "fault-enter", "irq-enter"):
        rows = np.flatnonzero(kinds == _code(kind_names, kind))
        slot = np.searchsorted(begins, rows, side="right") - 1
        inside = slot >= 0
        inside[inside] = rows[inside] < ends[slot[inside]]
        rows, slot = rows[inside], slot[inside]
        what = np.full(len(rows), operations.index(INTERRUPT)) if kind == "irq-enter" else place[names[rows]]
        flat = np.bincount(window[slot] * len(operations) + what, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    phase, operation = np.nonzero(counts)
    columns = [phases[phase], [operations[number] for number in operation], counts[phase, operation]]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, CALLS, strict=True)], schema=CALLS)


def _codes(column: Any) -> tuple[np.ndarray, list[str]]:
    """A column of strings as numbers and what they stand for."""
    column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if column.num_chunks == 0:
        return np.empty(0, dtype=np.int64), []
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
    return codes.astype(np.int64), column.chunk(0).dictionary.to_pylist()


def _code(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1
