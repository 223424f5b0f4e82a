"""From cells to findings: cells that are one cause are merged, and the fewest that explain the difference are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.align import CELL, Cells
from analysis.causes import Evidence
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
"""Pieces that are looked at, the largest differences first; a tour of 25 phases has a few thousand."""
MINOR: Final = 0.02
"""Causes below this share of the largest are not listed, nor functions below this share of their finding named."""
FUNCTIONS: Final = 8
"""Functions named per finding."""
INSTEAD: Final = 3
"""Functions named that the guest which executes less has in their place."""
NOTHING: Final = 0.005
"""A cause of less than this per op, which would be shown as 0.00, is none."""


Companion = Callable[[Key], float]
"""The weighted difference of the other cost of a function of a (phase, operation, layer)."""


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
    layers: tuple[tuple[str, float], ...]  # each with its part of the difference, largest first
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
    cells: tuple[Key, ...]  # with their functions
    other_cost: float  # how much the other cost (bytes or instructions) of the same cells changed
    certainty: Certainty = "certain"
    instead: tuple[Function, ...] = ()  # what only the guest that executes less has there, largest first
    places: tuple[Place, Place] = ("kernel", "kernel")  # where the operations are answered, base and other
    first: tuple[float, float] = (0.0, 0.0)  # the shares of it in the first of ``phases``, and of ``operations``
    evidence: tuple[Evidence, ...] = ()  # why it is more than cells of one layer
    costly: tuple[Costly, ...] = ()  # costly instructions of the same cells, where they differ
    modelled: tuple[Modelled, ...] = ()  # cycles of the same cells, on each machine
    sentence: str = ""
    note: str = ""  # where else one of the guests answers the operations, and what else differs there, in short
    alone: float = 0.0  # what the whole would cost the other guest with this finding as in the base
    together: float = 0.0  # and with all findings up to this one as in the base

    @property
    def layer(self) -> str:
        """The layer with the largest part of it."""
        return self.layers[0][0]

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
    rows = np.flatnonzero(np.isin(cells.below["cell"], rows))
    weights = weights[cells.below["cell"]]
    delta = cells.below["delta"] * weights
    groups = [(group, _change(cells, group, weights)) for group in causes(cells, rows, weights)]
    # Names break ties, so that the order of the rows decides nothing.
    groups.sort(key=lambda pair: (pair[1].verdict == "within seed spread", -abs(pair[1].delta),
                                  min(cells.keys(pair[0]))))  # fmt: skip
    smallest = MINOR * max((abs(change.delta) for _, change in groups), default=0.0)
    smallest = max(smallest, NOTHING * float(np.abs(weights[rows]).max(initial=0.0)))
    groups = [(group, change) for group, change in groups if abs(change.delta) >= smallest]
    kept = fewest([change.delta for _, change in groups], float(delta[rows].sum()))
    return tuple(_finding(cells, *one, weights, whole, companion) for one in groups[: max(kept, least)])


def _change(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats) -> Change:
    sides = [(runs[rows] * weights[rows, None]).sum(axis=0).tolist() for runs in (cells.runs.base, cells.runs.other)]
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


def causes(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats) -> list[npt.NDArray[np.intp]]:
    """Groups of rows of ``functions`` that are one cause: pieces of one direction with largely the same functions.

    A file's ``openat`` and ``close`` may both pay for one hook.  The largest piece leads; a piece joins the first group
    that it resembles, in functions of the same layers; an operation that is one piece is only like itself in other
    phases.  Pieces that are together below 0.5 % of all that moves are left out: no finding rests on them.
    ``weights`` are of all rows.
    """
    delta = cells.below["delta"] * weights
    numbers, piece = np.unique(cells.pieces.piece[rows], return_inverse=True)
    sizes = np.bincount(piece, weights=delta[rows], minlength=len(numbers))
    order = np.argsort(-np.abs(sizes), kind="stable")
    moved = np.cumsum(np.abs(sizes[order]))
    if not len(order) or moved[-1] == 0:
        return []
    order = order[: min(CELLS, int(np.searchsorted(moved, 0.995 * moved[-1])) + 1)]
    ends = np.cumsum(np.bincount(piece, minlength=len(numbers)))
    members = np.split(rows[np.argsort(piece, kind="stable")], ends[:-1])
    of_cell, names = cells.below["cell"], cells.below["function"]
    layers, asked = cells.columns["layer"], cells.columns["operation"]
    groups: list[tuple[list[npt.NDArray[np.intp]], dict[Name, float]]] = []
    # Which groups of a direction have a function: only those can resemble a piece.
    having: dict[tuple[bool, Name], list[int]] = {}
    for number in order.tolist():
        rising, mine = bool(sizes[number] > 0), members[number]
        only = str(asked[numbers[number]]) if {"elsewhere", "asked"} & {*cells.evidence(mine)} else ""
        mine = mine[delta[mine] != 0]
        named = zip(layers[of_cell[mine]].tolist(), names[mine].tolist(), delta[mine].tolist(), strict=True)
        material = _material((((only, layer, name), value) for layer, name, value in named), rising)
        near = {found for name in material for found in having.get((rising, name), ())}
        alike = (found for found in sorted(near) if _alike(material, groups[found][1]))
        into = next(alike, len(groups))
        if into == len(groups):
            groups.append(([], {}))
        found, functions = groups[into]
        found.append(members[number])
        for name, value in material.items():
            if name not in functions:
                having.setdefault((rising, name), []).append(into)
            functions[name] = functions.get(name, 0.0) + value
    return [np.sort(np.concatenate(found)) for found, _ in groups]


Name = tuple[str, str, str]
"""An operation, if nothing else is like it, and layer and function."""


def _alike(one: dict[Name, float], other: dict[Name, float]) -> bool:
    shared = one.keys() & other.keys()
    return _share(one, shared) >= ALIKE or _share(other, shared) >= ALIKE


def _material(functions: Iterable[tuple[Name, float]], rising: bool) -> dict[Name, float]:
    """The functions that make nine tenths of a piece's difference, in its own direction, with their differences."""
    sums: dict[Name, float] = {}
    for name, value in functions:
        if (value > 0) == rising:
            sums[name] = sums.get(name, 0.0) + value
    ordered = sorted(((value, name) for name, value in sums.items()), key=lambda pair: (-abs(pair[0]), pair[1]))
    enough = 0.9 * sum(abs(value) for value, _ in ordered)
    kept: dict[Name, float] = {}
    so_far = 0.0
    for value, name in ordered:
        if so_far >= enough:
            break
        kept[name] = value
        so_far += abs(value)
    return kept


