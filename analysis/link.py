"""The weak link: the operation of a phase that costs a guest most beyond what it costs the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.align import Cells


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
    """The link with the largest difference against the guest, given the ops of each phase; None if all cost less."""
    column = cells.columns
    weight = np.array([ops.get(int(phase), 0.0) for phase in column["phase"]])
    sums: dict[tuple[int, str], list[float]] = {}
    sides = ((column[name] * weight).tolist() for name in ("base", "other"))
    keys = (column[name].tolist() for name in ("phase", "operation"))
    for phase, operation, base, other in zip(*keys, *sides, strict=True):
        sum_of = sums.setdefault((phase, operation), [0.0, 0.0])
        sum_of[0] += base
        sum_of[1] += other
    links = [Link(phase, operation, base, other) for (phase, operation), (base, other) in sums.items()]
    found = max(links, key=lambda link: link.delta, default=None)
    return found if found is not None and found.delta > 0 else None
