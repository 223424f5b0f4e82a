"""Whether an entry of the list is a finding: what the seeds, and instructions without a layer, let be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from analysis.align import Cells
from analysis.split import Floats
from analysis.statistics import Change

Certainty = Literal["certain", "same", "within seed spread", "unattributed", "few seeds"]
"""``certain`` is a finding.  Otherwise the difference is shown, and why it is none."""
MARKS: Final[Mapping[Certainty, str]] = {
    "certain": "",
    "same": "below 0.1 %",
    "within seed spread": "within seed spread",
    "unattributed": "what has no layer could overturn it",
    "few seeds": "few seeds",
}
"""Each in a few words."""


def certainty(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, change: Change) -> Certainty:
    """What can be said of ``change``, the difference of some rows of ``cells.functions``, each times its weight."""
    if change.verdict != "differs":
        return change.verdict
    if overturned(cells, rows, weights, change.delta):
        return "unattributed"
    return "few seeds" if change.few else "certain"


def overturned(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, delta: float) -> bool:
    """Whether instructions of the same operations that have no layer could undo ``delta``, were they of its layer.

    At the worst all of them belong there on the guest that executes less, and none on the other.
    """
    without = np.setdiff1d(cells.unattributed, rows)
    if not len(without):
        return False
    asked = cells.asked[cells.below["cell"]]
    beside = without[np.isin(asked[without], asked[rows])]
    base, other = (float((cells.below[side][beside] * weights[beside]).sum()) for side in ("base", "other"))
    return delta - base <= 0 <= delta + other
