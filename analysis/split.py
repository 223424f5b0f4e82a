"""A difference of cost, split into how often and how much each time.

With cost = n x u (calls per op, cost per call), the difference is exactly

    count part      = (n1 - n0) x (u0 + u1) / 2
    unit-cost part  = (u1 - u0) x (n0 + n1) / 2

This is Bennet's symmetric decomposition (T. L. Bennet, "The theory of measurement of changes in cost of living",
Journal of the Royal Statistical Society 83, 1920; W. E. Diewert, "Index number theory using differences rather than
ratios", American Journal of Economics and Sociology 64, 2005).  Exchanging the sides only changes both signs, which
holding one side fixed (Laspeyres, Paasche) would not give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """Per cell; ``count + unit + structural`` is the difference, and a cell has either the first two or the last."""

    count: Floats
    unit: Floats
    structural: Floats


def split(calls0: Floats, cost0: Floats, calls1: Floats, cost1: Floats) -> Parts:
    """Split cost1 - cost0 per cell.  A cell without calls on a side has no cost per call there: it is structural."""
    both = (calls0 > 0) & (calls1 > 0)
    n0, n1 = np.where(both, calls0, 1.0), np.where(both, calls1, 1.0)
    u0, u1 = cost0 / n0, cost1 / n1
    return Parts(
        count=np.where(both, (n1 - n0) * (u0 + u1) / 2, 0.0),
        unit=np.where(both, (u1 - u0) * (n0 + n1) / 2, 0.0),
        structural=np.where(both, 0.0, cost1 - cost0),
    )
