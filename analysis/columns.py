"""A table of several recordings as arrays.

Names become numbers in the order of the names, so that sorting and adding up never looks at text.  A data frame per
recording would cost a hundred times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from probes.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """The rows of all recordings: ``run`` is the position of the recording, ``names`` are what codes stand for."""

    run: Ints
    values: Mapping[str, Ints]  # numbers, and of names the codes
    names: Mapping[str, Sequence[str]]  # of each column of names, sorted

    def where(self, rows: Mask) -> Columns:
        """Some of the rows."""
        return Columns(self.run[rows], {name: values[rows] for name, values in self.values.items()}, self.names)

    def coded(self, column: str, wanted: Collection[str]) -> Mask:
        """The rows that have one of some names in a column."""
        return np.array([name in wanted for name in self.names[column]], dtype=bool)[self.values[column]]

    def groups(self, keys: Sequence[str]) -> tuple[Ints, pd.MultiIndex]:
        """The group of each row by the columns ``keys``, and the index of all groups, sorted."""
        sizes = [len(self.names[key]) if key in self.names else int(self.values[key].max(initial=0)) + 1
                 for key in keys]  # fmt: skip
        found, group = np.unique(packed([self.values[key] for key in keys], sizes), return_inverse=True)
        levels = [self.names.get(key, range(size)) for key, size in zip(keys, sizes, strict=True)]
        return group, index_of(levels, unpacked(found, sizes), keys)

    def sums(self, column: str | Ints, group: Ints, groups: int, runs: int) -> npt.NDArray[np.float64]:
        """The sums of a column, exact below 2^53: a row per group and a column per run."""
        values = self.values[column] if isinstance(column, str) else column
        flat = np.bincount(group * runs + self.run, weights=values, minlength=groups * runs)
        return flat.astype(np.float64).reshape(groups, runs)


def packed(codes: Sequence[Ints], sizes: Sequence[int]) -> Ints:
    """One number for each row of codes, each below its size, in the same order."""
    return reduce(lambda so_far, one: so_far * one[1] + one[0], zip(codes, sizes, strict=True),
                  np.zeros(len(codes[0]), dtype=np.int64))  # fmt: skip


def unpacked(numbers: Ints, sizes: Sequence[int]) -> list[Ints]:
    """The codes again that make a number each."""
    codes: list[Ints] = []
    for size in reversed(sizes):
        numbers, code = np.divmod(numbers, max(size, 1))
        codes.insert(0, code)
    return codes


def index_of(levels: Sequence[Sequence[Any]], codes: Sequence[Ints], names: Sequence[str]) -> pd.MultiIndex:
    """An index from sorted names and the codes that stand for them."""
    import pandas as pd

    held: Any = [np.array(level, dtype=object if any(isinstance(one, str) for one in level) else np.int64)
                 for level in levels]  # fmt: skip
    given: Any = list(codes)
    return pd.MultiIndex(levels=held, codes=given, names=list(names), verify_integrity=False)


def joined(one: pd.Index[Any], other: pd.Index[Any]) -> tuple[list[list[Any]], list[Ints], Ints, Ints]:
    """The union of two ``pandas.MultiIndex``, sorted: its levels and codes, and where in it the rows of each are."""
    indexes = [cast("pd.MultiIndex", index) for index in (one, other)]
    levels = [
        sorted({*left.tolist(), *right.tolist()})
        for left, right in zip(*(index.levels for index in indexes), strict=True)
    ]
    sizes = [len(level) for level in levels]
    numbers = []
    for index in indexes:
        places = [{name: code for code, name in enumerate(level)} for level in levels]
        again = [np.array([place[name] for name in level.tolist()], dtype=np.int64)[codes]
                 for place, level, codes in zip(places, index.levels, index.codes, strict=True)]  # fmt: skip
        numbers.append(packed(again, sizes))
    union = np.union1d(*numbers)
    return levels, unpacked(union, sizes), np.searchsorted(union, numbers[0]), np.searchsorted(union, numbers[1])


def read(recordings: Sequence[Recording], table: str, columns: Sequence[str],
         shown: Mapping[str, Callable[[str], str]] | None = None) -> Columns:  # fmt: skip
    """Some columns of a table of several recordings; ``shown`` gives names another form, which may make them one."""
    import pyarrow as pa

    tables = [recording.table(table, columns) for recording in recordings]
    values: dict[str, Ints] = {}
    names: dict[str, list[str]] = {}
    for column in columns:
        chunks = [chunk for one in tables for chunk in one[column].chunks]
        if not pa.types.is_dictionary(tables[0][column].type):
            parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
            values[column] = np.concatenate([np.empty(0, dtype=np.int64), *parts]).astype(np.int64)
            continue
        form = (shown or {}).get(column, str)
        forms = [[form(name) for name in chunk.dictionary.to_pylist()] for chunk in chunks]
        names[column] = sorted(set().union(*forms))
        number = {name: code for code, name in enumerate(names[column])}
        coded = [np.array([number[name] for name in some], dtype=np.int64)[chunk.indices.to_numpy(zero_copy_only=False)]
                 for some, chunk in zip(forms, chunks, strict=True)]  # fmt: skip
        values[column] = np.concatenate([np.empty(0, dtype=np.int64), *coded])
    rows = np.array([one.num_rows for one in tables])
    return Columns(np.repeat(np.arange(len(tables)), rows), values, names)


def phases(recording: Recording, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of the table of phases, without the cost of a data frame."""
    return list(zip(*(recording.table("phases", columns)[column].to_pylist() for column in columns), strict=True))
