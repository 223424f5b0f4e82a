"""The functions of two guests side by side, as arrays: what is held against one another to find causes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.split import Floats
from analysis.statistics import beyond

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ROUNDING: Final = 0.02
"""Entries agree within this share, beside what seeds move, and what a phase's begin or end cuts."""
EQUAL: Final = 1e-9
"""Figures that differ by a smaller share are the same, divided otherwise."""
OPERATIONS: Final = 3
"""Functions agree if they do so in at least so many operations: in one, any two would."""
FUNCTIONS: Final = 400
"""Functions that are looked at, the largest differences first."""

_WORD: Final = re.compile(r"_*([A-Za-z0-9]+)_")


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
    def most(self) -> Floats:
        """The larger of the two sides, without their signs, means over runs."""
        found: Floats = np.maximum(np.abs(self.base.mean(axis=1)), np.abs(self.other.mean(axis=1)))
        return found

    @cached_property
    def noise(self) -> Floats:
        """What the seeds alone move, as in ``Change.noise``."""
        return np.maximum(np.ptp(self.base, axis=1), np.ptp(self.other, axis=1)) if len(self.base) else self.delta

    @cached_property
    def sure(self) -> Mask:
        """Whether it differs beyond what seeds move, if by one instruction of a thousand million."""
        if not len(self.base):
            return np.zeros(0, dtype=bool)
        ranges = (end for side in (self.base, self.other) for end in (side.min(axis=1), side.max(axis=1)))
        return beyond(self.delta, *ranges) & (np.abs(self.delta) > EQUAL * self.most)

    @cached_property
    def alone(self) -> Mask:
        """Whether one side has it and the other never."""
        found: Mask = self.base.any(axis=1) != self.other.any(axis=1)
        return found


@dataclass(frozen=True)
class Functions:
    """The functions of all cells of two guests, a row each."""

    phase: Ints
    operation: Ints  # number of its (phase, operation)
    cell: Ints  # number of its (phase, operation, layer)
    function: Ints  # number of its name
    family: Ints  # number of the (layer, first word of the name), if no other layer has names with it; else -1
    background: Mask  # whether its operation is nobody's
    once: Floats  # per op, what happens once in its phase
    calls: Sides  # of its operation, per op: a column each
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

    @cached_property
    def place(self) -> Ints:
        """The column that the operation of each row has in tables."""
        found: Ints = np.unique(self.operation, return_inverse=True)[1]
        return found

    def numbered(self, chosen: Mask) -> tuple[int, Ints]:
        """The number of names that some rows have, at most FUNCTIONS, and which of these each name is, or -1."""
        changed = np.flatnonzero(chosen)
        sizes = np.bincount(self.function[changed], weights=np.abs(self.cost.delta[changed]))
        names = np.flatnonzero(sizes)
        names = np.sort(names[np.argsort(-sizes[names], kind="stable")][:FUNCTIONS])
        number = np.full(int(self.function.max(initial=-1)) + 1, -1, dtype=np.int64)
        number[names] = np.arange(len(names))
        return len(names), number[self.function]

    def table(self, numbers: tuple[int, Ints], values: Floats | Mask) -> Floats:
        """The sums of some values of each row, by numbered name and operation."""
        count, number = numbers
        known = np.flatnonzero(number >= 0)
        found = np.zeros((count, int(self.place.max(initial=-1)) + 1))
        np.add.at(found, (number[known], self.place[known]), values[known])
        return found

    def of_operation(self, values: Floats) -> Floats:
        """What all rows of an operation have alike, by its column in tables."""
        found = np.zeros(int(self.place.max(initial=-1)) + 1)
        found[self.place] = values
        return found


def families(names: Sequence[str], function: Ints, layer: Ints) -> Ints:
    """The family of each row: its layer and the first word of its function's name, or -1.

    ``names`` are of functions, ``function`` and ``layer`` the numbers of each row's.  Kernels name the functions of a
    subsystem so (``racct_add``).  A word that functions of several layers begin with is none's (``do``, ``get``).
    """
    found = [match[1] if (match := _WORD.match(name)) else "" for name in names]
    words, word = np.unique(np.array(found, dtype=str), return_inverse=True)
    of_layers = np.zeros((len(words), int(layer.max(initial=-1)) + 1), dtype=bool)
    of_layers[word[function], layer] = True
    one = (of_layers.sum(axis=1) == 1) & (words != "")
    return np.where(one[word[function]], word[function], -1)


def groups(numbers: Ints) -> dict[int, Ints]:
    """The positions of each number, in order."""
    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def components(edges: Collection[tuple[int, int]]) -> list[list[int]]:
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