def _share(functions: dict[Name, float], names: set[Name]) -> float:
    whole = sum(map(abs, functions.values()))
    return sum(abs(functions[name]) for name in names) / whole if whole else 0.0


def _finding(cells: Cells, rows: npt.NDArray[np.intp], change: Change, weights: Floats, whole: float,
             companion: Companion) -> Finding:  # fmt: skip
    weight, below = weights[rows], {name: values[rows] for name, values in cells.below.items()}
    cell = below["cell"]
    keys = cells.keys(rows)

    def total(name: str) -> float:
        return float((below[name] * weight).sum())

    def largest_first(column: str) -> tuple[tuple[tuple[Any, float], ...], float]:
        """The parts by a column of cells, and the share of the first: by the sum of what moves in each cell."""
        moved: dict[Any, dict[int, float]] = {}
        for value, number, size in zip(cells.columns[column][cell].tolist(), cell.tolist(),
                                       (below["delta"] * weight).tolist(), strict=True):  # fmt: skip
            sums = moved.setdefault(value, {})
            sums[number] = sums.get(number, 0.0) + size
        sizes = {value: sum(map(abs, sums.values())) for value, sums in moved.items()}
        ordered = sorted(sizes, key=lambda value: (-sizes[value], value))
        parts = tuple((value, sum(moved[value].values())) for value in ordered)
        return parts, sizes[ordered[0]] / (sum(sizes.values()) or 1.0)

    # The calls of an operation of a phase are counted once, in however many cells it is; nobody calls ``background``.
    columns = {name: cells.columns[name][cell] for name in (*CELL, "base_calls", "other_calls")}
    asked = zip(columns["phase"].tolist(), columns["operation"].tolist(), strict=True)
    first = {key: row for row, key in enumerate(asked)}
    once = [row for (_, operation), row in first.items() if operation != "background"] or [*first.values()]
    calls = [float((columns[name][once] * weight[once]).sum()) for name in ("base_calls", "other_calls")]
    changed = _functions(below, weight, change.delta > 0)
    (phases, in_phase), (operations, in_operation) = largest_first("phase"), largest_first("operation")
    named = [one for one in changed[:FUNCTIONS] if abs(one.delta) >= MINOR * abs(change.delta)] or changed[:1]
    places = [_place(of, (where[cell[once]] * weight[once, None]))
              for of, where in zip(calls, (cells.base_where, cells.other_where), strict=True)]  # fmt: skip
    return Finding(
        cost=cells.cost,
        phases=tuple(phase for phase, _ in phases),
        operations=tuple(operation for operation, _ in operations),
        first=(in_phase, in_operation),
        layers=largest_first("layer")[0],
        change=change,
        certainty=certainty(cells, rows, weights, change),
        share=change.delta / whole if whole else 0.0,
        count=total("count"),
        unit=total("unit"),
        structural=total("structural"),
        base_calls=calls[0],
        other_calls=calls[1],
        deferred=total("deferred"),
        functions=tuple(named),
        more_functions=len(changed) - len(named),
        cells=tuple(keys),
        other_cost=sum(companion(key) for key in keys),
        instead=tuple(_instead(changed, change.delta > 0)),
        places=(places[0], places[1]),
        evidence=cells.evidence(rows),
    )


def _place(calls: float, where: Floats) -> Place:
    """Who answers some operations, given a row of WHERE for each; the kernel, if they are called for nothing."""
    found = place(where.sum(axis=0).tolist())
    return "kernel" if found == "nowhere" and calls else found


def _instead(changed: Sequence[Function], rising: bool) -> list[Function]:
    """Of the functions that changed, those that the side which executes less has alone, where they are material."""
    alone = [one for one in changed if (one.other if rising else one.base) == 0 and (one.delta > 0) != rising]
    gained = sum(abs(one.delta) for one in changed if (one.delta > 0) == rising)
    return [one for one in alone[:INSTEAD] if abs(one.delta) >= MINOR * gained]


def _functions(below: Mapping[str, npt.NDArray[Any]], weight: Floats, rising: bool) -> list[Function]:
    """The functions that changed; one that goes the other way comes only after those that make the difference."""
    differ = np.flatnonzero(below["base"] != below["other"])
    sums: dict[str, list[float]] = {}
    for name, base, other in zip(below["function"][differ].tolist(), *((below[side] * weight)[differ].tolist()
                                 for side in ("base", "other")), strict=True):  # fmt: skip
        mine = sums.setdefault(name, [0.0, 0.0])
        mine[0] += base
        mine[1] += other
    found = [Function(name, base, other) for name, (base, other) in sums.items()]
    least = 1e-9 * max([1.0, *(abs(function.delta) for function in found)])
    found = [function for function in found if abs(function.delta) > least]
    return sorted(found, key=lambda one: ((one.delta > 0) != rising, -abs(one.delta), one.name))
