"""Locks: who waited for which, how long and how, and who let the waiter go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.trace.groups import grouped, known
from analysis.trace.operations import INTERRUPT, Calls, Doing, text
from analysis.trace.rows import Rows
from analysis.trace.stacks import Stacks
from analysis.trace.table import Answer, Column, Table
from analysis.trace.timeline import WOKEN, Timeline
from analysis.trace.trace import Threads, Trace
from analysis.trace.window import HOW, KIND, NAMES, Ints
from probes.events import HOWS
from probes.names import readable
from profiler.errors import NothingToShow

_LOCK: Final = (Column("lock", "lock", "text"), Column("function", "function", "text", 8))
_SPACE, _OPERATION = Column("space", "of", "text", 7), Column("operation", "operation", "text")
_STACK: Final = Column("stack", "stack", "text", below=True)
_VALUES: Final = (
    Column("count", "count"), Column("open", "open", spare=6), Column("slept", "slept"),
    Column("spun", "spun", spare=1),
    Column("wait_ns", "wait ns"), Column("p50", "p50"), Column("p90", "p90", spare=4), Column("p99", "p99", spare=3),
    Column("max", "max", spare=2), Column("off_ns", "off-CPU ns", spare=5),
    Column("ended_by", "let go by", "text"), Column("holder", "of thread", "text", spare=9),
)  # fmt: skip
_HEADLINE: Final = ("count", "wait_ns", "p50")


def answer(trace: Trace, *, stacks: bool = False) -> Answer:
    """The table of one guest: a row per lock and operation of the waiter (and its stack), the longest waits first.

    Raises NothingToShow if nothing waited for a lock.
    """
    tree = Stacks(trace.recording) if stacks else None
    if tree is not None and not len(tree):
        raise NothingToShow(f"the recording of {trace.guest} has no stacks", hint="record it with --stacks")
    rows, names, before = Rows(), list(NAMES), 0
    for line, _, doing in trace.lines(("lock-contended", "lock-acquired"), ("how", "name", "stack")):
        names = list(line.window.names)
        before += _add(rows, doing, trace.mine(line))
    columns = rows.columns()
    if not columns or not len(columns["lock"]):
        raise NothingToShow(f"no wait for a lock{trace.who} in {trace.where} of {trace.guest}",
                            hint=trace.hint("lock slow paths"))  # fmt: skip
    notes = _notes(trace, columns, before)
    keys = ["lock", "function", "space", "operation", *(["stack"] if stacks else [])]
    addresses, columns["lock"] = np.unique(columns["lock"], return_inverse=True)
    titles = _titles(trace, addresses)
    table = _rows(columns, keys, names, titles, tree, trace.threads)
    aligned = _rows(columns, ["operation"], names, titles, tree, trace.threads)
    return Answer(
        trace,
        Table((*_LOCK, _SPACE, _OPERATION, *([_STACK] if stacks else [])), _VALUES, table, notes),
        Table((_OPERATION,), _VALUES, aligned, notes, _HEADLINE),
    )


def waits(line: Timeline) -> Calls:
    """Where each wait for a lock begins and ends: of one thread, for the lock at one address."""
    edges = np.flatnonzero(line.of_kind("lock-contended", "lock-acquired"))
    value = line.window.value[line.row[edges]]
    order = np.lexsort((edges, value, line.thread[edges]))
    edges, value = edges[order], value[order]
    begins = line.kind[edges] == KIND["lock-contended"]
    same = (line.thread[edges[1:]] == line.thread[edges[:-1]]) & (value[1:] == value[:-1])
    pair = np.append(same & begins[:-1] & ~begins[1:], False)[: len(edges)]
    ended = np.where(pair, np.append(edges[1:], -1)[: len(edges)], -1)
    alone = ~begins
    alone[1:] &= ~pair[:-1]
    begin = np.concatenate([edges[begins], np.full(int(alone.sum()), -1)])
    end = np.concatenate([ended[begins], edges[alone]])
    sort = np.argsort(np.where(begin >= 0, begin, end), kind="stable")
    return Calls(begin[sort], end[sort])


def _add(rows: Rows, doing: Doing, mine: npt.NDArray[np.bool_]) -> int:
    """A row for each wait that begins in the window; how many only end in it."""
    line = doing.line
    found = waits(line)
    found = found.where(mine[line.thread[found.seen]])
    began = found.begin >= 0
    before, found = int((~began).sum()), found.where(began)
    if not len(found):
        return before
    window, whole = line.window, found.whole
    event = line.row[found.seen]
    first, last = np.where(whole, found.begin, found.seen), np.where(whole, found.end, found.seen)
    # What let it go on: the last wake-up before its end.
    woken = np.append(np.flatnonzero(line.kind == WOKEN), len(line))
    place = woken[np.maximum(np.searchsorted(woken, last) - 1, 0)]
    there = whole & (place > first) & (place < last)
    ended, holder = np.full(len(found), -1, dtype=np.int64), np.full(len(found), -1, dtype=np.int64)
    wake = line.row[place[there]]
    ended[there], holder[there] = doing.wakers[wake], window.thread[wake]
    holder[ended == INTERRUPT] = -1
    spent = window.how[line.row[last]]
    rows.add(
        lock=window.value[event], function=window.name[event], space=window.how[event],
        operation=doing.at(found.seen), stack=window.stack[event], whole=whole,
        slept=whole & (spent == HOW["slept"]), spun=whole & (spent == HOW["spun"]), told=whole & (spent > 0),
        wait=line.time[last] - line.time[first], off=line.off[last] - line.off[first], ended=ended, holder=holder,
    )  # fmt: skip
    return before


def _rows(columns: dict[str, npt.NDArray[Any]], keys: list[str], names: list[str], titles: list[str],
          tree: Stacks | None, threads: Threads) -> list[tuple[Any, ...]]:  # fmt: skip
    groups = grouped([columns[key] + (1 if key == "stack" else 0) for key in keys])
    whole = columns["whole"]
    told, ended = groups.count(columns["told"]), groups.count(whole)
    shown: dict[str, Callable[[int], str]] = {
        "lock": lambda code: titles[code],
        "function": lambda code: readable(names[code]),
        "space": lambda code: HOWS[code],
        "operation": lambda code: text(code, names),
        "stack": lambda code: "" if tree is None else tree.path(code - 1),
    }
    texts = [[shown[key](code) for code in codes.tolist()] for key, codes in zip(keys, groups.keys, strict=True)]
    figures = [
        groups.counts.tolist(), groups.count(~whole).tolist(),
        *(known(groups.count(columns[how]), told) for how in ("slept", "spun")),
        known(groups.sums(columns["wait"], whole), ended), *groups.percentiles(columns["wait"], whole).values(),
        known(groups.sums(columns["off"], whole), ended),
        [None if code is None else text(code, names) for code in groups.most(columns["ended"], columns["ended"] >= 0)],
        [None if code is None else threads.title(code)
         for code in groups.most(columns["holder"], columns["holder"] >= 0)],
    ]  # fmt: skip
    size = len(keys)
    return sorted(zip(*texts, *figures, strict=True), key=lambda row: (-(row[size + 4] or 0), -row[size], row[:size]))


def _titles(trace: Trace, addresses: Ints) -> list[str]:
    """What each lock is called: its name, else its address."""
    return [
        trace.locks.get(address) or (f"{address & (1 << 64) - 1:#x}" if address else "")
        for address in addresses.tolist()
    ]


def _notes(trace: Trace, columns: dict[str, npt.NDArray[Any]], before: int) -> tuple[str, ...]:
    open_at_end = int((~columns["whole"]).sum())
    notes = ["Only waits are seen: a lock that is free is taken without a trace."]
    if not columns["whole"].any():
        notes.append("The ends of waits are not in this recording, so how long they were is not known.")
    elif open_at_end or before:
        notes.append(f"Without an end in the window: {open_at_end:,}; without a begin, and not counted: {before:,}.")
    return (*notes, *trace.unseen("lock slow paths", "wake-ups"))
