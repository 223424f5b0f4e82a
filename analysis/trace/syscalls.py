"""What the app asked for: how often, at what cost, how long it was off the CPU for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.groups import Groups, grouped
from analysis.trace.operations import Calls, outermost, text
from analysis.trace.table import Answer, Column, Table
from analysis.trace.timeline import GONE, Timeline
from analysis.trace.trace import Trace
from analysis.trace.window import HOW, Ints, Mask
from profiler.errors import NothingToShow

_NAME: Final = Column("operation", "operation", "text")
_VALUES: Final = (
    Column("count", "count"), Column("failed", "failed"), Column("cost", "cost"), Column("share", "share", "share", 2),
    Column("mean", "/call"), Column("p50", "p50"), Column("p90", "p90"), Column("p99", "p99"), Column("max", "max"),
    Column("off_ns", "off-CPU ns", spare=1), Column("off_ns_per_call", "off/call"),
)  # fmt: skip
_HEADLINE: Final = ("count", "mean", "off_ns_per_call")
_COLUMNS: Final = ("name", "began", "whole", "failed", "value", "on", "off")


@dataclass
class _Rows:
    """A row per call, of all windows."""

    name: list[Ints] = field(default_factory=list)
    began: list[Mask] = field(default_factory=list)
    whole: list[Mask] = field(default_factory=list)
    failed: list[Ints] = field(default_factory=list)  # -1 not known, 0 ok, 1 failed
    value: list[Ints] = field(default_factory=list)
    on: list[Ints] = field(default_factory=list)
    off: list[Ints] = field(default_factory=list)
    never: int = 0


def answer(trace: Trace, *, nested: bool = False) -> Answer:
    """The table of one guest: a row per operation, or per system call (``nested``), the costliest first.

    Raises NothingToShow if there is no such event.
    """
    rows, names = _Rows(), ["", ""]
    for line, calls, _ in trace.lines(columns=("how", "name", "value")):
        calls = outermost(line, "syscall-enter", "syscall-exit") if nested else _asked(line, calls)
        names = list(line.window.names)
        _add(rows, line, calls.where(trace.mine(line)[line.thread[calls.seen]]))
    if not sum(map(len, rows.name)):
        raise NothingToShow(_nothing(trace, nested), hint=_hint(trace, nested))
    columns = {name: np.concatenate(getattr(rows, name)) for name in _COLUMNS}
    counted = bool(columns["value"].any())
    cost = columns["value"] if counted else columns["on"]
    table = _table(grouped([columns["name"]]), names, cost, columns)
    return Answer(trace, Table((_NAME,), _VALUES, table, _notes(trace, columns, counted, rows.never), _HEADLINE))


def _asked(line: Timeline, calls: Calls) -> Calls:
    """Without exceptions: nobody asks for those."""
    return calls.where(~line.of_kind("fault-enter", "fault-exit")[calls.seen])


def _add(rows: _Rows, line: Timeline, calls: Calls) -> None:
    window, whole = line.window, calls.whole
    last = np.where(whole, calls.end, calls.seen)
    event = line.row[last]
    rows.name.append(window.name[line.row[calls.seen]])
    rows.began.append(calls.begin >= 0)
    rows.whole.append(whole)
    rows.failed.append(np.select([~whole, window.how[event] == HOW["failed"], window.how[event] == HOW["ok"]], [-1, 1, 0], -1))
    rows.value.append(np.where(whole, window.value[event], 0))
    first = np.where(whole, calls.begin, last)
    rows.on.append(line.on[last] - line.on[first])
    rows.off.append(line.off[last] - line.off[first])
    ends = line.firsts[line.thread[calls.seen] + 1] - 1
    rows.never += int(((calls.end < 0) & (line.state[ends] == GONE)).sum())


def _table(groups: Groups, names: Sequence[str], cost: Ints, columns: dict[str, npt.NDArray[Any]]) -> list[tuple[Any, ...]]:
    began, whole = columns["began"], columns["whole"]
    ended = groups.count(whole)
    per = np.maximum(ended, 1)
    told, failed = groups.count(columns["failed"] >= 0), groups.count(columns["failed"] == 1)
    total, off = groups.sums(cost, whole), groups.sums(columns["off"], whole)
    everything = max(int(total.sum()), 1)
    percentiles = groups.percentiles(cost, whole)
    figures: list[list[Any]] = [
        groups.count(began).tolist(),
        [bad if known else None for bad, known in zip(failed.tolist(), told.tolist(), strict=True)],
        total.tolist(), (total / everything).tolist(),
        [mean if count else None for mean, count in zip((total / per).tolist(), ended.tolist(), strict=True)],
        *percentiles.values(), off.tolist(),
        [mean if count else None for mean, count in zip((off / per).tolist(), ended.tolist(), strict=True)],
    ]  # fmt: skip
    rows = zip([text(code, names) for code in groups.keys[0].tolist()], *figures, strict=True)
    return sorted(rows, key=lambda row: (-row[3], -row[1], row[0]))


def _notes(trace: Trace, columns: dict[str, npt.NDArray[Any]], counted: bool, never: int) -> tuple[str, ...]:
    began, whole = columns["began"], columns["whole"]
    open_at_begin, open_at_end = int((~began).sum()), int((began & ~whole).sum()) - never
    notes = [
        "Cost is instructions that the thread executed, interrupts left out." if counted else
        "Cost is ns on the CPU, interrupts left out (an instruction is one, and each iteration of a string instruction):"
        " this recording does not have the instructions of each call."
    ]  # fmt: skip
    if never:
        notes.append(f"{never:,} never returned: their thread exited.")
    if open_at_begin or open_at_end:
        notes.append(f"In flight: {open_at_begin:,} when the window began (not counted), {open_at_end:,} when it ended"
                     " (counted, without cost).")  # fmt: skip
    if (columns["failed"] < 0)[whole].all():
        notes.append("Whether calls failed is not in this recording.")
    return (*notes, *trace.unseen("operations", "system calls"))


def _nothing(trace: Trace, nested: bool) -> str:
    what = "bare system calls" if nested else "operations"
    who = "" if trace.thread is None else f" of thread {trace.thread}"
    return f"{trace.guest} has no {what}{who} in {trace.where}"


def _hint(trace: Trace, nested: bool) -> str:
    unseen = trace.unseen("system calls" if nested else "operations")
    if unseen:
        return " ".join(unseen)
    return "where the app is linked with the kernel its calls are no system calls: leave out --nested" if nested else (
        "choose another --phase, --thread, --since or --until"
    )
