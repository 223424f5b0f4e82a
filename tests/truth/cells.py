"""What of recordings is foretold and held against each other: costs and entries per (phase, operation, function).

Compared are all layers but those of the app's own build, and of the emulator; work deferred by an operation is part of
it, and what comes with time is not (``UNASKED``).  Nothing here is per op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis import columns
from analysis.columns import Columns
from analysis.comparable import ASIDE, libc_in_kernel
from analysis.ledger import DEFERRED, LEFT_OUT, Cost
from analysis.split import Floats
from probes.names import readable
from probes.recording import Recording
from profiler.errors import NotComparable

if TYPE_CHECKING:
    import pandas as pd

UNASKED: Final = ("interrupt", "background")
"""What comes with time, and not because the app asks for something: left out on all sides."""
CELL: Final = ["phase", "operation"]
FUNCTION: Final = ["layer", "function"]

_SAME: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "guest": lambda one: str(one["guest"]["spec"]),
    "kernel": lambda one: str(one["guest"]["kernel_sha256"]),
    "QEMU version": lambda one: str(one["qemu"]["version"]),
    "CPU line": lambda one: str(one["qemu"]["cpu"]),
    "icount setting": lambda one: str(one["qemu"]["icount"]),
    "probe mode": lambda one: str(one["probe"]["mode"]),
}


def check_same(units: Recording, app: Recording) -> None:
    """Raise ``NotComparable`` if an app was recorded on another kernel than the units, or in another way."""
    for what, get in _SAME.items():
        values = get(units.manifest), get(app.manifest)
        if values[0] != values[1]:
            raise NotComparable(f"the units and the app differ in {what}: {values[0][:200]}; {values[1][:200]}",
                                hint="Record both apps on the same guest, with the same options.")  # fmt: skip


def good(recordings: Sequence[Recording]) -> list[int]:
    """The numbers of the phases that are ``ok`` in all recordings."""
    found = [{number for number, status in columns.phases(one, ("number", "status")) if status == "ok"}
             for one in recordings]  # fmt: skip
    return sorted(set.intersection(*found))


def measured(recordings: Sequence[Recording], cost: Cost) -> pd.DataFrame:
    """What is compared of each (phase, operation) of a guest: a column per run, nothing per op."""
    return table(recordings, good(recordings), [], cost).groupby(CELL).sum()


def table(recordings: Sequence[Recording], phases: Sequence[int], means: Sequence[str], each: Cost | None = None
          ) -> pd.DataFrame:  # fmt: skip
    """Per (phase, operation, layer, function): means over runs of some columns, and a column per run of ``each``."""
    import pandas as pd

    rows = _rows(recordings, phases)
    group, index = rows.groups([*CELL, *FUNCTION])
    sums = {name: rows.sums(name, group, len(index), len(recordings)).mean(axis=1) for name in means}
    found = pd.DataFrame(sums, index=index)
    if each:
        runs = rows.sums(each, group, len(index), len(recordings))
        found = found.join(pd.DataFrame(runs, index=index, columns=[one.seed for one in recordings]))
    return found


def dropped(index: Any, levels: Sequence[str]) -> pd.Index[Any]:
    """An index without some of its levels, each value once."""
    found: pd.Index[Any] = index.droplevel(list(levels)).unique()
    return found


def spread(values: pd.Series[float], functions: pd.Index[Any], cells: pd.Index[Any]) -> Floats:
    """A matrix of a row per function and a column per cell; what is not among the functions is left out."""
    index: Any = values.index
    rows = functions.get_indexer(index.droplevel(CELL))
    places = cells.get_indexer(index.droplevel(FUNCTION))
    kept = (rows >= 0) & (places >= 0)
    found = np.zeros((len(functions), len(cells)))
    np.add.at(found, (rows[kept], places[kept]), values.to_numpy(dtype=np.float64)[kept])
    return found


def _asked_for(operation: str) -> str:
    """The operation that caused deferred work."""
    return operation.removeprefix(DEFERRED)


def _rows(recordings: Sequence[Recording], phases: Sequence[int]) -> Columns:
    """The rows of some phases that are compared, with deferred work under the operation that caused it."""
    shown: Mapping[str, Callable[[str], str]] = {"function": readable, "operation": _asked_for}
    wanted = [*CELL, *FUNCTION, "space", "instructions", "rep_bytes", "calls"]
    rows = columns.read(recordings, "ledger", wanted, shown)
    in_kernel = np.array([libc_in_kernel(one) for one in recordings])[rows.run]
    libc = rows.coded("layer", ["libc"]) & (rows.coded("space", ["user"]) | in_kernel)
    out = rows.coded("layer", [ASIDE[0], *LEFT_OUT]) | rows.coded("operation", UNASKED) | libc
    return rows.where(np.isin(rows.values["phase"], list(phases)) & ~out)
