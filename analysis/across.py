"""What is one cause over several operations of a phase, where functions of both are not the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import numpy as np

from analysis.functions import EQUAL, ROUNDING, Functions, Ints, components, groups

Across = Literal["follows", "family"]

MOSTLY: Final = 0.5
"""A piece is of a family if this share of what goes its way in it is; and what is nobody's goes along with an operation
if this share of what moves there does."""


def across(rows: Functions, piece: Ints, asked: Collection[int], whole: Collection[int]
           ) -> list[tuple[list[int], Across]]:  # fmt: skip
    """Sets of pieces that are one cause, each with its evidence; the first is the one with which the others go.

    ``asked`` are pieces that are an operation which is called more or less often on one side, ``whole`` all that are an
    operation.
    """
    found: list[tuple[list[int], Across]] = []
    taken = {*whole}
    for phase in groups(rows.phase).values():
        joined = _following(rows, phase, piece, [one for one in asked if one in piece[phase]])
        found += [(one, "follows") for one in joined]
        taken |= {number for one in joined for number in one}
        found += [(one, "family") for one in _families(rows, phase[~np.isin(piece[phase], [*taken])], piece)]
    return found


def _following(rows: Functions, phase: Ints, piece: Ints, asked: Collection[int]) -> list[list[int]]:
    """With an operation, the pieces of nobody's that have a function which is entered once more for each more of it."""
    delta = rows.cost.delta[phase[rows.background[phase]]]
    rising = {way for way in (True, False) if np.abs(delta[(delta > 0) == way]).sum() > MOSTLY * np.abs(delta).sum()}
    nobodys = phase[rows.background[phase] & rows.more[phase]]
    moved = {number: float(rows.cost.delta[phase[piece[phase] == number]].sum())
             for number in np.unique(piece[nobodys]).tolist()}  # fmt: skip
    found: dict[int, list[int]] = {}
    largest_first = sorted(asked, key=lambda one: (-abs(rows.cost.delta[piece == one].sum()), one))
    for number in largest_first:
        (first,) = np.flatnonzero(piece == number)[:1]
        calls, delta = rows.calls.delta[first], rows.entered.delta[nobodys]
        if bool(calls > 0) not in rising:
            continue
        allowed = ROUNDING * abs(calls) + rows.entered.noise[nobodys] + rows.once[nobodys] + EQUAL
        along = np.unique(piece[nobodys[(np.abs(delta - calls) <= allowed) & (delta * calls > 0)]]).tolist()
        mine = [one for one in along if moved.pop(one, 0.0) * calls > 0]
        if mine:
            found[number] = mine
    return [[number, *mine] for number, mine in found.items()]


def _families(rows: Functions, phase: Ints, piece: Ints) -> list[list[int]]:
    """Pieces of several operations that go one way, mostly in functions of one family, which are entered as often.

    Those that are led by the same function are alike anyway.
    """
    named = phase[rows.cost.sure[phase] & (rows.family[phase] >= 0)]
    leading: dict[tuple[int, bool], list[int]] = {}
    for number, members in groups(piece[named]).items():
        delta = rows.cost.delta[named[members]]
        whole = rows.cost.delta[phase[piece[phase] == number]]
        rising = bool(whole.sum() > 0)
        delta, members = delta[(delta > 0) == rising], members[(delta > 0) == rising]
        sizes = {family: float(np.abs(delta[of]).sum()) for family, of in groups(rows.family[named[members]]).items()}
        for family, size in sizes.items():
            if size >= MOSTLY * np.abs(whole[(whole > 0) == rising]).sum():
                of = named[members][rows.family[named[members]] == family]
                order = np.lexsort((rows.function[of], -np.abs(rows.cost.delta[of])))
                leading.setdefault((family, rising), []).append(int(of[order[0]]))
    edges = []
    for ones in leading.values():
        for place, one in enumerate(ones):
            for other in ones[:place]:
                if rows.function[one] != rows.function[other] and _as_often(rows, one, other):
                    edges.append((int(piece[one]), int(piece[other])))
    return components(edges)


def _as_often(rows: Functions, one: int, other: int) -> bool:
    entered, noise = rows.entered.most, rows.entered.noise
    allowed = ROUNDING * max(entered[one], entered[other]) + noise[one] + noise[other]
    return bool(abs(entered[one] - entered[other]) <= allowed)
