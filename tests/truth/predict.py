"""What an app costs on another guest: how often it enters each function there, times what the tour says of an entry.

Known are what the tour (the *units*) costs on both guests, what the app costs on the base, and how often it enters each
function on both.  What it costs on the other guest is foretold from these.  A call of an operation would be too coarse
a unit: a ``write`` fills one page or four, wakes somebody or not; a function's entries say which.

An entry costs what it does somewhere, so the question is where to look.  For each operation of each phase of the app,
those of the tour are ordered by how alike the two are in what they enter on the other guest; a function's cost is taken
from the first that enters it, and if there are any, from the first in which it costs the same on the base as it does in
the app, so that it has taken the same path there.  Kernels that share their functions are told apart from the app's own
cost on the base: each entry costs more by what it costs more in the tour, and where the tour enters a function more
often on the other guest, what is entered more often costs what that does.  Other kernels have nothing in common but
what was asked of them: there an entry costs what it does in the tour, and nothing else is known.

What is not foretold: what the tour does not know well enough (``KNOWN``), and on another kernel what it does not do
nearly the same (``NEAR``).  How far what is foretold may be off, the tour says of itself: each of its phases is
foretold from all others (``doubt``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.comparable import check_comparable
from analysis.ledger import Cost
from analysis.split import Floats
from probes.recording import Recording
from profiler.errors import NotComparable
from tests.truth.cells import CELL, FUNCTION, check_same, dropped, good, spread, table

if TYPE_CHECKING:
    import pandas as pd

KNOWN: Final = 0.9
"""Of what an operation executes, this share is in functions that the units enter, or it is not foretold: what is
unknown of it may be off by all that it is, and a tenth is what a prediction may be off by."""
NEAR: Final = 0.01
"""One minus the cosine of two vectors of entries: operations that are closer do the same, nearly."""
SAME: Final = 0.1
"""Entries, and what an entry costs, are the same up to this share."""
ALIKE: Final = 0.5
"""Kernels of which the base spends this share of its instructions in functions that the other enters too are alike."""


@dataclass(frozen=True)
class Prediction:
    """What an app would cost on the other guest, over all its phases, mean over runs; nothing is per op.

    ``operations`` has a row per (phase, operation) that the app asks both guests for: ``cost`` on the base;
    ``predicted`` on the other guest; ``counts``, the same if every entry cost what it costs the app on the base, and
    what the app never enters there cost nothing; ``instructions`` on the base, ``known``, the share of the instructions
    in functions that the units enter, on the guest where it is less; ``apart``, how far the nearest of the units is;
    and ``foretold``, whether enough is known.
    """

    operations: pd.DataFrame
    alike: bool  # whether the kernels are
    doubt: float  # what unit costs of the tour make of a difference may be off by this share of it

    @property
    def foretold(self) -> pd.DataFrame:
        """The operations that are foretold."""
        return self.operations[self.operations["foretold"]]

    @property
    def unsure(self) -> float:
        """How far what is foretold may be off, all operations together."""
        by_units = self.foretold["predicted"] - self.foretold["counts"]
        return self.doubt * abs(float(by_units.sum()))


@dataclass(frozen=True)
class Costs:
    """What functions (rows) cost in operations (columns) of one guest: mean over runs, and how far seeds move it."""

    entries: Floats
    cost: Floats
    moved: Floats

    @property
    def unit(self) -> Floats:
        """What an entry costs; not a number where there is none."""
        return self.cost / np.where(self.entries > 0, self.entries, np.nan)

    def only(self, columns: Any) -> Costs:
        """Some of the operations."""
        return Costs(self.entries[:, columns], self.cost[:, columns], self.moved[:, columns])


def predict(units: Sequence[Sequence[Recording]], app: Sequence[Sequence[Recording]], cost: Cost) -> Prediction:
    """Foretell what ``app`` costs on the other guest from ``units``; both were recorded on the base, then on the other.

    Of the app on the other guest only its entries are used, and how its instructions are divided between functions that
    the units know and others.

    Raises ``NotComparable`` if recordings are not, or if an app was recorded on another kernel than the units, or in
    another way.
    """
    import pandas as pd

    for side in (*units, *app):
        check_comparable(side)
    for known, asked in zip(units, app, strict=True):
        check_same(known[0], asked[0])
    tables = [[table(runs, good(runs), ["calls", "instructions"], cost) for runs in sides] for sides in (units, app)]
    if any(one.empty for side in tables for one in side):
        raise NotComparable("there is no phase to learn from, or none to foretell", hint="See `weaklink verify`.")
    functions = _all(tables[0] + tables[1], CELL)
    of_units = _all(tables[0], FUNCTION)
    both = dropped(tables[1][0].index, FUNCTION).intersection(dropped(tables[1][1].index, FUNCTION))
    base, other = (_costs(one, functions, of_units) for one in tables[0])
    own, theirs = (_costs(one, functions, both) for one in tables[1])
    shares = [spread(one["instructions"], functions, both) for one in tables[1]]
    whole = [share.sum(axis=0) for share in shares]
    knows = [share[one.entries.any(axis=1)].sum(axis=0) / np.where(total > 0, total, 1.0)
             for one, share, total in zip((base, other), shares, whole, strict=True)]  # fmt: skip
    alike = _alike(tables[0][0], other, functions)
    cells = pd.DataFrame({"cost": own.cost.sum(axis=0), "instructions": whole[0]}, index=both)
    cells["known"] = np.minimum(*knows) if alike else knows[1]
    if not alike:  # the same name is another function
        base, own = (replace(one, entries=0 * one.entries, cost=0 * one.cost) for one in (base, own))
    near = apart(other.entries, theirs.entries)
    cells["predicted"] = foretell(base, other, own, theirs.entries, near).sum(axis=0)
    cells["counts"] = np.nansum(own.unit * theirs.entries, axis=0)
    cells["apart"] = near.min(axis=0)
    cells["foretold"] = (cells["known"] >= KNOWN) & (alike | (cells["apart"] <= NEAR))
    return Prediction(cells, alike, doubt(base, other, of_units.get_level_values("phase").to_numpy()))


def foretell(base: Costs, other: Costs, own: Costs, entries: Floats, near: Floats) -> Floats:
    """Foretell what functions (rows) cost in operations of an app (columns) that enter them ``entries`` times.

    ``base`` and ``other`` are the units, ``own`` is the app on the base, and ``near`` says how far each operation of
    the units (rows) is from each of the app (columns).
    """
    found = np.where(own.entries > 0, np.nan_to_num(own.unit) * entries, own.cost)  # what the units never enter
    units, units_base, units_own = other.unit, base.unit, own.unit
    rows = np.arange(len(entries))
    for column, order in enumerate(np.argsort(near, axis=0, kind="stable").T):
        now, before = entries[:, column], own.entries[:, column]
        entered = other.entries[:, order] > 0
        usual = units_own[:, [column]]
        same = entered & (np.abs(units_base[:, order] - usual) <= SAME * usual)
        at = rows, order[np.where(same.any(axis=1), same.argmax(axis=1), entered.argmax(axis=1))]
        more = other.entries[at] - base.entries[at]
        grown = np.abs(more) > SAME * np.maximum(other.entries[at], base.entries[at])
        each = (other.cost[at] - base.cost[at]) / np.where(grown, more, 1.0)
        dearer = units[at] - units_base[at]
        moved = np.maximum(other.moved[at] / other.entries[at].clip(1), base.moved[at] / base.entries[at].clip(1))
        dearer = np.where(np.abs(dearer) > moved, dearer, 0.0)
        told = np.where(grown, own.cost[:, column] + (now - before) * each,
                        now * (np.where(before > 0, usual[:, 0], units_base[at]) + dearer))  # fmt: skip
        known = entered.any(axis=1) & (now > 0)
        found[known, column] = np.maximum(told, 0.0)[known]
    return found


def doubt(base: Costs, other: Costs, phases: Any) -> float:
    """How far what unit costs make of a difference may be off, as a share of it.

    Each operation of the units, whose ``phases`` are given, is foretold from all other phases.  Of those that would be
    foretold of an app, it is the median, each as heavy as what unit costs make of it, as a share of what its phase
    costs.  1 if there are none, or if unit costs make nothing of anything.
    """
    there = (base.cost + other.cost + other.entries).any(axis=1)
    base, other = (Costs(one.entries[there], one.cost[there], one.moved[there]) for one in (base, other))
    alike = base.cost.any()
    off, made = [], []
    for phase in np.unique(phases):
        left, rest = phases == phase, phases != phase
        own, entries, whole = base.only(left), other.entries[:, left], other.cost[:, left].sum(axis=0)
        all_of_it = max(float(whole.sum()), 1.0)
        near = apart(other.entries[:, rest], entries)
        told = foretell(base.only(rest), other.only(rest), own, entries, near).sum(axis=0)
        known = other.cost[np.ix_(other.entries[:, rest].any(axis=1), left)].sum(axis=0)
        chosen = (whole > 0) & (known >= KNOWN * whole) & (alike | (near.min(axis=0) <= NEAR))
        off.append(np.abs(told - whole)[chosen] / all_of_it)
        made.append(np.abs(told - np.nansum(own.unit * entries, axis=0))[chosen] / all_of_it)
    wrong, weight = np.concatenate(off), np.concatenate(made)
    wrong, weight = wrong[weight > 0], weight[weight > 0]
    if not len(weight):
        return 1.0
    return float(np.quantile(wrong / weight, 0.5, weights=weight, method="inverted_cdf"))


def apart(one: Floats, other: Floats) -> Floats:
    """How far columns of entries are from each other: one minus the cosine, a row per column of ``one``."""
    lengths = [np.linalg.norm(entries, axis=0) for entries in (one, other)]
    units = [entries / np.where(length > 0, length, 1.0)
             for entries, length in zip((one, other), lengths, strict=True)]  # fmt: skip
    found: Floats = (1 - units[0].T @ units[1]).clip(0)
    return found


def _all(tables: Sequence[pd.DataFrame], levels: Sequence[str]) -> pd.Index[Any]:
    """All that is in the index of some tables, but for some of its levels."""
    found = dropped(tables[0].index, levels)
    for one in tables[1:]:
        found = found.union(dropped(one.index, levels))
    return found


def _costs(rows: pd.DataFrame, functions: pd.Index[Any], cells: pd.Index[Any]) -> Costs:
    seeds = [name for name in rows if name not in ("calls", "instructions")]
    runs = np.stack([spread(rows[seed], functions, cells) for seed in seeds])
    return Costs(spread(rows["calls"], functions, cells), runs.mean(axis=0), np.ptp(runs, axis=0))


def _alike(base: pd.DataFrame, other: Costs, functions: pd.Index[Any]) -> bool:
    share = spread(base["instructions"], functions, dropped(base.index, FUNCTION)).sum(axis=1)
    return bool(share[other.entries.any(axis=1)].sum() >= ALIKE * share.sum())
