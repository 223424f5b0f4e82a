"""Two guests side by side: by what was asked (the operation) and where the work was done (the layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from analysis.causes import Evidence, Pieces, pieces
from analysis.columns import index_of, joined
from analysis.functions import Functions, Sides, families
from analysis.ledger import WHERE, Cost, GuestLedger, Key, place
from analysis.split import Floats, split

if TYPE_CHECKING:
    import pandas as pd

CELL: Final = ["phase", "operation", "layer"]
OFTEN: Final = 2.0
"""From so many times the calls on, an operation of one kernel differs in that, and not in what each costs ..."""
NEARLY: Final = 0.9
"""... if this share of what moves in it goes the same way."""
UNASKED: Final = ("user", "background", "interrupt")
"""What nobody asks for, so that no side lacks it."""


@dataclass(frozen=True)
class Cells:
    """The cells of two guests for one cost, per op.

    ``frame`` has a row per cell: phase, operation, layer, ops (of the phase), base, other, delta, base_calls,
    other_calls (per op), count, unit, structural (parts of delta), base_deferred, other_deferred (instructions).
    ``base_runs`` and ``other_runs`` have the same rows and a column per different run, of all ``seeds`` of each guest.
    ``functions`` has a row per (cell, function): cell (the row of ``frame``), function, base, other, delta, count,
    unit, structural and deferred (other minus base) of that function, in the order of the cells.  ``runs`` are their
    costs, ``entered`` how often they are entered, per op of each run; ``pieces`` is what of them is one cause within
    a phase.
    ``base_where`` and ``other_where`` have the rows of ``frame`` too: where the instructions of the cell's whole
    operation are, a column for each of WHERE.
    """

    cost: Cost
    frame: pd.DataFrame
    base_runs: Floats
    other_runs: Floats
    functions: pd.DataFrame
    runs: Sides
    entered: Sides
    base_where: Floats
    other_where: Floats
    seeds: tuple[int, int]
    same_kernel: bool

    @cached_property
    def below(self) -> dict[str, npt.NDArray[Any]]:
        """The columns of ``functions``, as ``columns``."""
        return {str(name): self.functions[name].to_numpy() for name in self.functions.columns}

    @cached_property
    def pieces(self) -> Pieces:
        """The functions of each cell pieced together by cause, within each phase."""
        asked = self.asked
        first = np.flatnonzero(np.diff(asked, prepend=-1))
        calls = self.columns["base_calls"][first], self.columns["other_calls"][first]
        rising = (calls[1] > calls[0])[asked]
        delta = self.columns["delta"]
        moved, along = (np.bincount(asked, weights=np.abs(delta) * way, minlength=len(first))
                        for way in (True, (delta > 0) == rising))  # fmt: skip
        often = (np.maximum(*calls) >= OFTEN * np.minimum(*calls)) & (along >= NEARLY * moved)
        often &= (calls[0] != calls[1]) & self.same_kernel
        whole: dict[int, Evidence] = dict.fromkeys(np.flatnonzero(often).tolist(), "asked")
        for row, base, other in zip(first.tolist(), self.base_where[first].tolist(), self.other_where[first].tolist(),
                                    strict=True):  # fmt: skip
            if self.columns["operation"][row] not in UNASKED and place(base) != place(other):
                whole[int(asked[row])] = "elsewhere"
        cell = self.below["cell"]
        names, function = np.unique(self.below["function"].astype(str), return_inverse=True)
        _, layer = np.unique(self.columns["layer"].astype(str), return_inverse=True)
        calls_of = Sides(*(self.columns[name][cell, None] for name in ("base_calls", "other_calls")))
        rows = Functions(
            phase=self.columns["phase"][cell],
            operation=asked[cell],
            cell=cell,
            function=function,
            family=families(names.tolist(), function, layer[cell]),
            background=(self.columns["operation"] == "background")[cell],
            once=1 / self.columns["ops"][cell],
            calls=calls_of,
            cost=self.runs,
            entered=self.entered,
        )
        return pieces(rows, whole, self.same_kernel, self.cost == "instructions")

    @cached_property
    def asked(self) -> npt.NDArray[np.int64]:
        """The number of the (phase, operation) of each cell."""
        keys = list(zip(*(self.columns[name].tolist() for name in CELL[:2]), strict=True))
        new = np.array([one != other for one, other in zip(keys, [None, *keys], strict=False)], dtype=bool)
        return np.cumsum(new, dtype=np.int64) - 1

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns of ``frame``, for access by row without the cost of a data frame."""
        return {str(name): self.frame[name].to_numpy() for name in self.frame.columns}

    @cached_property
    def unattributed(self) -> npt.NDArray[np.intp]:
        """The rows of ``functions`` that have no layer."""
        return np.flatnonzero(self.columns["layer"][self.below["cell"]] == "unattributed")

    def delta_of(self, key: Key) -> float:
        """The difference of a function of a (phase, operation, layer); 0 if there is none such."""
        row = self._rows.get(key)
        return 0.0 if row is None else float(self.below["delta"][row])

    def keys(self, rows: npt.NDArray[np.int64]) -> list[Key]:
        """Phase, operation, layer and function of some rows of ``functions``."""
        cell = self.below["cell"][rows]
        columns = [*(self.columns[name][cell].tolist() for name in CELL), self.below["function"][rows].tolist()]
        return list(zip(*columns, strict=True))

    def evidence(self, rows: npt.NDArray[np.int64]) -> tuple[Evidence, ...]:
        """Why there is more than one layer's cell in what these rows of ``functions`` are pieces of."""
        why = {one for piece in np.unique(self.pieces.piece[rows]).tolist()
               for one in self.pieces.evidence.get(piece, ())}  # fmt: skip
        return tuple(sorted(why))

    @cached_property
    def _rows(self) -> dict[Key, int]:
        return {key: row for row, key in enumerate(self.keys(np.arange(len(self.functions))))}


