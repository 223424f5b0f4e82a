"""Recordings of few events whose tables can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from probes.events import COSTLY, EVENTS, FRAMES, LOCKS, PHASES, STACKS, THREADS
from probes.recording import write
from tests import synthetic

Event = tuple[Any, ...]
"""time, thread, kind, and then name, how, value, stack as far as there is something to say."""

# A thread waits for a lock that another has; both meet a timer, and then all is idle until it comes again.
LOCKED: tuple[Event, ...] = (
    (1000, 0, "phase-begin", "", "", 0),
    (1010, 0, "op-enter", "pthread_mutex_lock"),
    (1020, 0, "syscall-enter", "futex"),
    (1030, 0, "lock-contended", "futex_wait", "user", 0x4000, 2),
    (1050, 0, "switch", "", "blocked", 1),
    (1060, 1, "op-enter", "pthread_mutex_unlock"),
    (1070, 1, "wake", "pthread_mutex_unlock", "woken", 0),
    (1080, 1, "irq-enter", "timer"),
    (1100, 1, "irq-exit", "timer", "timer"),
    (1110, 1, "op-exit", "pthread_mutex_unlock", "ok", 30),
    (1120, 1, "switch", "", "preempted", 0),
    (1130, 0, "lock-acquired", "futex_wait", "slept", 0x4000, 2),
    (1140, 0, "syscall-exit", "futex", "ok", 50),
    (1150, 0, "op-exit", "pthread_mutex_lock", "ok", 70),
    (1160, 0, "op-enter", "read"),
    (1170, 0, "op-exit", "read", "failed", 10),
    (1180, 0, "op-enter", "read"),
    (1200, 0, "switch", "", "blocked", 2),
    (1210, 2, "idle-begin"),
    (1710, 2, "idle-end", "", "", 500),
    (1710, 2, "irq-enter", "timer"),
    (1720, 2, "packet", "netif_rx", "received", 64),
    (1730, 2, "wake", "timer", "woken", 0),
    (1735, 2, "wake", "timer", "awake", 0),
    (1740, 2, "irq-exit", "timer", "timer"),
    (1760, 2, "switch", "", "blocked", 0),
    (1800, 0, "op-exit", "read", "ok", 60),
    (1810, 0, "op-enter", "send"),
    (1820, 0, "packet", "ip_output", "sent", -1),
    (1830, 0, "packet", "ip_output", "sent", 1500),
    (1840, 0, "op-exit", "send", "ok", 30),
    (1850, 0, "op-enter", "exit"),
    (1860, 0, "thread-exit"),
    (1870, 0, "switch", "", "exited", 1),
    (1900, 1, "phase-end", "", "", 0),
)  # fmt: skip
THREADS_OF_LOCKED = ((0, "main", "app"), (1, "app", "=worker"), (2, "idle", "swapper"))


def table(events: Iterable[Event]) -> pa.Table:
    """The table EVENTS."""
    names = ("time", "thread", "kind", "name", "how", "value", "stack")
    nothing = ("", "", 0, -1)
    rows = [{"vcpu": 0, **dict(zip(names, (*event, *nothing[len(event) - 3 :]), strict=True))} for event in events]
    return pa.Table.from_pylist(rows, schema=EVENTS)


def record(place: Path, events: Sequence[Event] = LOCKED, spec: str = "linux", seed: int = 1, *,
           threads: Sequence[tuple[int, str, str]] = THREADS_OF_LOCKED, stacks: bool = False, dear: str = "lock",
           name: str = "locked", lock: str = "big lock",
           **changes: Any) -> Path:  # fmt: skip
    """Write a recording of one phase; what it costs is made up."""
    phase = synthetic.Phase(name, 1, {}, {("read", "vfs", "vfs_read"): 70, ("user", "user", "main"): 330}, idle_ns=500)
    tables = synthetic.tables([phase], 0)
    begin, end = events[0][0], events[-1][0]
    said = [{"number": 0, "name": name, "status": "ok", "reason": "", "ops": 1, "tsc": end - begin,
             "instructions": end - begin - 500, "rep_iterations": 0, "idle_ns": 500}]  # fmt: skip
    tables["phases"] = pa.Table.from_pylist(said, schema=PHASES)
    tables["events"] = table(events)
    who = [
        {"thread": number, "role": role, "name": called, "process": 0, "creator": -1}
        for number, role, called in threads
    ]
    tables["threads"] = pa.Table.from_pylist(who, schema=THREADS)
    tables["locks"] = pa.Table.from_pylist([{"address": 0x4000, "name": lock}], schema=LOCKS)
    cell = {"phase": 0, "role": "main", "operation": "read"}
    of_cell = {**cell, "layer": "vfs", "function": "vfs_read", "space": "kernel"}
    counted = [{**of_cell, "instruction": dear, "count": 7}] if dear else []
    tables["costly"] = pa.Table.from_pylist(counted, schema=COSTLY)
    if stacks:
        # main -> read -> vfs_read -> vfs_read (it calls itself)
        tree = [(-1, "main"), (0, "read"), (1, "vfs_read"), (2, "vfs_read")]
        frames = [{"frame": number, "caller": caller, "function": function, "layer": "vfs", "space": "kernel"}
                  for number, (caller, function) in enumerate(tree)]  # fmt: skip
        nothing = {"calls": 1, "rep_iterations": 0, "rep_bytes": 0, "idle_ns": 0}
        executed = [{**cell, **nothing, "stack": frame, "instructions": instructions}
                    for frame, instructions in ((0, 10), (1, 20), (2, 30), (3, 40))]  # fmt: skip
        tables["frames"] = pa.Table.from_pylist(frames, schema=FRAMES)
        tables["stacks"] = pa.Table.from_pylist(executed, schema=STACKS)
    target = place / "app" / spec.replace("/", "_") / f"seed-{seed}"
    write(target, synthetic.manifest(spec, seed, [phase], **changes), tables, b"")
    return target
