"""From cells to findings: cells that are one cause are merged, and the fewest that explain the difference are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.align import CELL, Cells
from analysis.certainty import Certainty, certainty
from analysis.costly import Costly
from analysis.cycles import Modelled
from analysis.ledger import Cost, Key, Place, place
from analysis.split import Floats
from analysis.statistics import Change, spread

EXPLAINED: Final = 0.9
"""Findings stop when they explain this share of the difference."""
MOST: Final = 12
"""No list of findings is longer."""
ALIKE: Final = 0.5
"""Cells share a cause if this share of the one's difference is in functions that changed in the other too."""
CELLS: Final = 1000
"""Cells that are looked at, the largest differences first; a tour of 25 phases has a few thousand."""
MINOR: Final = 0.02
"""Causes below this share of the largest are not listed, nor functions below this share of their finding named."""
FUNCTIONS: Final = 8
"""Functions named per finding."""
INSTEAD: Final = 3
"""Functions named that the guest which executes less has in their place."""
NOTHING: Final = 0.005
"""A cause of less than this per op, which would be shown as 0.00, is none."""


Companion = Callable[[Key], float]
"""The weighted difference of the other cost of a (phase, operation, layer)."""


@dataclass(frozen=True)
class Function:
    """A function's part of a finding."""

    name: str
    base: float
    other: float

    @property
    def delta(self) -> float:
        """Other minus base."""
        return self.other - self.base


@dataclass(frozen=True)
class Finding:
    """One statement about a difference.

    Figures are per op when ``phases`` is the one phase being compared, and for all ops of all its phases otherwise.
    ``count + unit + structural`` is ``change.delta``.
    """

    cost: Cost
    phases: tuple[int, ...]
    operations: tuple[str, ...]  # largest part first
    layer: str
    change: Change
    share: float  # of the whole difference; negative if it goes the other way, above 1 if others make up for it
    count: float
    unit: float
    structural: float
    base_calls: float
    other_calls: float
    deferred: float  # the part of the difference that is work done later, on behalf of the operation (instructions)
    functions: tuple[Function, ...]  # largest difference first
    more_functions: int  # how many others changed
    cells: tuple[Key, ...]
    other_cost: float  # how much the other cost (bytes or instructions) of the same cells changed
    certainty: Certainty = "certain"
    instead: tuple[Function, ...] = ()  # what only the guest that executes less has there, largest first
    places: tuple[Place, Place] = ("kernel", "kernel")  # where the operations are answered, base and other
    first: tuple[float, float] = (0.0, 0.0)  # the shares of it in the first of ``phases``, and of ``operations``
    costly: tuple[Costly, ...] = ()  # costly instructions of the same cells, where they differ
    modelled: tuple[Modelled, ...] = ()  # cycles of the same cells, on each machine
    sentence: str = ""
    note: str = ""  # where else one of the guests answers the operations, and what else differs there, in short
    alone: float = 0.0  # what the whole would cost the other guest with this finding as in the base
    together: float = 0.0  # and with all findings up to this one as in the base

    @property
    def within_spread(self) -> bool:
        """Whether the seeds alone move it as much."""
        return self.change.verdict == "within seed spread"


def rank(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, companion: Companion, whole: float,
         least: int = 1) -> tuple[Finding, ...]:  # fmt: skip
    """The findings for some ``rows`` of ``cells``, each row times its weight (1 for per op, ops for totals).

    Their shares are of ``whole``.  There are at least ``least``, if there are as many that are worth it.

    What exceeds the seed spread comes first, then the larger difference.
    """
    delta = cells.columns["delta"] * weights
    groups = [(group, _change(cells, group, weights)) for group in causes(cells, rows, delta)]
    groups.sort(key=lambda pair: (pair[1].verdict == "within seed spread", -abs(pair[1].delta), pair[0].tolist()))
    smallest = MINOR * max((abs(change.delta) for _, change in groups), default=0.0)
    smallest = max(smallest, NOTHING * float(np.abs(weights[rows]).max(initial=0.0)))
    groups = [(group, change) for group, change in groups if abs(change.delta) >= smallest]
    kept = fewest([change.delta for _, change in groups], float(delta[rows].sum()))
    return tuple(_finding(cells, *one, weights, whole, companion) for one in groups[: max(kept, least)])


