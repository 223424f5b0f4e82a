"""Costly instructions: those that are dear on hardware, and one among others in a count of instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.ledger import GuestLedger, Key
from analysis.statistics import Change, spread


@dataclass(frozen=True)
class Costly:
    """How many of one class of COSTLY_INSTRUCTIONS two guests execute."""

    instruction: str
    change: Change


def differing(base: GuestLedger, other: GuestLedger, cells: Iterable[Key], scale: Mapping[int, float]
              ) -> tuple[Costly, ...]:  # fmt: skip
    """The classes of which two guests execute different numbers, beyond the seed spread; the largest difference first.

    Of some cells together, each per op times the scale of its phase.  None where a side did not count them.
    """
    if base.costly is None or other.costly is None:
        return ()
    cells, sides = list(cells), []
    for ledger in (base, other):
        sums = {name: np.zeros(len(ledger.runs)) for counts in (base.costly, other.costly)
                for cell in cells for name in counts.get(cell, ())}  # fmt: skip
        for cell in cells:
            for name, counts in (ledger.costly or {}).get(cell, {}).items():
                sums[name] += counts * scale[cell[0]]
        sides.append(sums)
    found = [Costly(name, Change(*(spread(side[name].tolist()) for side in sides))) for name in sides[0]]
    kept = [one for one in found if one.change.verdict == "differs"]
    return tuple(sorted(kept, key=lambda one: (-abs(one.change.delta), one.instruction)))
