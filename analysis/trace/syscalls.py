"""What the app asked for: how often, at what cost, how long it was off the CPU for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.groups import Groups, grouped, known
from analysis.trace.operations import Calls, outermost, text
from analysis.trace.rows import Rows
from analysis.trace.table import Answer, Column, Table
from analysis.trace.timeline import GONE, Timeline
from analysis.trace.trace import Trace
from analysis.trace.window import HOW, NAMES, Ints
from profiler.errors import NothingToShow

_NAME: Final = Column("operation", "operation", "text")
_VALUES: Final = (
    Column("count", "count"), Column("failed", "fail"), Column("cost", "cost"), Column("share", "share", "share", 2),
    Column("mean", "/call"), Column("p50", "p50"), Column("p90", "p90"), Column("p99", "p99"), Column("max", "max"),
    Column("off_ns", "off-CPU ns", spare=1), Column("off_ns_per_call", "off"),
)  # fmt: skip
_HEADLINE: Final = ("count", "mean", "off_ns_per_call")


def answer(trace: Trace, *, nested: bool = False) -> Answer:
    """The table of one guest: a row per operation, or per system call (``nested``), the costliest first.

    Raises NothingToShow if there is no such event.
    """
    rows, names, never = Rows(), list(NAMES), 0
    for line, calls, _ in trace.lines():
        calls = outermost(line, "syscall-enter", "syscall-exit") if nested else _asked(line, calls)
        names = list(line.window.names)
        calls = calls.where(trace.mine(line)[line.thread[calls.seen]])
        never += _never_returned(line, calls)
        _add(rows, line, calls)
    columns = rows.columns()
    if not columns or not len(columns["name"]):
        what, seen = ("bare system calls", "system calls") if nested else ("operations", "operations")
        linked = "where the app is linked with the kernel its calls are no system calls: leave out --nested"
        hint = trace.hint(seen, other=linked) if nested and trace.thread is None else trace.hint(seen)
        raise NothingToShow(f"{trace.guest} has no {what}{trace.who} in {trace.where}", hint=hint)
    counted = bool(columns["value"].any())
    cost = columns["value"] if counted else columns["on"]
    table = _table(grouped([columns["name"]]), names, cost, columns)
    return Answer(trace, Table((_NAME,), _VALUES, table, _notes(trace, columns, counted, never), _HEADLINE))


def _asked(line: Timeline, calls: Calls) -> Calls:
    """Without exceptions: nobody asks for those."""
    return calls.where(~line.of_kind("fault-enter", "fault-exit")[calls.seen])


def _add(rows: Rows, line: Timeline, calls: Calls) -> None:
    """A row for each call; failed is -1 where it is not known."""
    window, whole = line.window, calls.whole
    last = np.where(whole, calls.end, calls.seen)
    first = np.where(whole, calls.begin, last)
    event = line.row[last]
    how = window.how[event]
    rows.add(
        name=window.name[line.row[calls.seen]], began=calls.begin >= 0, whole=whole,
        failed=np.select([~whole, how == HOW["failed"], how == HOW["ok"]], [-1, 1, 0], -1),
        value=np.where(whole, window.value[event], 0), on=line.on[last] - line.on[first],
        off=line.off[last] - line.off[first],
    )  # fmt: skip


def _never_returned(line: Timeline, calls: Calls) -> int:
    ends = line.firsts[line.thread[calls.seen] + 1] - 1
    return int(((calls.end < 0) & (line.state[ends] == GONE)).sum())


def _table(
    groups: Groups, names: Sequence[str], cost: Ints, columns: dict[str, npt.NDArray[Any]]
) -> list[tuple[Any, ...]]:
    began, whole = columns["began"], columns["whole"]
    ended = groups.count(whole)
    per = np.maximum(ended, 1)
    told, failed = groups.count(columns["failed"] >= 0), groups.count(columns["failed"] == 1)
    total, off = groups.sums(cost, whole), groups.sums(columns["off"], whole)
    everything = max(int(total.sum()), 1)
    percentiles = groups.percentiles(cost, whole)
    figures: list[list[Any]] = [
        groups.count(began).tolist(),
        known(failed, told),
        total.tolist(), (total / everything).tolist(),
        known(total / per, ended),
        *percentiles.values(), off.tolist(),
        known(off / per, ended),
    ]  # fmt: skip
    rows = zip([text(code, names) for code in groups.keys[0].tolist()], *figures, strict=True)
    return sorted(rows, key=lambda row: (-row[3], -row[1], row[0]))


def _notes(trace: Trace, columns: dict[str, npt.NDArray[Any]], counted: bool, never: int) -> tuple[str, ...]:
    began, whole = columns["began"], columns["whole"]
    open_at_begin, open_at_end = int((~began).sum()), int((began & ~whole).sum()) - never
    notes = [
        "Cost: instructions that the thread executed, interrupts left out. Off: ns off the CPU per call."
        if counted else
        "Cost: ns on the CPU, interrupts left out, as this recording has no instructions of calls (an instruction is"
        " one, and so is each iteration of a string instruction). Off: ns off the CPU per call."
    ]  # fmt: skip
    if never:
        notes.append(f"{never:,} never returned: their thread exited.")
    if open_at_begin or open_at_end:
        notes.append(f"In flight: {open_at_begin:,} when the window began (not counted), {open_at_end:,} when it ended"
                     " (counted, without cost).")  # fmt: skip
    if (columns["failed"] < 0)[whole].all():
        notes.append("Whether calls failed is not in this recording.")
    return (*notes, *trace.unseen("operations", "system calls", "results"))
