"""Rows put together by keys: counts, sums, percentiles, without a row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.columns import packed, unpacked
from analysis.trace.window import Ints, Mask

PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
_SMALL: Final = 1 << 22


@dataclass(frozen=True)
class Groups:
    """``group`` has the group of each row; ``keys`` the codes of each group, one array per key; groups are sorted."""

    group: Ints
    keys: list[Ints]

    def __len__(self) -> int:
        return len(self.keys[0])

    @cached_property
    def counts(self) -> Ints:
        """Rows of each group."""
        return np.bincount(self.group, minlength=len(self)).astype(np.int64)

    def count(self, mask: Mask) -> Ints:
        """Rows of each group that are in ``mask``."""
        return np.bincount(self.group[mask], minlength=len(self)).astype(np.int64)

    def sums(self, values: npt.NDArray[Any], mask: Mask | None = None) -> Ints:
        """The sum of each group, exact below 2^53; of the rows in ``mask``."""
        group = self.group if mask is None else self.group[mask]
        weights = values if mask is None else values[mask]
        return np.rint(np.bincount(group, weights=weights, minlength=len(self))).astype(np.int64)

    def percentiles(self, values: Ints, mask: Mask | None = None) -> dict[str, list[int | None]]:
        """The values of each group at PERCENTILES (nearest rank: a value that is there); None for an empty group."""
        group = self.group if mask is None else self.group[mask]
        values = values if mask is None else values[mask]
        counts = np.bincount(group, minlength=len(self))
        order = _sorted(group, values, len(self))
        ends = np.cumsum(counts)
        found: dict[str, list[int | None]] = {}
        for name, share in PERCENTILES.items():
            rank = ends - counts + np.maximum(np.ceil(share * counts).astype(np.int64), 1) - 1
            found[name] = [int(order[place]) if count else None
                           for place, count in zip(rank.tolist(), counts.tolist(), strict=True)]  # fmt: skip
        return found

    def most(self, codes: Ints, mask: Mask) -> list[int | None]:
        """The code that most rows of each group have, of those in ``mask``; the lowest of several."""
        group, codes = self.group[mask], codes[mask]
        size = int(codes.max(initial=0)) + 1
        pairs, count = np.unique(packed([group, codes], [len(self), size]), return_counts=True)
        order = np.lexsort((-pairs, count))
        groups, found = unpacked(pairs[order], [len(self), size])
        best = np.full(len(self), -1, dtype=np.int64)
        best[groups] = found  # the last that is written is the most frequent
        return [code if code >= 0 else None for code in best.tolist()]


def known(figures: npt.NDArray[Any], there: npt.NDArray[Any]) -> list[Any]:
    """The figures of groups, None where there is nothing that they could be of."""
    return [figure if some else None for figure, some in zip(figures.tolist(), there.tolist(), strict=True)]


def grouped(keys: Sequence[npt.NDArray[Any]]) -> Groups:
    """The groups of rows by codes from 0."""
    codes = [np.asarray(key).astype(np.int64) for key in keys]
    sizes = [int(code.max(initial=0)) + 1 for code in codes]
    numbers = packed(codes, sizes)
    if np.prod([float(size) for size in sizes]) < _SMALL:
        there = np.bincount(numbers, minlength=1) > 0
        found = np.flatnonzero(there)
        group = (np.cumsum(there) - 1)[numbers]
    else:
        found, group = np.unique(numbers, return_inverse=True)
    return Groups(group.astype(np.int64), unpacked(found.astype(np.int64), sizes))


def _sorted(group: Ints, values: Ints, groups: int) -> Ints:
    """The values, by group and then by size."""
    if not len(values):
        return values
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span * max(groups, 1) < 1 << 62:  # one number for each pair: sorted much faster than two arrays
        numbers = group * span + (values - low)
        numbers.sort()
        numbers %= span
        numbers += low
        return numbers
    return values[np.lexsort((values, group))]
