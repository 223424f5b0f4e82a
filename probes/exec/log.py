"""The probe's event log, a piece at a time: a log of any length becomes the table EVENTS in little memory.

It is gone through twice: once for what occurs in it (``look``), as names and stacks are numbered by what is used and
nothing that cannot be may be written, and once for its events (``Log.batches``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from probes.events import EVENT_KINDS, EVENTS, HOWS
from probes.exec.files import AGAIN, FULL
from probes.exec.frames import NO_STACK
from profiler.errors import ProbeLoss

RECORD: Final = np.dtype([("after", "<u4"), ("name", "<u2"), ("kind", "u1"), ("how", "u1"), ("value", "<i8")])
"""struct record (plugin/events.h)."""
TIME, THREAD, STACK = 253, 254, 255
"""Kinds of records that are no events: what holds for those that follow."""
EVENT: Final = np.dtype([
    ("time", "<u8"), ("value", "<i8"), ("thread", "<u4"), ("stack", "<u4"), ("name", "<u2"), ("kind", "u1"),
    ("how", "u1"), ("vcpu", "u1"),
], align=True)  # fmt: skip
"""An event, with all that holds for it."""
CHUNK: Final = 1 << 20
"""Records that are in memory at a time: 16 MB of the log, and the row group that they become."""
MOST: Final = 1 << 62
_FEW_WAKES: Final = 20

Raw = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Seen:
    """What occurs in a log; each array is sorted."""

    names: npt.NDArray[np.uint16]
    stacks: npt.NDArray[np.uint32]
    """The nodes of call stacks; without them, none."""
    waited: npt.NDArray[np.int64]
    """The addresses of locks that were waited for."""
    woken_run: bool
    """Whether most threads that were woken did run; if not, what was taken for a thread at wake-ups is none."""


def look(pieces: Iterable[Raw]) -> Seen:
    """Go through a log.  Raises ``ProbeLoss`` for an event that cannot be."""
    names = np.zeros(1 << 16, dtype=bool)
    stacks: Any = np.zeros(0, dtype=np.uint32)
    waited: Any = np.zeros(0, dtype=np.int64)
    ran = waited
    woken = pd.Series(dtype=np.int64)  # how often, by thread
    for piece in pieces:
        _check(piece)
        names[piece["name"]] = True
        stacks = _more(stacks, piece["stack"])
        waited = _more(waited, _values(piece, "lock-contended"))
        ran = _more(_more(ran, piece["thread"]), _values(piece, "switch"))
        woken = woken.add(pd.Series(_values(piece, "wake")).value_counts(), fill_value=0)
    by_what_runs = float(woken[np.isin(woken.index, ran)].sum())
    few = float(woken.sum()) < _FEW_WAKES
    used = np.flatnonzero(names).astype(np.uint16)
    return Seen(used, stacks[stacks != NO_STACK], waited, few or by_what_runs / float(woken.sum()) > 0.5)


def _check(piece: Raw) -> None:
    if len(piece) and (
        piece["kind"].max() >= len(EVENT_KINDS)
        or piece["how"].max() >= len(HOWS)
        or piece["vcpu"].max() >= 1 << 7
        or piece["time"].max() >= MOST
        or piece["thread"].max() >= 1 << 31
    ):
        raise ProbeLoss("events.bin has an event that cannot be", hint=AGAIN)


def _values(piece: Raw, kind: str) -> Raw:
    values: Raw = piece["value"][piece["kind"] == EVENT_KINDS.index(kind)]
    return values


def _more(known: Any, column: Raw) -> Any:
    """The union of both, sorted; a column has many events and few values."""
    return np.union1d(known, pd.unique(np.ascontiguousarray(column)).astype(known.dtype))


@dataclass(frozen=True)
class Log:
    """The events of all vCPUs, each of which has a file of its own, in order of time."""

    files: Sequence[tuple[Path, int]]
    """With how many whole records are in it."""
    ordered: bool = True
    """Whether each file is in order of time: of several they are merged then, and else sorted in memory, whole."""

    @classmethod
    def at(cls, out: Path, lost: Sequence[int]) -> Log:
        """The log in a probe's directory, given how many events of each vCPU could not be written.

        The last event that could is cut then, and is one of those.  Raises ``ProbeLoss`` if a file is missing, or cut
        where none was lost.
        """
        files = []
        for vcpu, count in enumerate(lost):
            path = out / (f"events.bin.{vcpu}" if vcpu else "events.bin")
            size = path.stat().st_size if path.exists() else -1
            if size < 0 or (size % RECORD.itemsize and not count):
                raise ProbeLoss(f"{path.name} is missing or cut short", hint=FULL)
            files.append((path, size // RECORD.itemsize))
        ordered = len(files) == 1 or all(_ordered(_read(path, count, CHUNK, 0)) for path, count in files)
        return cls(files, ordered)

    def pieces(self, chunk: int = CHUNK) -> Iterator[Raw]:
        """The events, at most some ``chunk`` of them at a time."""
        share = max(1, chunk // len(self.files))
        logs = [_read(path, count, share, vcpu) for vcpu, (path, count) in enumerate(self.files)]
        if len(logs) == 1:
            return logs[0]
        if self.ordered:
            return merge(logs)
        whole = np.concatenate([np.zeros(0, dtype=EVENT), *(piece for one in logs for piece in one)])
        return iter([whole[np.argsort(whole["time"], kind="stable")]] if len(whole) else [])

    def batches(
        self, names: Mapping[int, str], stacks_of: Callable[[Raw], Raw] | None, chunk: int = CHUNK
    ) -> Iterator[pa.RecordBatch]:
        """The table EVENTS, some ``chunk`` rows at a time: all have the same dictionaries.

        ``names`` are those of all numbers that occur, ``stacks_of`` gives the frames of the probe's nodes.
        """
        place = np.zeros(1 << 16, dtype=np.int16)
        place[list(names)] = np.arange(len(names))
        words = {name: pa.array(list(of), pa.string())
                 for name, of in (("kind", EVENT_KINDS), ("name", names.values()), ("how", HOWS))}  # fmt: skip
        for piece in self.pieces(chunk):
            stacks = stacks_of(piece["stack"]) if stacks_of else np.full(len(piece), -1)
            columns = {**{name: piece[name] for name in EVENTS.names}, "name": place[piece["name"]], "stack": stacks}
            arrays = [_array(columns[field.name], field.type, words.get(field.name)) for field in EVENTS]
            yield pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def _array(column: Raw, kind: pa.DataType, words: pa.Array | None) -> pa.Array:
    """A column of that type; of ``words`` it has the numbers."""
    numbers = kind if words is None else kind.index_type
    array = pa.array(column.astype(numbers.to_pandas_dtype()))
    return array if words is None else pa.DictionaryArray.from_arrays(array, words)


def _read(path: Path, count: int, chunk: int, vcpu: int) -> Iterator[Raw]:
    """Give a vCPU's events from its file, of which the first ``count`` records are whole; no piece is empty."""
    holds = {TIME: 0, THREAD: 0, STACK: int(NO_STACK)}
    # Read, not mapped: pages of a mapped file count as the process's memory.
    with path.open("rb") as file:
        while count > 0:
            records = np.fromfile(file, dtype=RECORD, count=min(chunk, count))
            if not len(records):
                raise ProbeLoss(f"{path.name} is missing or cut short", hint=AGAIN)
            count -= len(records)
            piece = _events(records, holds, vcpu)
            if len(piece):
                yield piece


