"""Who calls what only one side has: functions that are entered as often as ever, and pay for each call.

Both kinds of evidence are of instructions, as a call is executed where it stands.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.functions import EQUAL, OPERATIONS, ROUNDING, Functions, Ints, Mask, groups

APART: Final = 2.0
"""Somewhere there are so many times the calls for each of an operation than elsewhere: what all have tells nothing."""


def sites(rows: Functions, mine: Ints, piece: Ints) -> tuple[int, Ints] | None:
    """The piece of an operation that took the place of an instruction wherever it is called, and those who call it."""
    delta, noise = rows.cost.delta, rows.cost.noise
    new = mine[rows.more[mine] & rows.entered.alone[mine]]
    found = []
    for number, group in groups(piece[new]).items():
        for rising in (True, False):
            entered = new[group][(delta[new[group]] > 0) == rising]
            against = mine[rows.dearer[mine] & ((delta[mine] > 0) != rising)]
            calls = float(np.abs(rows.entered.delta[entered]).sum())
            lost = float(np.abs(delta[against]).sum())
            unsure = ROUNDING * calls + float(noise[against].sum())
            if calls > 0 and abs(lost - calls) <= unsure <= 5 * ROUNDING * calls:
                found.append((float(np.abs(delta[entered]).sum()), number, against))
    return max(found, key=lambda one: one[:2])[1:] if found else None


class Callers:
    """Which functions cost one whole number of instructions more for each call of one that only one side has.

    So it must be in several operations, and in none that enters the first as often as ever may it cost more than that.
    """

    def __init__(self, rows: Functions) -> None:
        self.rows = rows
        self.new = rows.more & rows.entered.alone
        self.callers, self.called = rows.numbered(rows.dearer), rows.numbered(self.new)
        self.agree: Mask = np.zeros((self.callers[0], self.called[0]), dtype=bool)
        if not self.agree.size:
            return
        cost, noise, dearer, changed = (rows.table(self.callers, values) for values in (
            rows.cost.delta, rows.cost.noise, rows.dearer, rows.entered.sure))  # fmt: skip
        calls, unsure, new = (rows.table(self.called, values) for values in (
            rows.entered.delta, rows.entered.noise, self.new))  # fmt: skip
        asked, once = rows.of_operation(rows.calls.most), rows.of_operation(rows.once)
        for one in np.flatnonzero((new > 0).sum(axis=1) >= OPERATIONS).tolist():
            both = (dearer > 0) & (changed == 0) & (new[one] > 0) & (asked > 0)
            largest = np.where(both, np.abs(cost), 0).argmax(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio, rate = (np.where(np.isfinite(some), some, 0) for some in (cost / calls[one], calls[one] / asked))
            each, rate = np.rint(ratio[np.arange(len(cost)), largest])[:, None], np.abs(rate)
            paid = each * calls[one]
            allowed = ROUNDING * np.maximum(np.abs(cost), np.abs(paid)) + noise + each * unsure[one] + EQUAL
            alike = both & (np.abs(cost - paid) <= allowed) & (np.abs(paid) > 2 * allowed)
            apart = np.where(alike, rate, 0).max(axis=1) >= APART * np.where(alike, rate, np.inf).min(axis=1)
            # Others may call it too, so that it pays for some calls only; but never for more than there are, and one
            # that the begin of a phase cuts.
            within = (np.abs(cost - paid / 2) <= np.abs(paid) / 2 + allowed + each * once) | (changed > 0)
            enough = alike.sum(axis=1) >= OPERATIONS
            self.agree[:, one] = (each[:, 0] >= 1) & enough & apart & within.all(axis=1)

    def joined(self, mine: Ints, piece: Ints) -> list[tuple[int, int]]:
        """The rows of an operation that call what only one side has, given its rows, and the piece of what they call.

        Of several, it is the piece that costs most.
        """
        rows = self.rows
        callers = mine[rows.dearer[mine] & (self.callers[1][mine] >= 0)]
        called = mine[self.new[mine] & (self.called[1][mine] >= 0)]
        pairs = self.agree[np.ix_(self.callers[1][callers], self.called[1][called])]
        found = []
        for row, agree in zip(callers[pairs.any(axis=1)].tolist(), pairs[pairs.any(axis=1)], strict=True):
            of = called[agree]
            sizes = {number: -np.abs(rows.cost.delta[of[ones]]).sum() for number, ones in groups(piece[of]).items()}
            found.append((row, min(sizes, key=lambda number: (sizes[number], number))))
        return [(row, number) for row, number in found if piece[row] != number]
