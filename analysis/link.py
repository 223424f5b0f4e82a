"""The weak link: the operation of a phase that costs a guest most beyond what it costs the base and what seeds move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.align import Cells
from analysis.statistics import Change, spread


@dataclass(frozen=True)
class Link:
    """One operation of one phase, all its layers together; the cost is of all ops of the phase."""

    phase: int
    operation: str
    base: float
    other: float

    @property
    def delta(self) -> float:
        """Other minus base."""
        return self.other - self.base


def costliest(cells: Cells, ops: Mapping[int, float]) -> Link | None:
    """The link with the largest difference against the guest, given the ops of each phase, that seeds do not make.

    None if there is none.
    """
    column = cells.columns
    weight = np.array([ops.get(int(phase), 0.0) for phase in column["phase"]])
    rows: dict[tuple[int, str], list[int]] = {}
    for row, key in enumerate(zip(column["phase"].tolist(), column["operation"].tolist(), strict=True)):
        rows.setdefault(key, []).append(row)
    deltas = column["delta"] * weight
    sizes = {key: float(deltas[mine].sum()) for key, mine in rows.items()}
    for key in sorted((key for key in rows if sizes[key] > 0), key=lambda key: -sizes[key]):
        base, other = (spread((runs[rows[key]] * weight[rows[key], None]).sum(axis=0).tolist())
                       for runs in (cells.base_runs, cells.other_runs))  # fmt: skip
        if Change(base, other).verdict == "differs":
            return Link(*key, base.mean, other.mean)
    return None
