"""Two guests side by side: by what was asked (the operation) and where the work was done (the layer)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from analysis.columns import index_of, joined
from analysis.ledger import WHERE, Cost, GuestLedger
from analysis.split import Floats, split

if TYPE_CHECKING:
    import pandas as pd

CELL: Final = ["phase", "operation", "layer"]


@dataclass(frozen=True)
class Cells:
    """The cells of two guests for one cost, per op.

    ``frame`` has a row per cell: phase, operation, layer, base, other, delta, base_calls, other_calls (per op), count,
    unit, structural (parts of delta), base_deferred, other_deferred (instructions).  ``base_runs`` and ``other_runs``
    have the same rows and a column per different run, of all ``seeds`` of each guest.  ``functions`` has a row per
    (cell, function): cell (the row of ``frame``), function, base, other, delta; those of cell ``i`` are ``bounds[i]``
    to ``bounds[i + 1]``.
    ``base_where`` and ``other_where`` have the rows of ``frame`` too: where the instructions of the cell's whole
    operation are, a column for each of WHERE.
    """

    cost: Cost
    frame: pd.DataFrame
    base_runs: Floats
    other_runs: Floats
    functions: pd.DataFrame
    bounds: npt.NDArray[np.intp]
    base_where: Floats
    other_where: Floats
    seeds: tuple[int, int]

    def functions_of(self, cell: int) -> list[tuple[str, float, float]]:
        """Function, base, other: those of one cell that differ."""
        rows, bounds = self._functions
        return rows[bounds[cell] : bounds[cell + 1]]

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns of ``frame``, for access by row without the cost of a data frame."""
        return {str(name): self.frame[name].to_numpy() for name in self.frame.columns}

    @cached_property
    def unattributed(self) -> npt.NDArray[np.intp]:
        """The rows of what has no layer."""
        return np.flatnonzero(self.columns["layer"] == "unattributed")

    def delta_of(self, key: tuple[object, ...]) -> float:
        """The difference of a (phase, operation, layer); 0 if there is none such."""
        row = self._rows.get(key)
        return 0.0 if row is None else float(self.columns["delta"][row])

    @cached_property
    def _rows(self) -> dict[tuple[object, ...], int]:
        keys = zip(*(self.columns[name].tolist() for name in CELL), strict=True)
        return {key: row for row, key in enumerate(keys)}

    @cached_property
    def _functions(self) -> tuple[list[tuple[str, float, float]], list[int]]:
        columns = [self.functions[name].to_numpy() for name in ("function", "base", "other")]
        differ = columns[1] != columns[2]
        rows = list(zip(*(values[differ].tolist() for values in columns), strict=True))
        return rows, np.concatenate([[0], np.cumsum(differ)])[self.bounds].tolist()


def align(base: GuestLedger, other: GuestLedger, cost: Cost) -> Cells:
    """The outer join of two guests.  What only one side has is 0 on the other."""
    import pandas as pd

    frames = [ledger.costs[cost] for ledger in (base, other)]
    levels, codes, *places = joined(frames[0].index, frames[1].index)
    sides = [np.zeros((len(codes[0]), frame.shape[1])) for frame in frames]
    for side, place, one in zip(sides, places, frames, strict=True):
        side[place] = one.to_numpy(dtype=np.float64)
    # The union is sorted: functions of a cell stand together, in the order of the cells.
    changed = np.any([np.diff(code, prepend=-1) != 0 for code in codes[: len(CELL)]], axis=0)
    cells, starts = np.cumsum(changed) - 1, np.flatnonzero(changed)
    runs = [np.add.reduceat(side, starts, axis=0) if len(starts) else side for side in sides]
    keys = index_of(levels[: len(CELL)], [code[starts] for code in codes[: len(CELL)]], CELL)
    frame = pd.DataFrame({name: np.array(level, dtype=None if name == "phase" else object)[code[starts]]
                          for name, level, code in zip(CELL, levels, codes, strict=False)})  # fmt: skip
    frame["base"], frame["other"] = (side.mean(axis=1) for side in runs)
    frame["delta"] = frame["other"] - frame["base"]
    asked = keys.droplevel("layer")
    where: list[Floats] = []
    sizes: list[Floats] = []
    for name, ledger in (("base", base), ("other", other)):
        frame[f"{name}_calls"] = _calls(frame, asked, ledger)
        deferred = ledger.deferred.mean(axis=1).reindex(keys, fill_value=0.0)
        frame[f"{name}_deferred"] = deferred.to_numpy()
        where.append(ledger.where.reindex(asked, fill_value=0.0)[list(WHERE)].to_numpy(dtype=np.float64))
        # What is answered where nothing is compared is not called, as far as this comparison goes.
        counted = ledger.costs["instructions"].mean(axis=1).groupby(level=["phase", "operation"]).sum()
        elsewhere = (counted.reindex(asked, fill_value=0.0).to_numpy() == 0) & (where[-1].sum(axis=1) > 0)
        calls = np.where(elsewhere, 0.0, frame[f"{name}_calls"].to_numpy(dtype=np.float64))
        sizes += [calls, frame[name].to_numpy(dtype=np.float64)]
    parts = split(*sizes)
    frame["count"], frame["unit"], frame["structural"] = parts.count, parts.unit, parts.structural

    functions = pd.DataFrame(
        {
            "cell": cells,
            "function": np.array(levels[-1], dtype=object)[codes[-1]],
            "base": sides[0].mean(axis=1),
            "other": sides[1].mean(axis=1),
        }
    )
    functions["delta"] = functions["other"] - functions["base"]
    bounds = np.searchsorted(cells, np.arange(len(frame) + 1))
    return Cells(cost, frame, runs[0], runs[1], functions, bounds, where[0], where[1],
                 (len(base.seeds), len(other.seeds)))  # fmt: skip


def _calls(frame: pd.DataFrame, asked: pd.Index[Any], ledger: GuestLedger) -> Floats:
    """Calls per op of each cell: entries of its operation; for ``user`` the op, for ``background`` the window."""
    found = ledger.calls.mean(axis=1).reindex(asked, fill_value=0.0).to_numpy(dtype=np.float64)
    window = 1 / frame["phase"].map(ledger.ops).to_numpy(dtype=np.float64)
    operation = frame["operation"].to_numpy()
    return np.where(operation == "user", 1.0, np.where(operation == "background", window, found))
