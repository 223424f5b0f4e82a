"""Whether what ``analysis.trace`` makes of events is what the ledger, which knows nothing of them, has counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.trace import paths, syscalls, waits
from analysis.trace.cascade import cascade
from analysis.trace.spans import spans
from analysis.trace.trace import Trace
from probes.recording import Recording
from profiler.errors import NothingToShow

_NOT_ASKED = ("interrupt", "page-fault", "exception")


def disagreements(seen: Recording) -> list[str]:
    """A sentence for each figure that is another in the trace than in the tables, of all windows with events."""
    kept = seen.events_kept
    phases = seen.phases[seen.phases["instructions"].notna()]
    numbers = [int(number) for number in phases["number"] if kept is None or number in kept]
    return [f"{seen.spec} phase {number}: {text}" for number in numbers for text in _of_phase(seen, number)]


def _of_phase(seen: Recording, number: int) -> Iterator[str]:
    trace = Trace(seen.spec, seen, (number,))
    phase = seen.phases.set_index("number").loc[number]
    ledger = seen.ledger[seen.ledger["phase"] == number]
    ((line, _, _),) = trace.lines()
    on, irq, idle = (int(line.total(clock).sum()) for clock in (line.on, line.irq, line.idle))
    window = int(phase["instructions"] + phase["rep_iterations"] + phase["idle_ns"])
    if (on + irq + idle, line.window.end - line.window.begin) != (window, window):
        yield f"threads executed {on:,}, interrupts {irq:,}, idle {idle:,}, and the window has {window:,}"
    if idle != phase["idle_ns"]:
        yield f"idle {idle:,}, in the ledger {phase['idle_ns']:,}"
    cells = ledger[ledger["operation"] == "interrupt"]
    if irq != int(cells["instructions"].sum() + cells["rep_iterations"].sum()):
        yield f"interrupts took {irq:,}, and their cells have {int(cells['instructions'].sum()):,} instructions"
    if len(trace.threads.numbers):
        yield from _idle(trace, {(str(role), str(operation)): int(ns) for (role, operation), ns in
                                 ledger[ledger["idle_ns"] > 0].groupby(["role", "operation"], observed=True)["idle_ns"]
                                 .sum().items()})  # fmt: skip
        yield from _waits(trace)
    yield from _calls(seen, trace, number)


def _waits(trace: Trace) -> Iterator[str]:
    """Waits add up to the time off the CPU, and what they come down to adds up to them, each; nothing is cut."""
    for line, _, doing in trace.lines():
        found = spans(line, doing)
        off = np.bincount(found.thread, weights=found.ns * found.waiting, minlength=len(line.threads))
        if off.astype(int).tolist() != line.total(line.off).tolist():
            yield "threads wait for another time than they are off the CPU"
        waits_ = np.flatnonzero(found.waiting)
        pieces = cascade(found, waits_)
        divided = np.bincount(pieces.wait, weights=pieces.ns, minlength=len(found))
        if (bad := int(np.count_nonzero(divided[waits_] != found.ns[waits_]))) or pieces.cut:
            yield f"{bad} waits are not divided exactly, {pieces.cut:,} ns are cut"
        # Whoever wakes has run: on one vCPU each chain ends with a thread that runs, or with what is no thread.
        if odd := int(np.count_nonzero((pieces.ran < 0) & (found.node[pieces.via] >= 0))):
            yield f"{odd} chains end nowhere"
    try:
        table = paths.answer(trace).table
    except NothingToShow:
        return
    shares: dict[tuple[str, str], float] = {}
    for role, operation, what, _, _, _, _, share in table.rows:
        shares[role, operation] = shares.get((role, operation), 0.0) + share
        if what == "not followed":
            yield f"a path of {operation} is not followed to its begin"
    if wrong := [key for key, share in shares.items() if abs(share - 1) > 1e-9]:
        yield f"the paths of {wrong} are not as long as they are"


def _idle(trace: Trace, known: dict[tuple[str, str], int]) -> Iterator[str]:
    """Idle time is charged to the same role and operation."""
    found: dict[tuple[str, str], int] = {}
    try:
        table = waits.answer(trace).table
    except NothingToShow:
        table = None
    for what, role, operation, _, _, ns, *_ in table.rows if table else ():
        if what == "idle":
            found[role, operation] = found.get((role, operation), 0) + ns
    if found != known:
        yield f"idle was for {found}, and in the ledger for {known}"


def _calls(seen: Recording, trace: Trace, number: int) -> Iterator[str]:
    """Operations are as often as CALLS has them, and no call took more than it was on the CPU."""
    calls = seen.calls[(seen.calls["phase"] == number) & ~seen.calls["operation"].isin(_NOT_ASKED)]
    known = dict(zip(calls["operation"].astype(str), calls["calls"].astype(int), strict=True))
    try:
        rows = syscalls.answer(trace).table.rows
    except NothingToShow:
        rows = []
    found = {row[0]: row[1] for row in rows if row[0] in known}
    for line, asked, _ in trace.lines(columns=("how", "name", "value")):
        # Bare system calls are none of CALLS.
        bare = asked.begin[line.of_kind("syscall-enter")[asked.seen] & (asked.begin >= 0)]
        for name, count in zip(*np.unique(line.window.name[line.row[bare]], return_counts=True), strict=True):
            if (called := line.window.names[name]) in found:
                found[called] -= int(count)
        # Of a bare system call its way in is counted, though the event comes when the kernel knows which it is.
        whole = asked.where(asked.whole & line.of_kind("op-enter")[asked.seen])
        value = line.window.value[line.row[whole.end]]
        if (bad := int(np.count_nonzero(value > line.on[whole.end] - line.on[whole.begin]))) > 0:
            yield f"{bad} calls executed more instructions than they had ns on the CPU"
    if found != known:
        yield f"calls {found}, in the table of calls {known}"
