"""Runs of one guest that gather about several values, of which their mean is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

GAP: Final = 4.0
"""Modes are apart where each gap between them is this many times what is left of the range inside all of them.

Of 8 runs from one even distribution, one gap is as wide in 7 x (1/5)^6, 1 of 2,232 cases (R. Pyke, "Spacings", Journal
of the Royal Statistical Society B 27, 1965)."""
MOST: Final = 3
"""Of 8 runs, more modes than this are not told apart from runs that are all different."""
MATTERS: Final = 0.01
"""Modes closer together than this share of the mean are not worth words."""


@dataclass(frozen=True)
class Mode:
    """Some runs of a guest that agree with one another and not with the rest."""

    mean: float
    runs: int


def modes(values: Sequence[float]) -> tuple[Mode, ...]:
    """The modes of one figure over different runs, lowest first; none if they are all about one value."""
    runs = np.sort(np.asarray(values, dtype=np.float64))
    gaps = np.diff(runs)
    if len(runs) < 2 or runs[-1] - runs[0] < MATTERS * abs(runs.mean()):
        return ()
    widest = np.argsort(-gaps, kind="stable")
    for count in range(2, min(MOST, len(gaps)) + 1):
        if gaps[widest[count - 2]] > GAP * gaps[widest[count - 1 :]].sum():
            parts = np.split(runs, np.sort(widest[: count - 1]) + 1)
            return tuple(Mode(float(part.mean()), len(part)) for part in parts)
    return ()
