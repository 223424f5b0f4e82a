"""The probe's event log, a piece at a time: a log of any length becomes the table EVENTS in little memory.

It is gone through twice: once for what occurs in it (``look``), as names and stacks are numbered by what is used and
nothing that cannot be may be written, and once for its events (``Log.batches``).
"""

from __future__ import annotations

import types
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
COLUMNS: Final[Mapping[str, type[np.generic]]] = types.MappingProxyType({
    "time": np.int64, "vcpu": np.int8, "thread": np.int32, "kind": np.int8, "name": np.uint16, "how": np.int8,
    "value": np.int64, "stack": np.uint32,
})  # fmt: skip
"""What is known of an event.  Kind, name and how are numbers, the stack is the probe's."""
CHUNK: Final = 1 << 20
"""Records that are in memory at a time: 16 MB of the log, and the row group that they become."""
MOST: Final = 1 << 62
MOST_VCPUS: Final = 1 << 7
_AT_FIRST: Final = {TIME: 0, THREAD: 0, STACK: int(NO_STACK)}
_BELOW: Final = {TIME: MOST, THREAD: 1 << 31, STACK: 1 << 32}
_LOOK: Final = 1 << 18  # that many records and what is made of them fit into the host's cache
_WHAT: Final = np.dtype([("after", "<u4"), ("what", "<u4"), ("value", "<i8")])  # name, kind and how in one
_PARTS: Final = np.dtype([("name", "<u2"), ("kind", "u1"), ("how", "u1")])  # and one after the other
_FEW_WAKES: Final = 20

Raw = np.ndarray[Any, Any]
Piece = dict[str, Raw]
"""Some events, as columns: see ``COLUMNS``."""


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
    """Go through the records of a log, in any order.  Raises ``ProbeLoss`` for an event that cannot be."""
    contended, switch, wake = (EVENT_KINDS.index(kind) for kind in ("lock-contended", "switch", "wake"))
    names = np.zeros(1 << 16, dtype=bool)
    values: dict[int, Any] = {kind: np.array([first]) for kind, first in _AT_FIRST.items()}
    values |= {kind: np.zeros(0, dtype=np.int64) for kind in (contended, switch)}
    woken = pd.Series(dtype=np.int64)  # how often, by thread
    later = 0
    for records in pieces:
        what = pd.unique(np.ascontiguousarray(records.view(_WHAT)["what"])).view(_PARTS)
        what = what[what["kind"] < TIME]
        if len(what) and (what["kind"].max() >= len(EVENT_KINDS) or what["how"].max() >= len(HOWS)):
            raise _cannot_be()
        names[what["name"]] = True
        later += int(records["after"].sum(dtype=np.int64))
        kinds = np.ascontiguousarray(records["kind"])
        for kind, known in values.items():
            values[kind] = pd.unique(np.concatenate([known, records["value"][kinds == kind]]))
        woken = woken.add(pd.Series(records["value"][kinds == wake]).value_counts(), fill_value=0)
    for kind in _AT_FIRST:
        _check(kind, values[kind], later if kind == TIME else 0)  # no time is later than the sum of all
    ran = np.concatenate([values[THREAD], values[switch]])
    by_what_runs = float(woken[np.isin(woken.index, ran)].sum())
    few = float(woken.sum()) < _FEW_WAKES
    used, stacks = np.flatnonzero(names).astype(np.uint16), np.sort(values[STACK]).astype(np.uint32)
    return Seen(
        used, stacks[stacks != NO_STACK], np.sort(values[contended]), few or by_what_runs / float(woken.sum()) > 0.5
    )


def _check(kind: int, said: Raw, later: int = 0) -> None:
    if len(said) and (said.min() < 0 or int(said.max()) + later >= _BELOW[kind]):
        raise _cannot_be()


