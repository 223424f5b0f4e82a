"""How often each operation was asked for, from the events of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probes.recording import AGAIN, Recording
from profiler.errors import RecordingInvalid

if TYPE_CHECKING:
    import pandas as pd

PAGE_FAULT = "page-fault"
INTERRUPT = "interrupt"


def phase_calls(recording: Recording) -> pd.Series[int]:
    """Entries per (phase, operation): ``op-enter`` and ``fault-enter`` by name, ``irq-enter`` as interrupt.

    Only events between a ``phase-begin`` and its ``phase-end`` count.  Raises ``RecordingInvalid`` if those are not
    paired.  Reads three columns and touches no event in Python.
    """
    import pandas as pd

    table = recording.table("events", ["kind", "name", "value"]).combine_chunks()
    kinds, kind_names = _codes(table["kind"])
    names, name_names = _codes(table["name"])
    values = table["value"].to_numpy()

    begins, ends = (np.flatnonzero(kinds == _code(kind_names, kind)) for kind in ("phase-begin", "phase-end"))
    paired = len(begins) == len(ends) and bool((begins < ends).all() and (ends[:-1] < begins[1:]).all())
    if not paired or not np.array_equal(values[begins], values[ends]):
        raise RecordingInvalid(f"{recording.directory}: the phases' begin and end events are not paired", hint=AGAIN)

    operations = [*name_names, INTERRUPT]
    counts = np.zeros((len(begins), len(operations)), dtype=np.int64)
    for kind, column in (("op-enter", None), ("fault-enter", None), ("irq-enter", len(name_names))):
        rows = np.flatnonzero(kinds == _code(kind_names, kind))
        slot = np.searchsorted(begins, rows, side="right") - 1
        inside = slot >= 0
        inside[inside] = rows[inside] < ends[slot[inside]]
        rows, slot = rows[inside], slot[inside]
        what = names[rows].astype(np.int64) if column is None else np.full(len(rows), column, dtype=np.int64)
        flat = np.bincount(slot * len(operations) + what, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    phase, operation = np.nonzero(counts)
    index = pd.MultiIndex.from_arrays(
        [values[begins][phase], [operations[number] for number in operation]], names=["phase", "operation"]
    )
    found = pd.Series(counts[phase, operation], index=index, name="calls")
    # An operation may itself be called "interrupt", and a phase may run twice: add up, never twice the same key.
    return found.groupby(level=["phase", "operation"]).sum()


def _codes(column: Any) -> tuple[np.ndarray, list[str]]:
    """A dictionary column (of one chunk, or of none if the table has no rows) as numbers and what they stand for."""
    if column.num_chunks == 0:
        return np.empty(0, dtype=np.int64), []
    chunk = column.chunk(0)
    return chunk.indices.to_numpy(zero_copy_only=False), chunk.dictionary.to_pylist()


def _code(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1
