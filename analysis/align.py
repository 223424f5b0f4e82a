"""Two guests side by side: by what was asked (the operation) and where the work was done (the layer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.ledger import Cost, GuestLedger
from analysis.split import Floats, split

if TYPE_CHECKING:
    import pandas as pd

CELL: Final = ["phase", "operation", "layer"]


@dataclass(frozen=True)
class Cells:
    """The cells of two guests for one cost, per op.

    ``frame`` has a row per cell: phase, operation, layer, base, other, delta, base_calls, other_calls (per op), count,
    unit, structural (parts of delta), base_deferred, other_deferred (instructions).  ``base_runs`` and ``other_runs``
    have the same rows and a column per different run.  ``functions`` has a row per (cell, function): cell (the row
    of ``frame``), function, base, other, delta.
    """

    cost: Cost
    frame: pd.DataFrame
    base_runs: Floats
    other_runs: Floats
    functions: pd.DataFrame


def align(base: GuestLedger, other: GuestLedger, cost: Cost) -> Cells:
    """The outer join of two guests.  What only one side has is 0 on the other."""
    import pandas as pd

    index = base.costs[cost].index.union(other.costs[cost].index)
    sides = [ledger.costs[cost].reindex(index, fill_value=0.0) for ledger in (base, other)]
    cell_runs = [side.groupby(level=CELL).sum() for side in sides]
    frame = cell_runs[0].index.to_frame(index=False)
    runs = [side.to_numpy(dtype=np.float64) for side in cell_runs]
    frame["base"], frame["other"] = (side.mean(axis=1) for side in runs)
    frame["delta"] = frame["other"] - frame["base"]
    for name, ledger in (("base", base), ("other", other)):
        frame[f"{name}_calls"] = _calls(frame, ledger)
        deferred = ledger.deferred.mean(axis=1).reindex(cell_runs[0].index, fill_value=0.0)
        frame[f"{name}_deferred"] = deferred.to_numpy()
    parts = split(*(frame[name].to_numpy(dtype=np.float64) for name in ("base_calls", "base", "other_calls", "other")))
    frame["count"], frame["unit"], frame["structural"] = parts.count, parts.unit, parts.structural

    cell_of = pd.Series(np.arange(len(frame)), index=cell_runs[0].index)
    functions = pd.DataFrame({
        "cell": cell_of.reindex(pd.MultiIndex.from_frame(index.to_frame(index=False)[CELL])).to_numpy(),
        "function": index.get_level_values("function"),
        "base": sides[0].mean(axis=1).to_numpy(),
        "other": sides[1].mean(axis=1).to_numpy(),
    })
    functions["delta"] = functions["other"] - functions["base"]
    return Cells(cost, frame, runs[0], runs[1], functions)


def _calls(frame: pd.DataFrame, ledger: GuestLedger) -> Floats:
    """Calls per op of each cell: entries of its operation; for ``user`` the op, for ``background`` the window."""
    import pandas as pd

    keys = pd.MultiIndex.from_frame(frame[["phase", "operation"]])
    found = ledger.calls.mean(axis=1).reindex(keys, fill_value=0.0).to_numpy(dtype=np.float64)
    window = 1 / frame["phase"].map(ledger.ops).to_numpy(dtype=np.float64)
    operation = frame["operation"].to_numpy()
    return np.where(operation == "user", 1.0, np.where(operation == "background", window, found))
