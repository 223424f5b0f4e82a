"""The vocabulary of recordings: layers, roles, event kinds, and the schema of every table.

A recording is a directory::

    manifest.json     what ran: see ``probes.manifest.Manifest``
    ledger.parquet    LEDGER: conserved instruction counts per cell
    phases.parquet    PHASES: what the app itself said of each phase, and the probe's totals
    calls.parquet     CALLS: how often each operation was asked for
    events.parquet    EVENTS: what happened, in order
    threads.parquet   THREADS: whose events and cells those are
    locks.parquet     LOCKS: names of the locks that were contended
    costly.parquet    COSTLY: instructions that are dear on hardware, per cell
    frames.parquet    FRAMES: the tree of call stacks; empty without ``--stacks``
    stacks.parquet    STACKS: instructions per stack; empty without ``--stacks``
    console.log       the guest's console, control characters and all, at most 16 MB

``SCHEMA_VERSION`` changes whenever a column changes its meaning; readers refuse other versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 3

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
    "lock-acquired", "thread-new", "thread-exit", "packet",
)  # fmt: skip

HOWS: Final = (
    "", "ok", "failed", "blocked", "preempted", "yielded", "exited", "woken", "awake", "kernel", "user", "slept",
    "spun", "timer", "device", "ipi", "sent", "received",
)  # fmt: skip
"""What more there is to say of an event, by kind; "" is not known, or nothing to say:

    op-exit, syscall-exit   ok or failed
    switch                  why the old thread stopped: blocked, preempted, yielded, exited
    wake                    woken, or awake: it had not stopped, and needed no waking
    lock-contended          kernel or user: whose lock it is
    lock-acquired           slept or spun: how the wait was spent
    irq-exit                timer, device or ipi (one vCPU interrupts another)
    packet                  sent or received
"""

COSTLY_INSTRUCTIONS: Final = (
    "syscall", "sysret", "iret", "int", "swapgs", "cr3", "invlpg", "wrmsr", "rdmsr", "hlt", "pause", "io", "mmio",
    "lock", "xsave",
)  # fmt: skip
"""Classes of instructions that are dear on hardware and invisible in a count.

``cr3``: writes of it; ``io``: IN, OUT and their string forms; ``mmio``: accesses to devices' memory; ``lock``: LOCK
prefixes, and XCHG with memory, which implies one; ``xsave``: all that save or restore extended state, FXSAVE too.
"""


def _table(columns: Iterable[tuple[str, pa.DataType]], may_be_null: Collection[str] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in may_be_null) for name, kind in columns])


# Null is what could not be had, never 0: a capability in the manifest or the phase's ``reason`` says why.

_CELL: Final = (
    ("phase", pa.int16()),  # PHASES.number
    ("role", pa.string()),  # ROLES
    ("operation", pa.string()),  # read, futex, ..., user, page-fault, interrupt, deferred:<operation>, background
    ("layer", pa.string()),  # LAYERS
    ("function", pa.string()),  # symbol, or [vdso], [idle], [unknown]
    ("space", pa.string()),  # user | kernel
)
CELL: Final = tuple(name for name, _ in _CELL)
"""What makes a cell another one."""

_COUNTS: Final = (
    ("instructions", pa.int64()),  # executed; a REP instruction counts once
    ("calls", pa.int64()),  # entries of the function
    ("rep_iterations", pa.int64()),  # further iterations of REP instructions (the raw clock has them)
    ("rep_bytes", pa.int64()),  # bytes those iterations moved, set or compared
    ("idle_ns", pa.int64()),  # virtual ns the vCPU was halted, charged to what ended it; null if it cannot be read
)

# One row per cell.  Cells of a phase add up to that phase's PHASES.instructions / .idle_ns exactly.
LEDGER: Final = _table([*_CELL, *_COUNTS], may_be_null={"idle_ns"})

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
    ("vcpu", pa.int8()),
    ("thread", pa.int32()),  # THREADS.thread
    ("kind", pa.dictionary(pa.int8(), pa.string())),  # EVENT_KINDS
    ("name", pa.dictionary(pa.int16(), pa.string())),  # see below; "" if none
    ("how", pa.dictionary(pa.int8(), pa.string())),  # HOWS
    ("value", pa.int64()),  # see below, else 0
    ("stack", pa.int32()),  # FRAMES.frame of where it happened; -1 without ``--stacks``
])  # fmt: skip
"""``name`` and ``value`` by kind:

    phase-begin, phase-end          -                            the phase's number
    op-enter                        operation                    0
    op-exit                         operation                    instructions the thread executed in it (a REP
                                                                 instruction once), interrupts left out
    syscall-enter, syscall-exit     operation (its own name)     0; the same as of op-exit
    switch                          -                            the thread that goes on
    wake                            operation of the waker, or   the thread that is woken
                                    the interrupt's name
    lock-contended, lock-acquired   the kernel's function        address of the lock, 0 if not known
    fault-*, irq-*                  exception, interrupt         0
    idle-end                        -                            ns of virtual time
    thread-new                      -                            the new thread; ``thread`` made it
    packet                          the kernel's function        bytes, -1 if not known
"""

# One row per thread, in order of first appearance; 0 armed the probe.
THREADS: Final = _table([
    ("thread", pa.int32()),
    ("role", pa.string()),  # ROLES
    ("name", pa.string()),  # as the kernel has it, "" where it cannot be read
    ("process", pa.int32()),  # number of its process, 0 is the program's own; -1 if not known
    ("creator", pa.int32()),  # thread that made it, -1 if that was before
])  # fmt: skip

# One row per lock that was contended and has a name: of the symbol at its address, or that the kernel keeps of it.
LOCKS: Final = _table([
    ("address", pa.int64()),  # EVENTS.value of its events
    ("name", pa.string()),
])  # fmt: skip

# One row per cell and class of costly instruction; no row is 0.
COSTLY: Final = _table([
    *_CELL,
    ("instruction", pa.string()),  # COSTLY_INSTRUCTIONS
    ("count", pa.int64()),
])  # fmt: skip

# The tree of stacks: a frame is a function called from another frame.
FRAMES: Final = _table([
    ("frame", pa.int32()),  # number, from 0; a frame comes after its caller
    ("caller", pa.int32()),  # FRAMES.frame, -1 for the outermost
    ("function", pa.string()),
    ("layer", pa.string()),  # of a function that many share (memcpy), its caller's
    ("space", pa.string()),
])  # fmt: skip

# One row per stack that executed something; cells of one (phase, role, operation, function, layer) add up to LEDGER's.
STACKS: Final = _table([
    ("phase", pa.int16()),
    ("role", pa.string()),
    ("operation", pa.string()),
    ("stack", pa.int32()),  # FRAMES.frame of the innermost function
    *_COUNTS,  # of that very function
], may_be_null={"idle_ns"})  # fmt: skip
