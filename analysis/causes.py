"""Which functions differ for one cause, over layers and operations: what is pieced together, and on what evidence.

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
``callers``     If a function that is entered as often as ever costs, in several operations, one whole number of
                instructions more for each entry of one that only one side has, and nowhere more, it calls that.
``follows``     Of a phase: what nobody asks for goes with an operation that is ``asked`` more often, if it has a
                function that is entered as many times more, and most of what moves there goes that way.
``family``      Of a phase: functions of several operations belong together if they go the same way, are entered equally
                often, and are of one subsystem by the first word of their names, which no other layer's begin with.

All of it is the same with the sides exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from analysis.across import Across, across
from analysis.callers import Callers, sites
from analysis.functions import EQUAL, OPERATIONS, ROUNDING, Functions, Ints, Mask, components, groups
from analysis.split import Floats

Evidence = Literal["elsewhere", "asked", "calls", "sites", "callers"] | Across

TIMES: Final = 8
"""The largest whole number of entries of a function for one of another."""


@dataclass(frozen=True)
class Pieces:
    """The piece of each function of a cell, and why there is more than a part of one cell in it."""

    piece: Ints
    evidence: dict[int, tuple[Evidence, ...]]


def pieces(rows: Functions, whole: Mapping[int, Evidence], same_kernel: bool, instructions: bool) -> Pieces:
    """Piece together what is one cause within each phase; ``whole`` are operations that are as a whole, and why.

    Without ``same_kernel`` functions are not held against one another: their names say nothing then.
    """
    piece = rows.cell.copy()
    evidence: dict[int, tuple[Evidence, ...]] = {}
    agreeing = _Agreeing(rows) if same_kernel else None
    calling = Callers(rows) if same_kernel and instructions else None
    above = int(rows.cell.max(initial=-1)) + 1

    def seen(number: int, why: Evidence) -> None:
        evidence[number] = tuple(dict.fromkeys((*evidence.get(number, ()), why)))

    for operation, mine in groups(rows.operation).items():
        if operation in whole:
            piece[mine] = number = int(rows.cell[mine].min())
            seen(number, whole[operation])
            continue
        if agreeing is None or not rows.more[mine].any():
            continue
        for joined, rising in agreeing.cells(mine):
            inside = mine[np.isin(rows.cell[mine], joined)]
            away = inside[rows.dearer[inside] & ((rows.cost.delta[inside] > 0) != rising)]
            piece[inside] = joined[0]
            piece[away] = above + rows.cell[away]
            seen(joined[0], "calls")
        if calling is None:
            continue
        for row, number in calling.joined(mine, piece):
            piece[row] = number
            seen(number, "callers")
        called = sites(rows, mine, piece)
        if called is not None:
            number, callers = called
            piece[callers] = number
            seen(number, "sites")
    alone = [number for number, why in evidence.items() if {*why} & {"elsewhere", "asked"}]
    often = [number for number in alone if "asked" in evidence[number]]
    for numbers, why in across(rows, piece, often, alone) if same_kernel else ():
        piece[np.isin(piece, numbers)] = numbers[0]
        for number in numbers:
            for each in evidence.pop(number, ()) if number != numbers[0] else ():
                seen(numbers[0], each)
        seen(numbers[0], why)
    return Pieces(piece, evidence)


class _Agreeing:
    """Which functions are entered more often in one proportion wherever either of them is."""

    def __init__(self, rows: Functions) -> None:
        self.rows = rows
        numbers = count, self.number = rows.numbered(rows.more)
        delta, noise, more = (rows.table(numbers, values) for values in
                              (rows.entered.delta, rows.entered.noise, rows.more))  # fmt: skip
        once = rows.of_operation(rows.once)
        of = [_proportional(one, delta, noise, more > 0, once) for one in range(count)]
        self.agree, self.instead = (np.array([pair[which] for pair in of], dtype=bool).reshape(count, count)
                                    for which in (0, 1))  # fmt: skip

    def cells(self, mine: Ints) -> list[tuple[list[int], bool]]:
        """Sets of cells of an operation, given its rows, that have functions which agree; and the way these go."""
        rows = self.rows
        chosen = mine[rows.more[mine] & (self.number[mine] >= 0)]
        names, cells, rising = self.number[chosen], rows.cell[chosen], rows.cost.delta[chosen] > 0
        alone, along = rows.entered.alone[chosen], rising[:, None] == rising
        pairs = np.where(along, self.agree[np.ix_(names, names)],
                         self.instead[np.ix_(names, names)] & alone[:, None] & alone)  # fmt: skip
        near = np.nonzero(pairs & (cells[:, None] != cells))
        sets = components({(int(one), int(two)) for one, two in zip(*(cells[side] for side in near), strict=True)})
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
