"""What one app says of another between kernels that have no functions in common: where their operations overlap.

There only calls are left to count, and a call costs what it does.  A phase of an app is foretold from a phase of the
units if every operation that it asks for does the same work in both, as seen on the base guest alone: the functions
that a call spends its instructions in, and how many in each, are the same up to a tenth (``ALIKE``).  Every operation,
because who waits for whom, and which call is charged with waking it, is a matter of all calls of a phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analysis import columns
from analysis.comparable import check_comparable
from analysis.split import Floats
from probes.recording import Recording
from tests.truth.cells import CELL, calls, check_same, good, table

if TYPE_CHECKING:
    import pandas as pd

ALIKE: Final = 0.1
"""Of two profiles, the larger: this share may be in other functions, or more or less in the same."""


_Profiles = dict[str, "pd.Series[float] | None"]


@dataclass(frozen=True)
class Like:
    """A phase of an app, and the phase of the units that is most like it."""

    phase: int
    name: str
    unit: int
    unit_name: str
    apart: float  # of the operation that differs most; 1 if the units' phase does not ask for one of them

    @property
    def alike(self) -> bool:
        """Whether every operation does the same work in both."""
        return self.apart <= ALIKE


def likes(units: Sequence[Recording], app: Sequence[Recording]) -> list[Like]:
    """Find for every phase of an app that of the units, recorded on the same guest, which is most like it."""
    check_same(units[0], app[0])
    names = [dict(columns.phases(side[0], ("number", "name"))) for side in (units, app)]
    of_units, of_app = _per_call(units), _per_call(app)
    found = []
    for phase, mine in of_app.items():
        apart, unit = min((_furthest(mine, theirs), unit) for unit, theirs in of_units.items())
        found.append(Like(phase, str(names[1][phase]), unit, str(names[0][unit]), apart))
    return found


def asked(app: Sequence[Recording], phase: int) -> pd.Series[float]:
    """How often a phase asks for each operation, on average."""
    found: pd.Series[float] = calls(app, [phase]).mean(axis=1)
    return found[found > 0]


def foretell(side: Sequence[Recording], unit: int, counts: pd.Series[float]) -> Floats:
    """What calls would cost that do what they do in phase ``unit`` of the units, on one guest: a value per run.

    ``counts`` has calls per (phase, operation) of an app.  A call that does not reach this guest's kernel costs
    nothing there.
    """
    check_comparable(side)
    operations = counts.index.get_level_values("operation")
    cost = table(side, [unit], [], "instructions").groupby("operation").sum()
    often = calls(side, [unit]).groupby("operation").sum()
    per_call = (cost / often.where(often > 0)).reindex(operations).fillna(0.0)
    total: Floats = per_call.to_numpy().T @ counts.to_numpy()
    return total


def _per_call(side: Sequence[Recording]) -> dict[int, _Profiles]:
    """Of each phase and operation the instructions of a call in each function; None where work has no calls."""
    phases = good(side)
    work = table(side, phases, [], "instructions").mean(axis=1)
    often = calls(side, phases).mean(axis=1)
    found: dict[int, _Profiles] = {phase: {} for phase in phases}
    for (phase, operation), rows in work.groupby(CELL):
        count = float(often.get((phase, operation), 0.0))
        found[int(phase)][str(operation)] = rows.droplevel(CELL) / count if count else None
    return {phase: operations for phase, operations in found.items() if operations}


def _furthest(mine: _Profiles, theirs: _Profiles) -> float:
    """How far the operation is apart that differs most; 1 if the units do not ask for one, or one is not a call."""
    pairs = [(work, theirs.get(operation)) for operation, work in mine.items()]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    return max(_apart(*pair) for pair in known) if len(known) == len(pairs) else 1.0


def _apart(one: pd.Series[float], other: pd.Series[float]) -> float:
    """By how much two profiles differ, as a share of the larger."""
    return float(one.sub(other, fill_value=0.0).abs().sum() / max(one.sum(), other.sum()))
