"""The events of a phase as arrays: only the kinds that are asked for, read in pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probes.events import EVENT_KINDS, HOWS
from probes.manifest import AGAIN
from probes.recording import Recording
from profiler.errors import NothingToShow, RecordingInvalid

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

KIND: Final = {name: code for code, name in enumerate(EVENT_KINDS)}
HOW: Final = {name: code for code, name in enumerate(HOWS)}
NAMES: Final = ("", "background", "user", "interrupt")
"""The first codes of names: not known, and what threads do outside operations."""
MOST: Final = 30_000_000
"""Events of a window that are looked at together: they take some 100 bytes each."""
_EDGES: Final = ("phase-begin", "phase-end")


@dataclass(frozen=True)
class Window:
    """Events between ``begin`` and ``end`` (the probe's clock, ns), in order; of ``kinds`` and no others.

    ``kind`` and ``how`` are positions in EVENT_KINDS and HOWS, ``name`` in ``names``.  ``running`` has the thread that
    each vCPU executed at ``begin``.  ``opened`` is when the phase began: ``begin`` is later where ``since`` is given.
    """

    phase: int
    opened: int
    begin: int
    end: int
    time: Ints
    vcpu: npt.NDArray[np.int8]
    thread: Codes
    kind: npt.NDArray[np.int8]
    name: Codes
    how: npt.NDArray[np.int8]
    value: Ints
    stack: Codes
    names: Sequence[str]
    running: dict[int, int]

    def __len__(self) -> int:
        return len(self.time)

    def of_kind(self, *kinds: str) -> Mask:
        """The rows of some kinds."""
        return among(self.kind, [KIND[kind] for kind in kinds], len(EVENT_KINDS))


def among(codes: npt.NDArray[Any], wanted: Collection[int], size: int) -> Mask:
    """Where ``codes``, from 0 to ``size``, are one of some."""
    table = np.zeros(size, dtype=bool)
    table[list(wanted)] = True
    found: Mask = table[codes]
    return found


@dataclass
class _Part:
    """A window that is being read."""

    phase: int
    opened: int
    rows: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    running: dict[int, int] = field(default_factory=dict)
    size: int = 0


_COLUMNS: Final = {
    "time": np.int64, "vcpu": np.int8, "thread": np.int32, "kind": np.int8, "name": np.int32, "how": np.int8,
    "value": np.int64, "stack": np.int32,
}  # fmt: skip
_UNASKED: Final = ("how", "stack", "name")


class Coder:
    """Gives texts numbers, in the order in which they come."""

    def __init__(self, known: Sequence[str] = NAMES, *, closed: bool = False) -> None:
        self.names = list(known)
        self._numbers = {name: number for number, name in enumerate(known)}
        self._closed = closed

    def codes(self, column: pa.Array) -> Codes:
        """The number of each text in a dictionary column; -1 for one that is not known, if no others may be."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        numbers = [self._number(name) for name in column.dictionary.to_pylist()]
        found: Codes = np.array([*numbers, -1], dtype=np.int32)[column.indices.to_numpy(zero_copy_only=False)]
        return found

    def _number(self, name: str) -> int:
        if name not in self._numbers and self._closed:
            return -1
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


def windows(recording: Recording, phases: Collection[int], kinds: Collection[str], *, since: int = 0,
            until: int | None = None, columns: Collection[str] = _UNASKED) -> Iterator[Window]:  # fmt: skip
    """Each window of some phases, with the events of some kinds between ``since`` and ``until`` ns from its begin.

    Columns of ``_UNASKED`` that are not in ``columns`` are 0.  Raises ``RecordingInvalid`` for windows that do not
    pair.
    """
    names = Coder()
    part: _Part | None = None
    for rows in pieces(recording, names, columns):
        edges = np.flatnonzero(among(rows["kind"], [KIND[edge] for edge in _EDGES], len(EVENT_KINDS))).tolist()
        done = 0
        for edge in edges:
            number, opens = int(rows["value"][edge]), rows["kind"][edge] == KIND["phase-begin"]
            if opens != (part is None) or (part is not None and part.phase != number):
                raise RecordingInvalid("the phases' begin and end events are not paired", hint=AGAIN)
            if part is None:
                part = _Part(number, int(rows["time"][edge]))
                part.running[int(rows["vcpu"][edge])] = int(rows["thread"][edge])
            else:
                _add(part, rows, done, edge, phases, kinds, since, until)
                end = int(rows["time"][edge])
                if part.phase in phases:
                    yield _window(part, end if until is None else min(end, part.opened + until), since, names.names)
                part = None
            done = edge + 1
        if part is not None:
            _add(part, rows, done, len(rows["time"]), phases, kinds, since, until)


def pieces(recording: Recording, names: Coder, columns: Collection[str] = _UNASKED
           ) -> Iterator[dict[str, npt.NDArray[Any]]]:  # fmt: skip
    """All events in order, some thousand at a time, as arrays; names as numbers that ``names`` gave them.

    Of the columns of ``_UNASKED`` only those in ``columns``.
    """
    fixed = {"kind": Coder(EVENT_KINDS, closed=True), "how": Coder(HOWS, closed=True), "name": names}
    wanted = [column for column in _COLUMNS if column not in _UNASKED or column in columns]
    for batch in recording.batches("events", wanted):
        rows: dict[str, npt.NDArray[Any]] = {}
        for column in wanted:
            if column in fixed:
                rows[column] = fixed[column].codes(batch.column(column)).astype(_COLUMNS[column])
                if rows[column].min(initial=0) < 0:
                    raise RecordingInvalid("there are events of a kind that this weaklink does not know")
            else:
                rows[column] = batch.column(column).to_numpy(zero_copy_only=False)
        yield rows


def _add(part: _Part, rows: dict[str, npt.NDArray[Any]], first: int, last: int, phases: Collection[int],
         kinds: Collection[str], since: int, until: int | None) -> None:  # fmt: skip
    if part.phase not in phases or first == last:
        return
    piece = {name: values[first:last] for name, values in rows.items()}
    offset = piece["time"] - part.opened
    if since:
        before = offset < since
        _follow(part, {name: values[before] for name, values in piece.items()})
    keep = among(piece["kind"], [KIND[kind] for kind in kinds], len(EVENT_KINDS)) & (offset >= since)
    if until is not None:
        keep &= offset < until
    # A vCPU that has said nothing so far executes the thread of its first event.
    for vcpu in np.unique(piece["vcpu"][offset >= since]).tolist():
        if vcpu not in part.running:
            part.running[vcpu] = int(piece["thread"][(piece["vcpu"] == vcpu).argmax()])
    part.rows.append({name: values[keep] for name, values in piece.items()})
    part.size += len(part.rows[-1]["time"])
    if part.size > MOST:
        raise NothingToShow(
            f"a phase has more than {MOST:,} events, too many at once", hint="show a part of it: --since and --until"
        )


def _follow(part: _Part, rows: dict[str, npt.NDArray[Any]]) -> None:
    """Note which threads the vCPUs execute behind some rows."""
    for vcpu in np.unique(rows["vcpu"]).tolist():
        last = int(np.flatnonzero(rows["vcpu"] == vcpu)[-1])
        goes_on = "value" if rows["kind"][last] == KIND["switch"] else "thread"
        part.running[vcpu] = int(rows[goes_on][last])


def _window(part: _Part, end: int, since: int, names: Sequence[str]) -> Window:
    begin = min(part.opened + since, end)
    columns: dict[str, Any] = {
        name: np.concatenate([np.empty(0, dtype=dtype), *(rows.pop(name) for rows in part.rows)])
        if not part.rows or name in part.rows[0] else np.zeros(part.size, dtype=dtype)
        for name, dtype in _COLUMNS.items()
    }  # fmt: skip
    return Window(part.phase, part.opened, begin, end, **columns, names=names, running=part.running)