def _cannot_be() -> ProbeLoss:
    return ProbeLoss("events.bin has an event that cannot be", hint=AGAIN)


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
        if len(lost) > MOST_VCPUS:
            raise _cannot_be()
        for vcpu, count in enumerate(lost):
            path = out / (f"events.bin.{vcpu}" if vcpu else "events.bin")
            size = path.stat().st_size if path.exists() else -1
            if size < 0 or (size % RECORD.itemsize and not count):
                raise ProbeLoss(f"{path.name} is missing or cut short", hint=FULL)
            files.append((path, size // RECORD.itemsize))
        ordered = len(files) == 1 or all(_ordered(_events(_read(*file, CHUNK), 0)) for file in files)
        return cls(files, ordered)

    def records(self, chunk: int = _LOOK) -> Iterator[Raw]:
        """What was written, one file after the other, at most ``chunk`` records at a time."""
        for path, count in self.files:
            yield from _read(path, count, chunk)

    def pieces(self, chunk: int = CHUNK) -> Iterator[Piece]:
        """The events, at most some ``chunk`` of them at a time; no piece is empty."""
        share = max(1, chunk // len(self.files))
        logs = [_events(_read(path, count, share), vcpu) for vcpu, (path, count) in enumerate(self.files)]
        if len(logs) == 1:
            return logs[0]
        if self.ordered:
            return merge(logs)
        whole = _joined([_none(), *(piece for one in logs for piece in one)])
        return iter([_by_time(whole)] if len(whole["time"]) else [])

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
            stacks = stacks_of(piece["stack"]) if stacks_of else np.full(len(piece["stack"]), -1)
            columns = {**piece, "name": place.take(piece["name"]), "stack": stacks.astype(np.int32)}
            arrays = [_array(columns[field.name], words.get(field.name)) for field in EVENTS]
            yield pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def _array(column: Raw, words: pa.Array | None) -> pa.Array:
    """A column; of ``words`` it has the numbers."""
    array = pa.array(column)
    return array if words is None else pa.DictionaryArray.from_arrays(array, words)


def _read(path: Path, count: int, chunk: int) -> Iterator[Raw]:
    """A file's records, of which the first ``count`` are whole."""
    # Read, not mapped: pages of a mapped file count as the process's memory.
    with path.open("rb") as file:
        while count > 0:
            records = np.fromfile(file, dtype=RECORD, count=min(chunk, count))
            if not len(records):
                raise ProbeLoss(f"{path.name} is missing or cut short", hint=AGAIN)
            count -= len(records)
            yield records


def _events(pieces: Iterable[Raw], vcpu: int) -> Iterator[Piece]:
    """The events among a vCPU's records; no piece is empty."""
    holds = dict(_AT_FIRST)
    for records in pieces:
        piece = _piece(records, holds, vcpu)
        if len(piece["time"]):
            yield piece


def _piece(records: Raw, holds: dict[int, int], vcpu: int) -> Piece:
    """Give the events among records; ``holds`` is what held before them, and becomes what holds behind them."""
    no_event = records["kind"] >= TIME
    context = np.flatnonzero(no_event)
    said, behind = records[context], context - np.arange(len(context))  # how many events are before each of them
    if len(context):
        records = records.take(np.flatnonzero(~no_event))
    piece = {name: records[name].astype(COLUMNS[name]) for name in ("kind", "name", "how", "value")}
    piece["vcpu"] = np.full(len(records), vcpu, dtype=COLUMNS["vcpu"])
    time = np.cumsum(records["after"], dtype=np.int64)
    for kind, name in ((THREAD, "thread"), (STACK, "stack"), (TIME, "time")):
        values, at = said["value"][said["kind"] == kind], behind[said["kind"] == kind]
        _check(kind, values)
        if kind == TIME:  # what is said is what it is there, with all that the events before came later
            values = values - np.concatenate([[0], time])[at]
        known = np.concatenate([[holds[kind]], values])
        holds[kind] = int(known[-1])
        each = np.repeat(known.astype(COLUMNS[name]), np.diff(at, prepend=0, append=len(records)))
        piece[name] = time + each if kind == TIME else each
    holds[TIME] += int(time[-1]) if len(time) else 0
    return piece


def _none() -> Piece:
    return {name: np.zeros(0, dtype=kind) for name, kind in COLUMNS.items()}


def _joined(pieces: Sequence[Piece]) -> Piece:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in COLUMNS}


def _by_time(piece: Piece) -> Piece:
    order = np.argsort(piece["time"], kind="stable")
    return {name: column.take(order) for name, column in piece.items()}


def merge(logs: Sequence[Iterator[Piece]]) -> Iterator[Piece]:
    """Logs, each in order of time, as one: of events of the same time those of the first log come first."""
    held = [_none() for _ in logs]
    open_ = set(range(len(logs)))
    while open_:
        # What is before the earliest end of what is held is complete; a log that ends there has to go on first.
        bound = min((int(held[n]["time"][-1]) if len(held[n]["time"]) else -1) for n in open_)
        for n in sorted(open_):
            if not len(held[n]["time"]) or int(held[n]["time"][-1]) == bound:
                piece = next(logs[n], None)
                if piece is None:
                    open_.remove(n)
                else:
                    held[n] = _joined([held[n], piece])
        if open_:
            bound = min(int(held[n]["time"][-1]) for n in open_)
            cuts = [int(np.searchsorted(one["time"], bound)) for one in held]
        else:
            cuts = [len(one["time"]) for one in held]
        both = _joined([{name: of[:cut] for name, of in one.items()} for one, cut in zip(held, cuts, strict=True)])
        held = [{name: of[cut:] for name, of in one.items()} for one, cut in zip(held, cuts, strict=True)]
        if len(both["time"]):
            yield _by_time(both)


def _ordered(pieces: Iterable[Piece]) -> bool:
    last = 0
    for piece in pieces:
        times = piece["time"]
        if times[0] < last or bool((times[1:] < times[:-1]).any()):
            return False
        last = int(times[-1])
    return True
