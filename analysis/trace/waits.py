"""What threads waited for, and why the machine was idle."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.groups import grouped
from analysis.trace.operations import INTERRUPT, Doing, text
from analysis.trace.rows import Rows
from analysis.trace.stops import Stops, stops
from analysis.trace.table import Answer, Column, Table
from analysis.trace.timeline import IN, WOKEN
from analysis.trace.trace import Trace
from analysis.trace.wakers import CLASSES, Irqs, irqs_of_wakes
from analysis.trace.window import KIND, NAMES, Ints
from probes.events import ROLES
from profiler.errors import NothingToShow

_KEYS: Final = (
    Column("what", "what", "text"), Column("role", "role", "text"), Column("operation", "operation", "text"),
    Column("ended_by", "ended by", "text"),
)  # fmt: skip
_VALUES: Final = (
    Column("count", "count"), Column("ns", "ns"), Column("share", "share", "share", 4), Column("mean", "mean"),
    Column("p50", "p50", spare=3), Column("p90", "p90", spare=2), Column("p99", "p99", spare=1), Column("max", "max"),
)  # fmt: skip
_HEADLINE: Final = ("count", "mean")
_WHAT: Final = ("blocked", "run queue", "idle")
_BLOCKED, _QUEUED, _IDLE = range(3)
# What ended a wait: a thread (its role), an interrupt of a class, or one of these.
_ENDS: Final = ("", *ROLES, *CLASSES, "interrupt", "a free CPU", "the window's end")
_RELEASE, _WINDOW = len(_ENDS) - 2, len(_ENDS) - 1


def answer(trace: Trace) -> Answer:
    """The table of one guest: waits of threads by what they did and what ended it, and idle time by the same.

    Raises NothingToShow if no thread waited and the machine was never idle.
    """
    rows, names, before = Rows(), list(NAMES), 0
    for line, _, doing in trace.lines():
        names = list(line.window.names)
        irqs = irqs_of_wakes(line)
        found = stops(line)
        # A thread that runs when there is nothing else to do waits for nothing.
        waits = trace.mine(line) & (doing.roles != ROLES.index("idle"))
        found = found.where(waits[found.thread])
        before += int(found.of_reason("before").sum())
        waited = found.of_reason("blocked", "before") | (found.of_reason("") & (found.woken >= 0))
        _blocked(rows, doing, irqs, found.where(waited))
        _queued(rows, doing, found)
        _idle(rows, doing, irqs, trace.mine(line))
    columns = rows.columns()
    if not columns or not len(columns["ns"]):
        raise NothingToShow(f"no wait{trace.who} in {trace.where} of {trace.guest}, and it was never idle",
                            hint=trace.hint("context switches", "wake-ups", "idle time"))  # fmt: skip
    notes = _notes(trace, before)
    whole, aligned = (_rows(columns, names, by_end=by_end) for by_end in (True, False))
    return Answer(trace, Table(_KEYS, _VALUES, whole, notes), Table(_KEYS[:-1], _VALUES, aligned, notes, _HEADLINE))


def idle_ns(trace: Trace) -> int:
    """All idle time in the windows: what the ledger has as ``idle_ns``."""
    return sum(int(line.total(line.idle).sum()) for line, _, _ in trace.lines())


def _rows(columns: dict[str, npt.NDArray[Any]], names: list[str], *, by_end: bool) -> list[tuple[Any, ...]]:
    by = ["what", "role", "operation", *(["end", "ender"] if by_end else [])]
    groups = grouped([columns[key] for key in by])
    ns = columns["ns"]
    sums = groups.sums(ns)
    whole = np.maximum(np.bincount(groups.keys[0], weights=sums, minlength=3), 1)[groups.keys[0]]
    keys = [
        (
            _WHAT[what],
            ROLES[role - 1] if role else "",
            text(operation, names),
            *([_ended(end[0], end[1], names)] if end else []),
        )
        for what, role, operation, *end in zip(*(key.tolist() for key in groups.keys), strict=True)
    ]
    figures = [groups.counts.tolist(), sums.tolist(), (sums / whole).tolist(), (sums / groups.counts).tolist(),
               *groups.percentiles(ns).values()]  # fmt: skip
    found = [(*key, *row) for key, row in zip(keys, zip(*figures, strict=True), strict=True)]
    return sorted(found, key=lambda row: (_WHAT.index(row[0]), -row[len(keys[0]) + 1], row[: len(keys[0])]))


def _ended(end: int, ender: int, names: list[str]) -> str:
    return " ".join(filter(None, (_ENDS[end], text(ender, names))))


def _blocked(rows: Rows, doing: Doing, irqs: Irqs, found: Stops) -> None:
    """Waits until a wake-up."""
    line = found.line
    woken = found.woken >= 0
    ends = np.where(woken, line.time[found.woken], line.window.end)
    end, ender = np.full(len(found), _WINDOW, dtype=np.int64), np.zeros(len(found), dtype=np.int64)
    end[woken], ender[woken] = _enders(doing, irqs, line.row[found.woken[woken]])
    # A thread that goes on without having been woken was woken unseen: what ended its wait is not known.
    end[~woken & (found.into >= 0)] = 0
    ends = np.where(~woken & (found.into >= 0), found.ends, ends)
    _add(rows, doing, _BLOCKED, found.out, end, ender, ends - line.time[found.out])


def _queued(rows: Rows, doing: Doing, found: Stops) -> None:
    """Times that a thread could have run."""
    kept = found.where((found.into >= 0) & (found.queued > 0))
    zero = np.zeros(len(kept), dtype=np.int64)
    _add(rows, doing, _QUEUED, kept.out, zero + _RELEASE, zero, kept.queued)


def _idle(rows: Rows, doing: Doing, irqs: Irqs, mine: npt.NDArray[np.bool_]) -> None:
    """Idle time, charged to who then could go on: the first that is woken, else that runs, the idle threads aside."""
    line = doing.line
    ends = np.flatnonzero(line.kind == KIND["idle-end"])
    if not len(ends):
        return
    ns = np.minimum(line.window.value[line.row[ends]], line.time[ends] - line.window.begin)
    idle = ROLES.index("idle")
    on = np.flatnonzero(((line.kind == WOKEN) | (line.kind == IN)) & (doing.roles[line.thread] != idle))
    on = on[np.argsort(line.row[on], kind="stable")]
    place = np.searchsorted(line.row[on], line.row[ends])
    known = place < len(on)
    entry = np.where(known, np.append(on, 0)[place], ends)
    end, ender = np.full(len(ends), _WINDOW, dtype=np.int64), np.zeros(len(ends), dtype=np.int64)
    woken = known & (line.kind[entry] == WOKEN)
    end[woken], ender[woken] = _enders(doing, irqs, line.row[entry[woken]])
    end[known & ~woken] = 0
    chosen = mine[line.thread[entry]]
    _add(rows, doing, _IDLE, entry[chosen], end[chosen], ender[chosen], ns[chosen])


def _enders(doing: Doing, irqs: Irqs, events: Ints) -> tuple[Ints, Ints]:
    """What each of some wake-ups was made by: positions in ``_ENDS``, and what the waker was doing."""
    line = doing.line
    waker = doing.wakers[events].astype(np.int64)
    role = doing.roles[np.searchsorted(line.threads, line.window.thread[events])] + 1
    kind, name = (column[events] for column in irqs)
    in_irq, classed = waker == INTERRUPT, kind >= 0
    end = np.where(in_irq, np.where(classed, 1 + len(ROLES) + kind, _ENDS.index("interrupt")), role)
    return end, np.where(in_irq, np.where(classed, 0, name), waker)


def _add(rows: Rows, doing: Doing, what: int, entries: Ints, end: Ints, ender: Ints, ns: Ints) -> None:
    rows.add(
        what=np.full(len(entries), what), role=doing.roles[doing.line.thread[entries]] + 1,
        operation=doing.at(entries), end=end, ender=ender, ns=ns,
    )  # fmt: skip


def _notes(trace: Trace, before: int) -> tuple[str, ...]:
    notes = [
        "Blocked: from where a thread stopped until it was woken. Run queue: from there, or from its preemption, until"
        " it ran. Idle: the vCPU was halted; charged to who then could go on."
    ]
    if before:
        notes.append(f"Waits that had begun before the window, and are counted from its begin: {before:,}.")
    return (*notes, *trace.unseen("context switches", "wake-ups", "idle time"))