def _events(records: Raw, holds: dict[int, int], vcpu: int) -> Raw:
    """Give the events among records; ``holds`` is what held before them, and becomes what holds behind them."""
    context = np.flatnonzero(records["kind"] >= TIME)
    said, behind = records[context], context - np.arange(len(context))  # how many events are before each of them
    if len(context):
        records = records[records["kind"] < TIME]
    piece = np.empty(len(records), dtype=EVENT)
    for field in ("value", "name", "kind", "how"):
        piece[field] = records[field]
    piece["vcpu"] = vcpu
    time = np.cumsum(records["after"], dtype=np.int64)
    for kind, field, most in ((THREAD, "thread", 1 << 32), (STACK, "stack", 1 << 32), (TIME, "time", MOST)):
        values, at = said["value"][said["kind"] == kind], behind[said["kind"] == kind]
        if len(values) and (values.min() < 0 or values.max() >= most):
            raise ProbeLoss("events.bin has an event that cannot be", hint=AGAIN)
        if kind == TIME:  # what is said is what it is there, with all that the events before came later
            values = values - np.concatenate([[0], time])[at]
        known = np.concatenate([[holds[kind]], values])
        holds[kind] = int(known[-1])
        each = np.repeat(known, np.diff(at, prepend=0, append=len(records))) if len(at) else known[0]
        piece[field] = time + each if kind == TIME else each
    holds[TIME] += int(time[-1]) if len(time) else 0
    return piece


def merge(logs: Sequence[Iterator[Raw]]) -> Iterator[Raw]:
    """Logs, each in order of time, as one: of events of the same time those of the first log come first."""
    held = [np.zeros(0, dtype=EVENT) for _ in logs]
    open_ = set(range(len(logs)))
    while open_:
        # What is before the earliest end of what is held is complete; a log that ends there has to go on first.
        bound = min((int(held[n]["time"][-1]) if len(held[n]) else -1) for n in open_)
        for n in sorted(open_):
            if not len(held[n]) or int(held[n]["time"][-1]) == bound:
                piece = next(logs[n], None)
                if piece is None:
                    open_.remove(n)
                else:
                    held[n] = np.concatenate([held[n], piece])
        if open_:
            bound = min(int(held[n]["time"][-1]) for n in open_)
            cuts = [int(np.searchsorted(one["time"], np.uint64(bound))) for one in held]
        else:
            cuts = [len(one) for one in held]
        both = np.concatenate([one[:cut] for one, cut in zip(held, cuts, strict=True)])
        held = [one[cut:] for one, cut in zip(held, cuts, strict=True)]
        if len(both):
            yield both[np.argsort(both["time"], kind="stable")]


def _ordered(pieces: Iterable[Raw]) -> bool:
    last = np.uint64(0)
    for piece in pieces:
        times = piece["time"]
        if times[0] < last or bool((times[1:] < times[:-1]).any()):
            return False
        last = times[-1]
    return True
