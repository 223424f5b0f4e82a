"""Context switches: why threads stopped, how long they then took to run again, who woke them, who ran instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.groups import Groups, grouped
from analysis.trace.rows import Rows
from analysis.trace.stops import REASONS, Stops, stops
from analysis.trace.table import Answer, Column, Table
from analysis.trace.timeline import Timeline
from analysis.trace.trace import Trace
from analysis.trace.window import KIND, Ints
from probes.events import ROLES
from profiler.errors import NothingToShow

_THREAD: Final = (Column("thread", "thread"), Column("role", "role", "text"), Column("name", "name", "text"))
_ROLE: Final = (Column("role", "role", "text"),)
_VALUES: Final = (
    Column("switches", "switch"), Column("blocked", "blocked"), Column("yielded", "yielded", spare=1),
    Column("exited", "exited", spare=4), Column("preempted", "preempt"), Column("unknown", "?", spare=9),
    Column("on_ns", "on-CPU"), Column("irq_ns", "irq ns", spare=3), Column("idle_ns", "idle ns", spare=3),
    Column("wakeups", "wakeups", spare=2),
    Column("latency_p50", "lat p50"), Column("latency_p90", "lat p90", spare=6),
    Column("latency_p99", "lat p99", spare=3),
    Column("latency_max", "lat max", spare=1),
    Column("queued_ns", "queued"), Column("queued_p50", "q p50", spare=5), Column("queued_p90", "q p90", spare=5),
    Column("queued_p99", "q p99", spare=5), Column("queued_max", "q max", spare=5),
    Column("woken_by", "woken by", "text"),
)  # fmt: skip
_HEADLINE: Final = ("switches", "latency_p50", "on_ns")
_MEANING: Final = (
    "Lat: ns from the wake-up until the thread ran. Queued: ns that it could have run and did not, from a wake-up,"
    " preemption or yield on. On-CPU: ns, without interrupts and idle."
)
_PAIR: Final = (Column("from", "from", "text"), Column("to", "to", "text"))
_PAIRS: Final = (Column("switches", "switches"), Column("blocked", "blocked"), Column("yielded", "yielded", spare=1),
                 Column("exited", "exited"), Column("preempted", "preempted"))  # fmt: skip
_SAID: Final = ("blocked", "yielded", "exited", "preempted")


def answer(trace: Trace, *, pairs: bool = False) -> Answer:
    """The table of one guest: a row per thread, or per two threads of which one followed the other (``pairs``).

    Raises NothingToShow if nothing was switched.
    """
    rows, times = Rows(), Rows()
    inferred = 0
    for line, _, _ in trace.lines():
        found = stops(line)
        inferred += int((found.inferred & found.of_reason("blocked", "preempted")).sum())
        found = found.where(trace.mine(line)[found.thread])
        # A thread that runs when there is nothing else to do waits for no CPU.
        _add(rows, line, found, trace.threads.role_of(line.threads)[found.thread] != ROLES.index("idle"))
        _spent(times, line, trace)
    columns = rows.columns()
    switched = columns["switched"].astype(bool) if columns else None
    if switched is None or not switched.any():
        raise NothingToShow(
            f"{trace.guest} has no switch{trace.who} in {trace.where}", hint=trace.hint("context switches")
        )
    notes = _notes(trace, inferred)
    if pairs:
        kept = {name: values[switched & (columns["next"] >= 0)] for name, values in columns.items()}
        told = [grouped([_key(trace, by, kept[side]) for side in ("thread", "next")]) for by in ("thread", "role")]
        tables = [Table(_PAIR, _PAIRS, _pairs(trace, groups, kept, by_role=by_role), notes, ("switches", "preempted"))
                  for by_role, groups in enumerate(told)]  # fmt: skip
        return Answer(trace, tables[0], tables[1])
    spent, notes = times.columns(), (_MEANING, *notes)
    return Answer(
        trace,
        Table(_THREAD, _VALUES, _threads(trace, "thread", columns, spent), notes),
        Table(_ROLE, _VALUES, _threads(trace, "role", columns, spent), notes, _HEADLINE),
    )


def _add(rows: Rows, line: Timeline, found: Stops, waits: npt.NDArray[np.bool_]) -> None:
    """A row for each stop."""
    switched = line.kind[found.out] == KIND["switch"]
    event = np.where(switched, line.row[found.out], 0)
    woken = found.woken >= 0
    waker = np.full(len(found), -1, dtype=np.int64)
    waker[woken] = line.window.thread[line.row[found.woken[woken]]]
    runs = found.into >= 0
    latency = np.where(woken & runs, line.time[found.into] - line.time[found.woken], -1)
    latency[found.of_reason("preempted", "yielded")] = -1
    rows.add(
        thread=line.threads[found.thread], switched=switched, reason=found.reason, waker=waker,
        next=np.where(switched, line.window.value[event], -1) if len(line.window) else waker, latency=latency,
        queued=np.where(runs & waits, found.queued, -1),
    )  # fmt: skip


def _spent(times: Rows, line: Timeline, trace: Trace) -> None:
    """What each thread spent in the window."""
    mine = np.flatnonzero(trace.mine(line))
    on, irq, idle = (line.total(clock)[mine] for clock in (line.on, line.irq, line.idle))
    times.add(thread=line.threads[mine], on=on, irq=irq, idle=idle)


def _threads(trace: Trace, by: str, columns: dict[str, npt.NDArray[Any]], spent: dict[str, npt.NDArray[Any]]
             ) -> list[tuple[Any, ...]]:  # fmt: skip
    """A row per thread or role, of all that the window knows."""
    keys = [np.concatenate([_key(trace, by, one["thread"]) for one in (columns, spent)])]
    both = grouped(keys)
    stopped = len(columns["thread"])
    groups, times = (Groups(both.group[part], both.keys) for part in (slice(stopped), slice(stopped, None)))
    switched = columns["switched"].astype(bool)
    latency, queued = columns["latency"], columns["queued"]
    figures: list[Sequence[Any]] = [groups.count(switched).tolist()]
    for reason in ("blocked", "yielded", "exited", "preempted", ""):
        figures.append(groups.count(switched & (columns["reason"] == REASONS.index(reason))).tolist())
    figures += [times.sums(spent[name]).tolist() for name in ("on", "irq", "idle")]
    figures.append(groups.count(latency >= 0).tolist())
    figures += list(groups.percentiles(latency, latency >= 0).values())
    figures.append(groups.sums(queued, queued >= 0).tolist())
    figures += list(groups.percentiles(queued, queued > 0).values())
    wakers = groups.most(_key(trace, by, columns["waker"]), columns["waker"] >= 0)
    figures.append([None if waker is None else _waker(trace, by, waker) for waker in wakers])
    keys_of = [_of_key(trace, by, code) for code in both.keys[0].tolist()]
    rows = [(*key, *row) for key, row in zip(keys_of, zip(*figures, strict=True), strict=True)]
    size = len(keys_of[0])
    # Threads that neither ran nor stopped are only there because others were told of them.
    return sorted(
        (row for row in rows if row[size] or any(row[size + 6 : size + 9])), key=lambda row: (-row[size], row[0])
    )


def _key(trace: Trace, by: str, threads: npt.NDArray[Any]) -> Ints:
    return (threads if by == "thread" else trace.threads.role_of(threads) + 1).astype(np.int64)


def _of_key(trace: Trace, by: str, code: int) -> tuple[Any, ...]:
    if by == "role":
        return (_title(trace, by, code),)
    return (code, trace.threads.role(code), trace.threads.name(code))


def _waker(trace: Trace, by: str, code: int) -> str:
    return _title(trace, by, code) if by == "role" else f"{code} {trace.threads.role(code)}".rstrip()


def _title(trace: Trace, by: str, code: int) -> str:
    if by == "role":
        return ROLES[code - 1] if code else ""
    return trace.threads.title(code)


def _pairs(
    trace: Trace, groups: Groups, columns: dict[str, npt.NDArray[Any]], *, by_role: int
) -> list[tuple[Any, ...]]:
    by = "role" if by_role else "thread"
    figures = [groups.counts.tolist()]
    figures += [groups.count(columns["reason"] == REASONS.index(reason)).tolist() for reason in _SAID]
    names = [[_title(trace, by, code) for code in codes.tolist()] for codes in groups.keys]
    return sorted(zip(*names, *figures, strict=True), key=lambda row: (-row[2], row[:2]))


def _notes(trace: Trace, inferred: int) -> tuple[str, ...]:
    notes = trace.unseen("context switches", "thread identity", "wake-ups")
    if inferred:
        notes.append(
            f"The recording does not say why threads stopped in {inferred:,} switches: blocked are those that went on"
            " after a wake-up, preempted those that went on without one."
        )
    return tuple(notes)