def _change(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats) -> Change:
    sides = [(runs[rows] * weights[rows, None]).sum(axis=0).tolist() for runs in (cells.base_runs, cells.other_runs)]
    return Change(*map(spread, sides, cells.seeds))


def fewest(deltas: Sequence[float], whole: float) -> int:
    """How many of ``deltas`` (in order) explain ``EXPLAINED`` of ``whole``, or of all that moves if much cancels out.

    At most ``MOST``; with deltas of one sign, largest first, no smaller set does it.
    """
    moved = sum(abs(delta) for delta in deltas)
    if moved == 0:
        return 0
    signed = absolute = 0.0
    for number, delta in enumerate(deltas[:MOST], start=1):
        signed += delta
        absolute += abs(delta)
        following = abs(deltas[number]) if number < len(deltas) else 0.0
        left = (1 - EXPLAINED) * abs(whole) * (1 + 1e-9)
        if (abs(whole - signed) <= left and following <= left) or absolute >= EXPLAINED * moved:
            return number
    return min(len(deltas), MOST)


def causes(cells: Cells, rows: npt.NDArray[np.intp], delta: Floats) -> list[npt.NDArray[np.intp]]:
    """Groups of rows that are one cause: the same layer, the same direction, and largely the same functions.

    A file's ``openat`` and ``close`` may both pay for one hook.  The largest cell leads; a cell joins the first group
    that it resembles.  Cells that are together below 0.5 % of all that moves are left out: no finding rests on them.
    """
    order = rows[np.argsort(-np.abs(delta[rows]), kind="stable")]
    sizes = np.abs(delta[order])
    if not len(order) or sizes.sum() == 0:
        return []
    order = order[: min(CELLS, int(np.searchsorted(np.cumsum(sizes), 0.995 * sizes.sum())) + 1)]
    layers, per_op = cells.columns["layer"], cells.columns["delta"]
    groups: list[tuple[list[int], dict[str, float]]] = []
    # Which groups of a layer and direction have a function: only those can resemble a cell.
    having: dict[tuple[str, bool, str], list[int]] = {}
    for row in order.tolist():
        rising, scale = bool(delta[row] > 0), delta[row] / per_op[row]
        mine = {name: value * scale for name, value in _material(cells.functions_of(row), rising).items()}
        near = {number for name in mine for number in having.get((layers[row], rising, name), ())}
        alike = (number for number in sorted(near) if _alike(mine, groups[number][1]))
        number = next(alike, len(groups))
        if number == len(groups):
            groups.append(([], {}))
        members, functions = groups[number]
        members.append(row)
        for name, value in mine.items():
            if name not in functions:
                having.setdefault((layers[row], rising, name), []).append(number)
            functions[name] = functions.get(name, 0.0) + value
    return [np.array(members, dtype=np.intp) for members, _ in groups]


def _alike(one: dict[str, float], other: dict[str, float]) -> bool:
    shared = one.keys() & other.keys()
    return _share(one, shared) >= ALIKE or _share(other, shared) >= ALIKE


def _material(functions: Iterable[tuple[str, float, float]], rising: bool) -> dict[str, float]:
    """The functions that make nine tenths of a cell's difference, in its own direction, with their differences."""
    ordered = sorted(((other - base, name) for name, base, other in functions if (other > base) == rising),
                     key=lambda pair: (-abs(pair[0]), pair[1]))  # fmt: skip
    enough = 0.9 * sum(abs(value) for value, _ in ordered)
    kept: dict[str, float] = {}
    so_far = 0.0
    for value, name in ordered:
        if so_far >= enough:
            break
        kept[name] = value
        so_far += abs(value)
    return kept