def align(base: GuestLedger, other: GuestLedger, cost: Cost, same_kernel: bool = False) -> Cells:
    """The outer join of two guests, of which ``same_kernel`` says whether they run one binary as their kernel.

    What only one side has is 0 on the other.
    """
    import pandas as pd

    ledgers = base, other
    levels, codes, *places = joined(base.costs[cost].index, other.costs[cost].index)

    def of_both(frames: Sequence[pd.DataFrame]) -> list[Floats]:
        both = [np.zeros((len(codes[0]), frame.shape[1])) for frame in frames]
        for side, rows, one in zip(both, places, frames, strict=True):
            side[rows] = one.to_numpy(dtype=np.float64)
        return both

    sides = of_both([ledger.costs[cost] for ledger in ledgers])
    entered = of_both([ledger.entered for ledger in ledgers])
    later = [side.mean(axis=1) for side in of_both([ledger.deferred for ledger in ledgers])]
    # The union is sorted: functions of a cell stand together, in the order of the cells.
    changed = np.any([np.diff(code, prepend=-1) != 0 for code in codes[: len(CELL)]], axis=0)
    cells, starts = np.cumsum(changed) - 1, np.flatnonzero(changed)
    runs = [np.add.reduceat(side, starts, axis=0) if len(starts) else side for side in sides]
    keys = index_of(levels[: len(CELL)], [code[starts] for code in codes[: len(CELL)]], CELL)
    frame = pd.DataFrame({name: np.array(level, dtype=None if name == "phase" else object)[code[starts]]
                          for name, level, code in zip(CELL, levels, codes, strict=False)})  # fmt: skip
    frame["ops"] = frame["phase"].map(base.ops).to_numpy(dtype=np.float64)
    frame["base"], frame["other"] = (side.mean(axis=1) for side in runs)
    frame["delta"] = frame["other"] - frame["base"]
    asked = keys.droplevel("layer")
    where: list[Floats] = []
    called: list[Floats] = []
    for name, ledger, deferred in (("base", base, later[0]), ("other", other, later[1])):
        frame[f"{name}_calls"] = _calls(frame, asked, ledger)
        frame[f"{name}_deferred"] = np.add.reduceat(deferred, starts) if len(starts) else deferred
        where.append(ledger.where.reindex(asked, fill_value=0.0)[list(WHERE)].to_numpy(dtype=np.float64))
        # What is answered where nothing is compared is not called, as far as this comparison goes.
        counted = ledger.costs["instructions"].mean(axis=1).groupby(level=["phase", "operation"]).sum()
        elsewhere = (counted.reindex(asked, fill_value=0.0).to_numpy() == 0) & (where[-1].sum(axis=1) > 0)
        calls = np.where(elsewhere, 0.0, frame[f"{name}_calls"].to_numpy(dtype=np.float64))
        called.append(calls)
    means = [side.mean(axis=1) for side in sides]
    # The parts of a cell are the sums of those of its functions, as they have the same calls.
    parts = split(called[0], frame["base"].to_numpy(), called[1], frame["other"].to_numpy())
    frame["count"], frame["unit"], frame["structural"] = parts.count, parts.unit, parts.structural
    parts = split(called[0][cells], means[0], called[1][cells], means[1])

    functions = pd.DataFrame(
        {
            "cell": cells,
            "function": np.array(levels[-1], dtype=object)[codes[-1]],
            "base": means[0],
            "other": means[1],
            "delta": means[1] - means[0],
            "count": parts.count,
            "unit": parts.unit,
            "structural": parts.structural,
            "deferred": later[1] - later[0],
        }
    )
    return Cells(cost, frame, runs[0], runs[1], functions, Sides(*sides), Sides(*entered), where[0], where[1],
                 (len(base.seeds), len(other.seeds)), same_kernel)  # fmt: skip


def _calls(frame: pd.DataFrame, asked: pd.Index[Any], ledger: GuestLedger) -> Floats:
    """Calls per op of each cell: entries of its operation; for ``user`` the op, for ``background`` the window."""
    found = ledger.calls.mean(axis=1).reindex(asked, fill_value=0.0).to_numpy(dtype=np.float64)
    window = 1 / frame["phase"].map(ledger.ops).to_numpy(dtype=np.float64)
    operation = frame["operation"].to_numpy()
    return np.where(operation == "user", 1.0, np.where(operation == "background", window, found))
