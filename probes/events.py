"""The vocabulary of recordings: layers, roles, event kinds, and the schema of every table.

A recording is a directory::

    manifest.json     what ran: see ``probes.manifest.Manifest``
    ledger.parquet    LEDGER: conserved instruction counts per cell
    phases.parquet    PHASES: what the app itself said of each phase, and the probe's totals
    calls.parquet     CALLS: how often each operation was asked for
    events.parquet    EVENTS: what happened, in order
    console.log       the guest's console, control characters and all, at most 16 MB

``SCHEMA_VERSION`` changes whenever a column changes its meaning; readers refuse other versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 2

LAYERS: Final = (
    "user", "libc", "entry", "copy", "vfs", "fs", "page-cache", "block", "net", "socket", "ipc", "sched", "lock",
    "wait-queue", "mm-fault", "mm-alloc", "process", "time", "irq", "timer", "driver", "security", "accounting",
    "emulation", "idle", "device-wait", "unattributed",
)  # fmt: skip
"""Where work was done.  The order is that of the design page and of legends."""

ROLES: Final = ("main", "app", "kernel", "idle")
"""Whose work: the thread that armed the probe, the app's other threads, kernel threads, the idle thread."""

EVENT_KINDS: Final = (
    "phase-begin", "phase-end", "op-enter", "op-exit", "syscall-enter", "syscall-exit", "switch", "wake",
    "lock-contended", "fault-enter", "fault-exit", "irq-enter", "irq-exit", "idle-begin", "idle-end",
)  # fmt: skip


def _table(columns: Iterable[tuple[str, pa.DataType]], may_be_null: Collection[str] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in may_be_null) for name, kind in columns])


# Null is what could not be had, never 0: a capability in the manifest or the phase's ``reason`` says why.

# One row per cell.  Cells of a phase add up to that phase's PHASES.instructions / .idle_ns exactly.
LEDGER: Final = _table([
    ("phase", pa.int16()),  # PHASES.number
    ("role", pa.string()),  # ROLES
    ("operation", pa.string()),  # read, futex, ..., user, page-fault, interrupt, deferred:<operation>, background
    ("layer", pa.string()),  # LAYERS
    ("function", pa.string()),  # symbol, or [vdso], [idle], [unknown]
    ("space", pa.string()),  # user | kernel
    ("instructions", pa.int64()),  # executed; a REP instruction counts once
    ("calls", pa.int64()),  # entries of the function
    ("rep_iterations", pa.int64()),  # further iterations of REP instructions (the raw clock has them)
    ("rep_bytes", pa.int64()),  # bytes those iterations moved, set or compared
    ("idle_ns", pa.int64()),  # virtual ns the vCPU was halted, charged to what ended it; null if it cannot be read
], may_be_null={"idle_ns"})  # fmt: skip

# One row per phase that the app ran.  ``raw = instructions + rep_iterations + idle_ns`` is the probe's clock.
PHASES: Final = _table([
    ("number", pa.int16()),
    ("name", pa.string()),
    ("status", pa.string()),  # ok | unsupported | failed
    ("reason", pa.string()),  # why not ok, else ""
    ("ops", pa.int64()),  # ops the app says it did
    ("tsc", pa.int64()),  # the app's own RDTSC delta (virtual ns at shift 0); null if it does not read it
    ("instructions", pa.int64()),  # this and the next two are null in a phase without a window
    ("rep_iterations", pa.int64()),
    ("idle_ns", pa.int64()),  # null too if it cannot be read
], may_be_null={"tsc", "instructions", "rep_iterations", "idle_ns"})  # fmt: skip

# One row per operation of a phase: counted from the events, and kept where events are not.
CALLS: Final = _table([
    ("phase", pa.int16()),  # PHASES.number
    ("operation", pa.string()),  # as in LEDGER; ``interrupt`` counts deliveries, ``page-fault`` faults
    ("calls", pa.int64()),  # op-enter, fault-enter or irq-enter events inside the window
])  # fmt: skip

# One row per event; ``time`` is the probe's raw clock (instructions + rep iterations + idle ns) since it was armed.
EVENTS: Final = _table([
    ("time", pa.int64()),
    ("thread", pa.int32()),  # small number, in order of first appearance; 0 armed the probe
    ("kind", pa.dictionary(pa.int8(), pa.string())),  # EVENT_KINDS
    ("name", pa.dictionary(pa.int16(), pa.string())),  # operation, syscall, lock function, vector; "" if none
    ("value", pa.int64()),  # switch: the next thread; wake: the woken thread; phase-*: the number; else 0
])  # fmt: skip
