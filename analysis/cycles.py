"""Modelled cycles: counts of instructions times a price list, as a range.  Nothing here was measured in time.

A difference between two guests is a linear form in the prices.  One price holds on both sides, so its lowest and its
highest value are at the ends of each price, chosen by the sign of the *difference* in counts: two ranges may overlap
widely where the sign of their difference is certain all the same.  Formulas and limits are in ``docs/prices.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from analysis.ledger import GuestLedger, Key
from analysis.prices import CLASSES, INSTRUCTION, STRING_BYTES, PriceList
from analysis.split import Floats

NOT_WORK: Final = ("idle",)
"""Layers beside the emulator's (``ledger.LEFT_OUT``) that are no work of the guest: their cycles are waiting."""
NO_INSTRUCTION: Final = ("mmio",)
"""Classes that are an effect of an ordinary instruction, which is counted and priced as such too."""
EQUAL: Final = 1e-9
"""Counts that differ by a smaller share of their sum are equal: sums of two guests are formed in different orders."""

Sign = Literal["more", "fewer", "same", "depends on prices"]


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, either of which may be infinite."""

    low: float
    high: float


@dataclass(frozen=True)
class Decider:
    """The class whose price matters most for a sign that depends on prices, and from where on it decides alone.

    Below ``below`` and above ``above`` (cycles for one) the sign is certain, whatever the others cost; each is None if
    the class has no such price in its range.  Above, the guest that executes more of the class costs more.
    """

    name: str  # of CLASSES
    delta: float  # how many more the other executes
    below: float | None
    above: float | None


@dataclass(frozen=True)
class Modelled:
    """Two guests on one machine, in modelled cycles per whatever the counts were per.

    ``unlimited`` are the classes that occur and have no upper price, with the counts of base and other.
    """

    machine: str
    base: Range
    other: Range
    delta: Range
    sign: Sign
    decider: Decider | None  # where the sign depends on prices
    unlimited: Mapping[str, tuple[float, float]]


class Counts:
    """Counts per op of one guest, means over runs; a row per cell and function and a column for each class."""

    def __init__(self, ledger: GuestLedger) -> None:
        """Take the counts of what is compared from ``ledger``, which must know costly instructions."""
        if ledger.costly is None:
            raise ValueError(f"{ledger.spec} has no counts of costly instructions")
        self.rows: dict[Key, int] = {}
        parts: list[tuple[Key, int, float]] = []
        for cost, name in (("instructions", INSTRUCTION), ("rep_bytes", STRING_BYTES)):
            means = ledger.costs[cost].mean(axis=1)  # type: ignore[index]
            at = CLASSES.index(name)
            parts += [(key, at, value) for key, value in zip(means.index.tolist(), means.tolist(), strict=True)]
        for key, counts in ledger.costly.items():
            for name, runs in counts.items():
                if name not in CLASSES:
                    continue  # no word of ours: `weaklink verify` says so
                parts.append((key, CLASSES.index(name), float(runs.mean())))
                if name not in NO_INSTRUCTION:
                    parts.append((key, CLASSES.index(INSTRUCTION), -float(runs.mean())))
        parts = [part for part in parts if part[0][2] not in NOT_WORK]
        for key, _, _ in parts:
            self.rows.setdefault(key, len(self.rows))
        self.values = np.zeros((len(self.rows), len(CLASSES)))
        if parts:
            keys, columns, values = zip(*parts, strict=True)
            np.add.at(self.values, ([self.rows[key] for key in keys], list(columns)), values)

    def of(self, cells: Iterable[Key], scale: Mapping[int, float]) -> Floats:
        """The counts of some cells together, each times the scale of its phase: an entry for each of CLASSES."""
        chosen = [(self.rows[cell], scale[cell[0]]) for cell in cells if cell in self.rows]
        if not chosen:
            return np.zeros(len(CLASSES))
        rows, weights = zip(*chosen, strict=True)
        total: Floats = np.array(weights) @ self.values[list(rows)]
        return total

    def of_phases(self, scale: Mapping[int, float]) -> Floats:
        """The counts of all cells of some phases, each phase times its scale."""
        return self.of((key for key in self.rows if key[0] in scale), scale)


class Model:
    """Two guests on some machines."""

    def __init__(self, base: GuestLedger, other: GuestLedger, lists: Sequence[PriceList]) -> None:
        """Without counts of costly instructions on both sides nothing is modelled."""
        counted = base.costly is not None and other.costly is not None
        self._lists = lists
        self._sides = (Counts(base), Counts(other)) if counted and lists else None

    def of(self, cells: Sequence[Key], scale: Mapping[int, float]) -> tuple[Modelled, ...]:
        """Some cells, each times the scale of its phase, on each machine."""
        if self._sides is None:
            return ()
        base, other = (side.of(cells, scale) for side in self._sides)
        return on_each(base, other, self._lists)

    def of_phases(self, scale: Mapping[int, float]) -> tuple[Modelled, ...]:
        """All cells of some phases, each phase times its scale, on each machine."""
        if self._sides is None:
            return ()
        base, other = (side.of_phases(scale) for side in self._sides)
        return on_each(base, other, self._lists)


def bounds(counts: Floats, lows: Floats, highs: Floats) -> tuple[Floats, Floats]:
    """The lowest and the highest sum of ``counts`` (... x CLASSES, of either sign) times prices between their ends."""
    with np.errstate(invalid="ignore"):  # none of a class costs nothing, whatever its price
        least = np.where(counts == 0, 0.0, counts * np.where(counts > 0, lows, highs))
        most = np.where(counts == 0, 0.0, counts * np.where(counts > 0, highs, lows))
    return least.sum(axis=-1), most.sum(axis=-1)


def on_each(base: Floats, other: Floats, lists: Sequence[PriceList]) -> tuple[Modelled, ...]:
    """What two guests cost on each machine, given how many of each of CLASSES they execute."""
    lows, highs = (np.stack(ends) for ends in zip(*(prices.ends for prices in lists), strict=True))
    delta = difference(base, other)
    sides = np.stack([base, other, delta])
    least, most = bounds(sides[:, None, :], lows, highs)
    occurs = (base != 0) | (other != 0)
    found = []
    for at, prices in enumerate(lists):
        ranges = [Range(low, high) for low, high in zip(least[:, at].tolist(), most[:, at].tolist(), strict=True)]
        sign = _sign(ranges[2])
        without = np.flatnonzero(np.isinf(highs[at]) & occurs).tolist()
        found.append(Modelled(
            machine=prices.name,
            base=ranges[0],
            other=ranges[1],
            delta=ranges[2],
            sign=sign,
            decider=_decider(delta, lows[at], highs[at]) if sign == "depends on prices" else None,
            unlimited={CLASSES[column]: (float(base[column]), float(other[column])) for column in without},
        ))  # fmt: skip
    return tuple(found)


def modelled(base: Floats, other: Floats, prices: PriceList) -> Modelled:
    """The same on one machine."""
    return on_each(base, other, [prices])[0]


def difference(base: Floats, other: Floats) -> Floats:
    """Other minus base, 0 where they differ by rounding only."""
    delta: Floats = other - base
    return np.where(np.abs(delta) <= EQUAL * (np.abs(base) + np.abs(other)), 0.0, delta)


def _sign(delta: Range) -> Sign:
    if delta.low == delta.high == 0:
        return "same"
    # An end that is 0 itself is no doubt: the guest costs at least, or at most, as much.
    return "more" if delta.low >= 0 else "fewer" if delta.high <= 0 else "depends on prices"


def _decider(delta: Floats, lows: Floats, highs: Floats) -> Decider:
    """The class that leaves the widest range; of several without a limit the one that differs most."""
    with np.errstate(invalid="ignore"):
        width = np.where(delta == 0, 0.0, np.abs(delta) * (highs - lows))
    endless = np.isinf(width)
    at = int(np.argmax(np.where(endless, np.abs(delta), 0.0) if endless.any() else width))
    rest = delta.copy()
    rest[at] = 0.0
    # The sign turns where this class makes up for the rest, which is anywhere between its own ends.
    below, above = sorted(-float(end) / float(delta[at]) for end in bounds(rest, lows, highs))
    return Decider(
        name=CLASSES[at],
        delta=float(delta[at]),
        below=below if below > lows[at] else None,
        above=above if above < highs[at] and not math.isinf(above) else None,
    )
