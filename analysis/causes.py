"""Which functions of an operation differ for one cause, over its layers: what is pieced together, and on what evidence.

A cell (phase, operation, layer) is one piece unless something says otherwise:

``elsewhere``   An operation that one side does not ask for, or answers in another place (vDSO, libc), is one piece.
``asked``       Of two guests that run one kernel: an operation that one side asks for at least twice as often is one
                piece, if nearly all that moves in it goes that way.
``calls``       The same guests' functions that are entered more often on a side belong together if that is so in one
                proportion, a whole number, in every operation that was recorded: one leads to the other.  So do those
                of which only one side has each, if the one is entered as often as the other is not: it took its
                place.  The cells of an operation that have such functions are one piece; what surely goes the other
                way there, and is entered as often as ever, has no part in it.
``sites``       If the functions that surely go the other way in an operation lose, together, one instruction for each
                entry of functions that only one side has, they call them: a call took the place of an instruction.

All of it is the same with the sides exchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from analysis.split import Floats

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Evidence = Literal["elsewhere", "asked", "calls", "sites"]

OPERATIONS: Final = 3
"""Functions agree if they are entered more often in at least so many operations: in one, any two would."""
TIMES: Final = 8
"""The largest whole number of entries of a function for one of another."""
ROUNDING: Final = 0.02
"""Entries agree within this share, beside what seeds move, and what a phase's begin or end cuts."""
EQUAL: Final = 1e-9
"""Figures that differ by a smaller share are the same, divided otherwise."""
FUNCTIONS: Final = 400
"""Functions whose entries are looked at, the largest differences first."""


@dataclass(frozen=True)
class Sides:
    """A figure on two guests: a row per function of a cell, a column per run."""

    base: Floats
    other: Floats

    @cached_property
    def delta(self) -> Floats:
        """Other minus base, means over runs."""
        found: Floats = self.other.mean(axis=1) - self.base.mean(axis=1)
        return found

    @cached_property
    def noise(self) -> Floats:
        """What the seeds alone move, as in ``Change.noise``."""
        return np.maximum(np.ptp(self.base, axis=1), np.ptp(self.other, axis=1)) if len(self.base) else self.delta

    @cached_property
    def sure(self) -> Mask:
        """Whether it differs beyond what seeds move, as in ``Change.verdict``, if by one instruction of a thousand."""
        if not len(self.base):
            return np.zeros(0, dtype=bool)
        size = np.abs(self.delta)
        largest = np.maximum(np.abs(self.base.mean(axis=1)), np.abs(self.other.mean(axis=1)))
        apart = (self.base.max(axis=1) < self.other.min(axis=1)) | (self.other.max(axis=1) < self.base.min(axis=1))
        found: Mask = apart & (size > EQUAL * largest) & (size > self.noise)
        return found

    @cached_property
    def alone(self) -> Mask:
        """Whether one side has it and the other never."""
        found: Mask = self.base.any(axis=1) != self.other.any(axis=1)
        return found


@dataclass(frozen=True)
class Functions:
    """The functions of all cells of two guests, a row each."""

    operation: Ints  # number of its (phase, operation)
    cell: Ints  # number of its (phase, operation, layer)
    function: Ints  # number of its name
    once: Floats  # per op, what happens once in its phase
    cost: Sides
    entered: Sides

    @cached_property
    def more(self) -> Mask:
        """Those that differ surely, and are entered more or less often."""
        found: Mask = self.cost.sure & self.entered.sure
        return found

    @cached_property
    def dearer(self) -> Mask:
        """Those that differ surely, and are entered as often as on the other side."""
        found: Mask = self.cost.sure & ~self.entered.sure
        return found


@dataclass(frozen=True)
class Pieces:
    """The piece of each function of a cell, and why there is more than a part of one cell in it."""

    piece: Ints
    evidence: dict[int, tuple[Evidence, ...]]


def pieces(rows: Functions, whole: Mapping[int, Evidence], same_kernel: bool, instructions: bool) -> Pieces:
    """Piece together what is one cause within each operation; ``whole`` are those that are as a whole, and why.

    Without ``same_kernel`` functions are not held against one another: their names say nothing then.
    """
    piece = rows.cell.copy()
    evidence: dict[int, tuple[Evidence, ...]] = {}
    of_operation = _groups(rows.operation)
    agreeing = _Agreeing(rows) if same_kernel else None
    above = int(rows.cell.max(initial=-1)) + 1
    for operation, mine in of_operation.items():
        if operation in whole:
            piece[mine] = number = int(rows.cell[mine].min())
            evidence[number] = (whole[operation],)
            continue
        if agreeing is None or not rows.more[mine].any():
            continue
        for joined, rising in agreeing.cells(mine):
            inside = mine[np.isin(rows.cell[mine], joined)]
            away = inside[rows.dearer[inside] & ((rows.cost.delta[inside] > 0) != rising)]
            piece[inside] = joined[0]
            piece[away] = above + rows.cell[away]
            evidence[joined[0]] = ("calls",)
        called = _callers(rows, mine, piece) if instructions else None
        if called is not None:
            number, callers = called
            piece[callers] = number
            evidence[number] = (*evidence.get(number, ()), "sites")
    return Pieces(piece, evidence)


