"""Events one by one, in order, a piece at a time: a table of them never is in memory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.stacks import Stacks
from analysis.trace.table import Column
from analysis.trace.trace import Trace
from analysis.trace.window import KIND, Coder, among, pieces
from probes.events import EVENT_KINDS, HOWS

COLUMNS: Final = (
    Column("phase", "phase", "text"), Column("time_ns", "time ns"), Column("vcpu", "vcpu"),
    Column("thread", "thread"), Column("depth", "depth"), Column("kind", "kind", "text"),
    Column("name", "name", "text"), Column("how", "how", "text"), Column("value", "value"),
    Column("stack", "stack", "text"),
)  # fmt: skip
_ENTERS: Final = ("op-enter", "syscall-enter", "fault-enter", "irq-enter", "idle-begin")
_EXITS: Final = ("op-exit", "syscall-exit", "fault-exit", "irq-exit", "idle-end")
_STEP: Final = np.array([(kind in _ENTERS) - (kind in _EXITS) for kind in EVENT_KINDS], dtype=np.int64)


@dataclass
class _State:
    """Where in the recording a piece begins: in which phase, and how deep each thread is in something."""

    phase: int = -1
    opened: int = 0
    depth: dict[int, int] = field(default_factory=dict)


def events(trace: Trace, kinds: Collection[str] = (), *, stacks: bool = False) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of COLUMNS, some thousand at a time; of some kinds, else of all.

    ``depth`` is what the thread is inside of: operations, calls, exceptions, interrupts since the phase began.
    """
    names, state = Coder(), _State()
    wanted = [KIND[kind] for kind in kinds] or list(range(len(EVENT_KINDS)))
    threads = None if trace.thread is None else trace.threads.chosen(trace.thread)
    titles = dict(zip(trace.phases, trace.phase_names, strict=True))
    tree = Stacks(trace.recording) if stacks else None
    for rows in pieces(trace.recording, names, ("how", "name", "stack") if stacks else ("how", "name")):
        begins, ends = (np.flatnonzero(rows["kind"] == KIND[edge]) for edge in ("phase-begin", "phase-end"))
        size = len(rows["kind"])
        bounds = sorted({0, size, *begins.tolist(), *(ends + 1).tolist()})
        for first, last in itertools.pairwise(bounds):
            if rows["kind"][first] == KIND["phase-begin"]:
                state = _State(int(rows["value"][first]), int(rows["time"][first]))
            if state.phase in titles:
                piece = {name: values[first:last] for name, values in rows.items()}
                depth = _depth(piece, state)
                offset = piece["time"] - state.opened
                keep = among(piece["kind"], wanted, len(EVENT_KINDS)) & (offset >= trace.since)
                if trace.until is not None:
                    keep &= offset < trace.until
                if threads is not None:
                    keep &= np.isin(piece["thread"], threads)
                if keep.any():
                    yield _told(piece, np.flatnonzero(keep), offset, depth, titles[state.phase], names.names, tree)
            if rows["kind"][last - 1] == KIND["phase-end"]:
                state = _State()


def _depth(rows: dict[str, npt.NDArray[Any]], state: _State) -> npt.NDArray[np.int64]:
    """How deep each event is: where it begins something, what that is in; where it ends something, the same."""
    order = np.argsort(rows["thread"], kind="stable")
    thread, step = rows["thread"][order], _STEP[rows["kind"][order]]
    starts = np.flatnonzero(np.diff(thread, prepend=thread[0] - 1))
    level = np.cumsum(step)
    counts = np.diff(np.append(starts, len(order)))
    who = thread[starts].tolist()
    before = np.array([state.depth.get(one, 0) for one in who], dtype=np.int64)
    level -= np.repeat(level[starts] - step[starts] - before, counts)
    # What ends without having begun was there before: nothing is less deep than that.
    lowest = np.minimum(np.minimum.reduceat(level, starts), 0)
    level -= np.repeat(lowest, counts)
    ends = level[np.append(starts[1:], len(order)) - 1]
    state.depth.update(zip(who, ends.tolist(), strict=True))
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.where(step > 0, level - 1, level)
    return found


def _told(rows: dict[str, npt.NDArray[Any]], at: npt.NDArray[Any], offset: npt.NDArray[Any], depth: npt.NDArray[Any],
          phase: str, names: Sequence[str], tree: Stacks | None) -> list[tuple[Any, ...]]:  # fmt: skip
    paths = [""] * len(at)
    if tree is not None:
        known = {frame: tree.path(frame) for frame in np.unique(rows["stack"][at]).tolist()}
        paths = [known[frame] for frame in rows["stack"][at].tolist()]
    return list(zip(
        [phase] * len(at), offset[at].tolist(), rows["vcpu"][at].tolist(), rows["thread"][at].tolist(),
        depth[at].tolist(),
        [EVENT_KINDS[code] for code in rows["kind"][at].tolist()], [names[code] for code in rows["name"][at].tolist()],
        [HOWS[code] for code in rows["how"][at].tolist()], rows["value"][at].tolist(), paths, strict=True,
    ))  # fmt: skip
