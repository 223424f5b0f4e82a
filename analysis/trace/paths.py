"""The critical path of each operation: what had to happen, one after the other, for it to end when it did.

From an operation's end backwards: what its thread did; where that was woken, what the thread did that woke it, from the
moment of the wake-up backwards, and so on until the operation's begin.  Unlike a chain of waits the path stays with who
woke: what that did before is what the wake-up had to wait for.  All operations are followed together, a step at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.text import number
from analysis.trace.groups import grouped
from analysis.trace.operations import Calls, text
from analysis.trace.rows import Rows
from analysis.trace.spans import NODES, RUNNING, Spans, spans
from analysis.trace.table import Answer, Column, Table
from analysis.trace.trace import Trace
from analysis.trace.window import NAMES, Ints
from probes.events import ROLES
from profiler.errors import NothingToShow

STEPS: Final = 10_000
"""Spans of a path that are followed."""
MOST: Final = 4_000_000
"""Spans of all paths of a window that are followed."""
_KEYS: Final = (Column("role", "role", "text"), Column("operation", "operation", "text"),
                Column("path", "on its path", "text"), Column("doing", "doing", "text"))  # fmt: skip
_VALUES: Final = (Column("calls", "calls"), Column("ns", "ns"), Column("per_call", "/call"),
                  Column("share", "share", "share"))  # fmt: skip
_SELF, _CUT = len(NODES), len(NODES) + 1
_ROLES: Final = len(NODES) + 2
_ROLE: Final = ("", *ROLES)
"""Codes of what is on a path: NODES, the thread itself, what was not followed, a role that is not known, ROLES."""


def answer(trace: Trace) -> Answer:
    """The table of one guest: of each operation what its path went through; ``ns`` add up to the operation's duration.

    Raises NothingToShow if no operation both begins and ends in the window.
    """
    rows, names, cut = Rows(), list(NAMES), 0
    totals: dict[tuple[int, ...], tuple[int, int]] = {}
    for line, calls, doing in trace.lines():
        names = list(line.window.names)
        whole = calls.where(calls.whole)
        whole = whole.where(trace.mine(line)[line.thread[whole.begin]])
        operation = line.window.name[line.row[whole.begin]].astype(np.int64)
        groups = grouped([trace.threads.role_of(line.threads[line.thread[whole.begin]]) + 1, operation])
        spent = groups.sums(line.time[whole.end] - line.time[whole.begin])
        keys = zip(*(key.tolist() for key in groups.keys), strict=True)
        for key, count, ns in zip(keys, groups.counts.tolist(), spent.tolist(), strict=True):
            counted, summed = totals.get(key, (0, 0))
            totals[key] = (counted + count, summed + ns)
        cut += _follow(rows, trace, spans(line, doing), whole, operation)
    columns = rows.columns()
    if not columns or not len(columns["ns"]):
        raise NothingToShow(f"no operation{trace.who} both begins and ends in {trace.where} of {trace.guest}",
                            hint=trace.hint("operations"))  # fmt: skip
    table = _table(columns, names, totals)
    notes = (
        "From an operation's end back to its begin: its own thread, and where that was woken, who woke it, from there"
        " on back. The rows of an operation add up to its duration; interrupts are of the thread that they interrupt.",
        *(
            [f"Cut: {number(cut)} ns, as a path is followed for {STEPS:,} spans, and those of a window for {MOST:,}."]
            if cut
            else []
        ),
        *trace.unseen("context switches", "wake-ups"),
    )
    return Answer(trace, Table(_KEYS, _VALUES, table, notes, ("calls", "per_call")))


def _follow(rows: Rows, trace: Trace, found: Spans, calls: Calls, operation: Ints) -> int:
    """Add the steps of the paths of some calls; how many ns of them were not followed."""
    line = found.line
    roles = trace.threads.role_of(line.threads) + 1
    own = line.thread[calls.begin].astype(np.int64)
    thread, floor, time = own.copy(), line.time[calls.begin], line.time[calls.end].copy()
    active, steps = np.flatnonzero(time > floor), 0
    while len(active) and steps < STEPS and len(active) * steps < MOST:
        steps += 1
        span = np.searchsorted(found.begins, found.at(thread[active], time[active]), side="left") - 1
        node, runs = found.node[span], found.state[span] == RUNNING
        # Woken by a thread, or made by one: on with that, at this very moment.
        jumps = ~runs & (node >= 0) & (time[active] == found.end[span])
        thread[active[jumps]] = node[jumps]
        stays, span, node, runs = active[~jumps], span[~jumps], node[~jumps], runs[~jumps]
        until = np.maximum(found.begin[span], floor[stays])
        running = np.where(thread[stays] == own[stays], _SELF, roles[thread[stays]] + _ROLES)
        waited = np.where(node < 0, node + len(NODES), _CUT)
        rows.add(
            role=roles[own[stays]], operation=operation[stays], what=np.where(runs, running, waited),
            doing=np.where(runs, found.doing[span], found.by[span]), ns=time[stays] - until,
        )  # fmt: skip
        time[stays] = until
        active = active[time[active] > floor[active]]
    none = np.zeros(len(active), dtype=np.int64)
    rows.add(
        role=roles[own[active]],
        operation=operation[active],
        what=none + _CUT,
        doing=none,
        ns=time[active] - floor[active],
    )
    return int((time[active] - floor[active]).sum())


def _table(columns: dict[str, npt.NDArray[Any]], names: Sequence[str], totals: dict[tuple[int, ...], tuple[int, int]]
           ) -> list[tuple[Any, ...]]:  # fmt: skip
    groups = grouped([columns[key] for key in ("role", "operation", "what", "doing")])
    found = []
    keys = zip(*(key.tolist() for key in groups.keys), strict=True)
    for ns, (role, operation, what, doing) in zip(groups.sums(columns["ns"]).tolist(), keys, strict=True):
        calls, whole = totals[role, operation]
        if ns:
            row = (_ROLE[role], names[operation], _named(what), text(doing, names), calls, ns, ns / calls, ns / whole)
            found.append((whole, row))
    return [row for _, row in sorted(found, key=lambda one: (-one[0], one[1][:2], -one[1][5], one[1][2:4]))]


def _named(what: int) -> str:
    if what < len(NODES):
        return NODES[what]
    return ("itself", "not followed", *_ROLE)[what - len(NODES)]
