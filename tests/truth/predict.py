"""What one app says of another: unit costs measured in one, times what the other does.

The difference between two guests is measured in an app that asks for many things (the *units*: ``tour``), and counts
are those of another app, recorded on the base guest alone.  A call of an operation is too coarse a unit: a ``write``
may fill one page or four, wake somebody or not.  So the counts are entries of the base's functions, which a recording
has.  Each function that costs more or less on the other guest is pegged to those of the base whose entries, over all
operations of all phases of the units, go along with its difference best: itself, if it is changed; the allocator's, if
it clears each new page; the way into the kernel, if it is new and executed by every system call.  That is matching
pursuit (S. Mallat and Z. Zhang, "Matching pursuits with time-frequency dictionaries", IEEE Transactions on Signal
Processing 41, 1993) with entries as the dictionary.  What the seeds alone move as much is no difference, and no
function saves more than what the app spends in it.

Of a function that the units never enter nothing is known, whatever it costs on the other guest.  So an operation of the
app is foretold only if nearly all that it executes on the base is in functions that they do enter (``KNOWN``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from analysis.comparable import check_comparable
from analysis.ledger import Cost
from analysis.split import Floats
from probes.recording import Recording
from profiler.errors import NotComparable
from tests.truth.cells import CELL, FUNCTION, calls, check_same, dropped, good, spread, table

if TYPE_CHECKING:
    import pandas as pd

KNOWN: Final = 0.9
"""Of what an operation executes, this share is in functions that the units enter, or it is not foretold: what is
unknown of it may be off by all that it is, and a tenth is what a prediction may be off by."""
PEGS: Final = 4
"""Functions of the base that one difference is pegged to, at most."""
WORTH: Final = 0.02
"""A peg explains at least this share of the difference; functions that are as good up to a tenth of it are one."""
NEARLY: Final = 0.999
"""The smallest differences that make the rest of all are not pegged."""
ALIKE: Final = 0.5
"""Functions that the other guest enters too have this share of what the base executes, or nothing can be pegged."""


@dataclass(frozen=True)
class Prediction:
    """What an app would cost more or less on the other guest, over all its phases, mean over runs; nothing is per op.

    ``operations`` has a row per (phase, operation) of the app on the base: ``cost``, ``instructions``, ``known`` (the
    part of ``instructions`` in functions that the units enter), ``predicted`` (the difference), and ``foretold``
    (whether enough is known that it may be).
    """

    operations: pd.DataFrame
    pegs: tuple[Peg, ...]  # largest part of the units' difference first

    @property
    def foretold(self) -> pd.DataFrame:
        """The operations that are foretold."""
        return self.operations[self.operations["foretold"]]


@dataclass(frozen=True)
class Peg:
    """The difference of one function, ``unit`` for each entry of one of the base (the median, if several go along)."""

    function: str
    to: tuple[str, ...]
    unit: float
    row: int  # of ``function``, among the functions of the units
    rows: npt.NDArray[np.intp]  # of ``to``


def predict(base: Sequence[Recording], other: Sequence[Recording], app: Sequence[Recording], cost: Cost) -> Prediction:
    """Predict the difference of ``app``, recorded on the base guest, from that of the units, ``base`` and ``other``.

    Raises ``NotComparable`` if the units are not, if the app was recorded on another kernel than ``base`` or in another
    way, or if the kernels have too few functions in common (``ALIKE``).
    """
    import pandas as pd

    check_comparable([*base, *other])
    check_comparable(app)
    check_same(base[0], app[0])
    phases = sorted({*good(base)} & {*good(other)})
    used = good(app)
    if not phases or not used:
        raise NotComparable("there is no phase to learn from, or none to foretell", hint="See `weaklink verify`.")
    units = _Units(base, other, phases, cost)
    if not units.alike:
        raise NotComparable("the kernels have too few functions in common", hint="Compare one app on both.")
    of_app = table(app, used, ["instructions", "calls", cost])
    cells = dropped(of_app.index, FUNCTION)
    entries = spread(of_app["calls"], units.functions, cells)
    own = spread(of_app[cost], units.functions, cells)
    pegs = units.pegs()
    changes = np.zeros_like(own)
    for peg in pegs:
        # What the other guest never executes saves what the app spends in it, whatever an entry costs elsewhere.
        saved = peg.to == (peg.function,) and units.gone[peg.row]
        changes[peg.row] += -own[peg.row] if saved else peg.unit * np.median(entries[peg.rows], axis=0)
    whole = of_app.groupby(CELL).sum().reindex(cells)
    known = spread(of_app["instructions"], units.functions, cells)[units.entered].sum(axis=0)
    instructions = whole["instructions"].to_numpy()
    return Prediction(pd.DataFrame({
        "cost": whole[cost].to_numpy(), "instructions": instructions, "known": known,
        "predicted": np.maximum(changes, -own).sum(axis=0), "foretold": known >= KNOWN * instructions,
    }, index=cells), pegs)  # fmt: skip


class _Units:
    """The difference of the units: matrices with a row per function and a column per (phase, operation)."""

    def __init__(
        self, base: Sequence[Recording], other: Sequence[Recording], phases: Sequence[int], cost: Cost
    ) -> None:
        sides = [table(one, phases, ["calls"], cost) for one in (base, other)]
        both = sides[0].index.append(sides[1].index)
        functions, cells = (dropped(both, levels).sort_values() for levels in (CELL, FUNCTION))
        asked = [calls(one, phases).reindex(cells, fill_value=0.0).to_numpy().T for one in (base, other)]
        usual = asked[0].mean(axis=0)
        runs = [np.stack([spread(side[name], functions, cells) for name in side if name != "calls"]) for side in sides]
        # How often something is asked for is no unit cost: where seeds or guests differ in that, it is made the same.
        for side, often in zip(runs, asked, strict=True):
            both_ask = (often > 0) & (usual > 0)
            side *= np.where(both_ask, usual / np.where(both_ask, often, 1.0), 1.0)[:, None, :]
        self.functions = functions
        self.entries, entries_other = (spread(side["calls"], functions, cells) for side in sides)
        self.delta = runs[1].mean(axis=0) - runs[0].mean(axis=0)
        self.noise = np.maximum(*(np.ptp(one, axis=0) for one in runs))
        self.entered = np.flatnonzero(self.entries.sum(axis=1) > 0)
        share = runs[0].mean(axis=0).sum(axis=1)
        common = share[entries_other.sum(axis=1) > 0].sum()
        self.alike = bool(common >= ALIKE * share.sum())
        self.gone = (self.entries.sum(axis=1) > 0) & (entries_other.sum(axis=1) == 0)

    def pegs(self) -> tuple[Peg, ...]:
        """Peg each function that differs beyond what seeds move."""
        names = [function for _, function in self.functions.tolist()]
        sure = np.abs(self.delta) > self.noise
        sizes = np.abs(self.delta * sure).sum(axis=1)
        order = np.argsort(-sizes, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes[order]), NEARLY * sizes.sum())) + 1
        found = []
        for row in order[: enough if sizes.any() else 0].tolist():
            for unit, rows in self._pursued(row):
                found.append(Peg(names[row], tuple(names[one] for one in rows), unit, row, rows))
        return tuple(found)

    def _pursued(self, row: int) -> list[tuple[float, npt.NDArray[np.intp]]]:
        left, noise = self.delta[row].copy(), self.noise[row]
        whole = now = _beyond(left, noise)
        found: list[tuple[float, npt.NDArray[np.intp]]] = []
        while len(found) < PEGS and now > WORTH * whole:
            where = np.abs(left) > noise
            near = self.entered[self.entries[np.ix_(self.entered, np.flatnonzero(where))].any(axis=1)]
            units = _units(left, self.entries[near])
            scores = _beyond(left - units[:, None] * self.entries[near], noise)
            best = min([now, *scores.tolist()])
            if now - best < WORTH * whole:
                break
            alike = near[scores <= best + WORTH / 10 * whole]
            alike = np.array([row], dtype=np.intp) if row in alike else alike
            unit = float(units[np.isin(near, alike)].mean())
            after = left - unit * np.median(self.entries[alike], axis=0)
            if now - _beyond(after, noise) < WORTH * whole:  # each of them is as good, but not all together
                first = int(scores.argmin())
                alike, unit = near[[first]], float(units[first])
                after = left - unit * self.entries[alike[0]]
            left, now = after, _beyond(after, noise)
            found.append((unit, alike))
        return found


def _beyond(left: Floats, noise: Floats) -> Floats:
    """How much of a difference over all cells is more than seeds move."""
    found: Floats = np.maximum(np.abs(left) - noise, 0.0).sum(axis=-1)
    return found


def _units(left: Floats, entries: Floats) -> Floats:
    """The difference per entry, for each candidate: the median over its cells, each as heavy as its entries."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(entries > 0, left / entries, np.inf)
    order = np.argsort(ratio, axis=1)
    weight = np.take_along_axis(entries, order, axis=1)
    so_far = np.cumsum(weight, axis=1)
    middle = (so_far >= so_far[:, -1:] / 2).argmax(axis=1)
    found: Floats = np.take_along_axis(ratio, order, axis=1)[np.arange(len(ratio)), middle]
    return found
