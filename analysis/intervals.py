"""How sure the size of a difference is: an interval that assumes no distribution of what the seeds do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Final

import numpy as np

from analysis.split import Floats

INSIDE: Final = 0.95
"""The share of campaigns whose interval holds the true difference, if seeds move both guests alike."""
ALL: Final = 20_000
"""Up to this many ways to deal the runs out, all are looked at; 8 against 8 have 12,870."""
DRAWN: Final = 9_999
"""Of more ways, this many are drawn, always the same ones (M. Dwass, Annals of Mathematical Statistics 28, 1957)."""


def difference_of_means(base: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """From where to where the mean of ``other`` minus that of ``base`` is, at INSIDE; one value per run of each.

    These are all differences that a permutation test of the two means does not reject (E. J. G. Pitman, "Significance
    tests which may be applied to samples from any populations", Supplement to the Journal of the Royal Statistical
    Society 4, 1937).  If some runs of the one are exchanged with as many of the other, the test turns just where the
    difference is that of the means of the runs exchanged, so the ends are order statistics of those (P. H. Garthwaite,
    "Confidence intervals from randomization tests", Biometrics 52, 1996).  Of equal numbers of runs it holds for many
    runs even if seeds move the guests differently (J. P. Romano, Journal of the American Statistical Association 85,
    1990); for 8 it was measured (docs/explain.md).
    """
    if not base or not other:
        raise ValueError("an interval needs runs of both guests")
    turns = _exchanges(len(base), len(other)) @ np.array([*base, *other], dtype=np.float64)
    # Rounded down: an interval of fewer ways holds at least INSIDE; of very few ways it is all of them.
    out = max(1, int((1 - INSIDE) / 2 * (len(turns) + 1)))
    ends = np.partition(turns, [out - 1, len(turns) - out])
    return float(ends[out - 1]), float(ends[len(turns) - out])


@cache
def _exchanges(base: int, other: int) -> Floats:
    """A row for each way to exchange runs: runs of base, then of other, to the difference of those exchanged."""
    every = base + other
    if math.comb(every, base) <= ALL:
        chosen = np.array(list(combinations(range(every), base)))
    else:
        draw = np.random.default_rng(0)
        chosen = np.argsort(draw.random((DRAWN, every)), axis=1)[:, :base]
    stays = np.zeros((len(chosen), every), dtype=bool)
    np.put_along_axis(stays, chosen, values=True, axis=1)
    signs = np.concatenate([np.full(base, -1.0), np.ones(other)])
    moves = np.concatenate([~stays[:, :base], stays[:, base:]], axis=1)
    counts = moves[:, base:].sum(axis=1)
    some = counts > 0  # the runs as they are exchange none
    rows: Floats = moves[some] * signs / counts[some, None]
    return rows