def _share(functions: dict[str, float], names: set[str]) -> float:
    whole = sum(map(abs, functions.values()))
    return sum(abs(functions[name]) for name in names) / whole if whole else 0.0


def _finding(cells: Cells, rows: npt.NDArray[np.intp], change: Change, weights: Floats, whole: float,
             companion: Companion) -> Finding:  # fmt: skip
    weight = weights[rows]
    column = {name: values[rows] for name, values in cells.columns.items()}
    keys = list(zip(*(column[name].tolist() for name in CELL), strict=True))

    def total(name: str) -> float:
        return float((column[name] * weight).sum())

    def largest_first(position: int) -> tuple[tuple[Any, ...], float]:
        sizes: dict[Any, float] = {}
        for key, size in zip(keys, np.abs(column["delta"] * weight).tolist(), strict=True):
            sizes[key[position]] = sizes.get(key[position], 0.0) + size
        ordered = sorted(sizes, key=lambda value: -sizes[value])
        return tuple(ordered), sizes[ordered[0]] / (sum(sizes.values()) or 1.0)

    # Cells of one operation in several phases have calls in each; in several layers of a phase, once.
    once = {key[:2]: row for row, key in enumerate(keys)}
    calls = [float(sum(column[name][row] * weight[row] for row in once.values())) for name in
             ("base_calls", "other_calls")]  # fmt: skip
    changed = _functions(cells, rows, weights, change.delta > 0)
    (phases, in_phase), (operations, in_operation) = largest_first(0), largest_first(1)
    named = [one for one in changed[:FUNCTIONS] if abs(one.delta) >= MINOR * abs(change.delta)] or changed[:1]
    return Finding(
        cost=cells.cost,
        phases=phases,
        operations=operations,
        first=(in_phase, in_operation),
        layer=str(column["layer"][0]),
        change=change,
        certainty=certainty(cells, rows, weights, change),
        share=change.delta / whole if whole else 0.0,
        count=total("count"),
        unit=total("unit"),
        structural=total("structural"),
        base_calls=calls[0],
        other_calls=calls[1],
        deferred=total("other_deferred") - total("base_deferred"),
        functions=tuple(named),
        more_functions=len(changed) - len(named),
        cells=tuple(keys),
        other_cost=sum(companion(key) for key in keys),
        instead=tuple(_instead(changed, change.delta > 0)),
        places=(_place(calls[0], (cells.base_where[rows] * weight[:, None])[list(once.values())]),
                _place(calls[1], (cells.other_where[rows] * weight[:, None])[list(once.values())])),
    )  # fmt: skip


def _place(calls: float, where: Floats) -> Place:
    """Who answers some operations, given a row of WHERE for each; the kernel, if they are called for nothing."""
    found = place(where.sum(axis=0).tolist())
    return "kernel" if found == "nowhere" and calls else found


def _instead(changed: Sequence[Function], rising: bool) -> list[Function]:
    """Of the functions that changed, those that the side which executes less has alone, where they are material."""
    alone = [one for one in changed if (one.other if rising else one.base) == 0 and (one.delta > 0) != rising]
    gained = sum(abs(one.delta) for one in changed if (one.delta > 0) == rising)
    return [one for one in alone[:INSTEAD] if abs(one.delta) >= MINOR * gained]


def _functions(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, rising: bool) -> list[Function]:
    """The functions that changed; one that goes the other way comes only after those that make the difference."""
    sums: dict[str, list[float]] = {}
    for row in rows.tolist():
        for name, base, other in cells.functions_of(row):
            mine = sums.setdefault(name, [0.0, 0.0])
            mine[0] += base * weights[row]
            mine[1] += other * weights[row]
    found = [Function(name, base, other) for name, (base, other) in sums.items()]
    least = 1e-9 * max([1.0, *(abs(function.delta) for function in found)])
    found = [function for function in found if abs(function.delta) > least]
    return sorted(found, key=lambda one: ((one.delta > 0) != rising, -abs(one.delta), one.name))