class _Agreeing:
    """Which functions are entered more often in one proportion wherever either of them is."""

    def __init__(self, rows: Functions) -> None:
        self.rows = rows
        changed = np.flatnonzero(rows.more)
        sizes = np.bincount(rows.function[changed], weights=np.abs(rows.cost.delta[changed]))
        names = np.flatnonzero(sizes)
        names = np.sort(names[np.argsort(-sizes[names], kind="stable")][:FUNCTIONS])
        self.number = np.full(int(rows.function.max(initial=-1)) + 1, -1, dtype=np.int64)
        self.number[names] = np.arange(len(names))
        operations, place = np.unique(rows.operation, return_inverse=True)
        known = np.flatnonzero(self.number[rows.function] >= 0)
        at = self.number[rows.function[known]], place[known]
        shape = len(names), len(operations)
        delta, noise, more = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        once = np.zeros(len(operations))
        once[place] = rows.once
        for table, values in ((delta, rows.entered.delta), (noise, rows.entered.noise), (more, rows.more)):
            np.add.at(table, at, values[known])
        of = [_proportional(one, delta, noise, more > 0, once) for one in range(len(names))]
        self.agree, self.instead = (np.array([pair[which] for pair in of], dtype=bool).reshape(len(names), len(names))
                                    for which in (0, 1))  # fmt: skip

    def cells(self, mine: Ints) -> list[tuple[list[int], bool]]:
        """Sets of cells of an operation, given its rows, that have functions which agree; and the way these go."""
        rows = self.rows
        chosen = mine[rows.more[mine] & (self.number[rows.function[mine]] >= 0)]
        names, cells, rising = self.number[rows.function[chosen]], rows.cell[chosen], rows.cost.delta[chosen] > 0
        alone, along = rows.entered.alone[chosen], rising[:, None] == rising
        pairs = np.where(along, self.agree[np.ix_(names, names)],
                         self.instead[np.ix_(names, names)] & alone[:, None] & alone)  # fmt: skip
        near = np.nonzero(pairs & (cells[:, None] != cells))
        sets = _components({(int(one), int(two)) for one, two in zip(*(cells[side] for side in near), strict=True)})
        paired = np.unique(near[0])
        sums = {cell: float(rows.cost.delta[chosen[paired]][cells[paired] == cell].sum()) for cell in cells.tolist()}
        return [(joined, sum(sums[cell] for cell in joined) > 0) for joined in sets]


def _proportional(one: int, delta: Floats, noise: Floats, more: Mask, once: Floats) -> tuple[Mask, Mask]:
    """The functions that are entered more often whenever ``one`` is, once or so many times; and once less often."""
    both = more & more[one]
    sums = (np.abs(delta[one]) * both).sum(axis=1), (np.abs(delta) * both).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.rint(np.nan_to_num(np.maximum(*sums) / np.minimum(*sums), posinf=TIMES + 1.0))
    first, second = (np.where(mine < theirs, times, 1.0)[:, None] for mine, theirs in (sums, sums[::-1]))
    left, right = first * delta[one], second * delta
    allowed = ROUNDING * np.maximum(np.abs(left), np.abs(right)) + first * noise[one] + second * noise
    allowed += np.maximum(first, second) * once + EQUAL
    enough = (both.sum(axis=1) >= OPERATIONS) & (times <= TIMES)
    agree: Mask = (np.abs(left - right) <= allowed).all(axis=1) & enough
    instead: Mask = (np.abs(left + right) <= allowed).all(axis=1) & enough & (times == 1)
    return agree, instead


def _callers(rows: Functions, mine: Ints, piece: Ints) -> tuple[int, Ints] | None:
    """The piece of an operation that took the place of an instruction wherever it is called, and those who call it."""
    delta, noise = rows.cost.delta, rows.cost.noise
    new = mine[rows.more[mine] & rows.entered.alone[mine]]
    found = []
    for number, group in _groups(piece[new]).items():
        for rising in (True, False):
            entered = new[group][(delta[new[group]] > 0) == rising]
            against = mine[rows.dearer[mine] & ((delta[mine] > 0) != rising)]
            calls = float(np.abs(rows.entered.delta[entered]).sum())
            lost = float(np.abs(delta[against]).sum())
            unsure = ROUNDING * calls + float(noise[against].sum())
            if calls > 0 and abs(lost - calls) <= unsure <= 5 * ROUNDING * calls:
                found.append((float(np.abs(delta[entered]).sum()), number, against))
    return max(found, key=lambda one: one[:2])[1:] if found else None


def _groups(numbers: Ints) -> dict[int, Ints]:
    """The positions of each number, in order."""
    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def _components(edges: Collection[tuple[int, int]]) -> list[list[int]]:
    """The connected sets of numbers, each sorted, given which are next to each other."""
    root: dict[int, int] = {}

    def find(one: int) -> int:
        while root.setdefault(one, one) != one:
            one = root[one]
        return one

    for one, two in sorted(edges):
        low, high = sorted((find(one), find(two)))
        root[high] = low
    sets: dict[int, list[int]] = {}
    for one in sorted(root):
        sets.setdefault(find(one), []).append(one)
    return list(sets.values())
