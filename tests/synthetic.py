"""Recordings of guests that never ran, with planted differences, written through ``probes.recording.write``.

``Guest`` holds what happens in one phase; ``plant`` changes one thing.  The numbers are small and made up, but the
recordings are whole: they pass ``weaklink verify``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from probes.events import EVENTS, FRAMES, LEDGER, PHASES, SCHEMA_VERSION, STACKS
from probes.recording import write

Cell = tuple[str, str, str]  # operation, layer, function


@dataclass
class Phase:
    """``work``: cell -> instructions per op; ``calls``: operation -> calls per op; ``bytes``: cell -> bytes per op.

    ``entered``: cell -> entries of its function per op, 1 if it is not there.
    """

    name: str
    ops: int
    calls: dict[str, int]
    work: dict[Cell, int]
    bytes: dict[Cell, int] = field(default_factory=dict)
    idle_ns: int = 0
    status: str = "ok"
    reason: str = ""
    jitter: dict[Cell, int] = field(default_factory=dict)  # instructions, times the seed's number, per phase
    entered: dict[Cell, int] = field(default_factory=dict)


def tour() -> list[Phase]:
    """Three phases that look like a kernel's: a null call, files, fresh pages."""
    return [
        Phase(
            "null-call", 1009, {"getppid": 1},
            {("user", "user", "main"): 5, ("getppid", "libc", "getppid"): 6,
             ("getppid", "entry", "entry_SYSCALL_64"): 90, ("getppid", "process", "__x64_sys_getppid"): 40},
        ),
        Phase(
            "files", 211, {"openat": 1, "write": 2, "close": 1},
            {("user", "user", "main"): 40, ("openat", "vfs", "path_openat"): 2100, ("openat", "fs", "shmem_mknod"): 900,
             ("openat", "entry", "entry_SYSCALL_64"): 90, ("write", "entry", "entry_SYSCALL_64"): 180,
             ("write", "fs", "generic_perform_write"): 1500, ("write", "copy", "copy_user"): 60,
             ("close", "entry", "entry_SYSCALL_64"): 90, ("close", "vfs", "filp_close"): 300,
             ("interrupt", "timer", "hrtimer_interrupt"): 12, ("background", "sched", "rcu_core"): 9},
            {("write", "copy", "copy_user"): 8192},
        ),
        Phase(
            "fresh-pages", 509, {"page-fault": 1},
            {("user", "user", "touch"): 8, ("page-fault", "entry", "asm_exc_page_fault"): 60,
             ("page-fault", "mm-fault", "handle_mm_fault"): 500, ("page-fault", "mm-alloc", "get_page"): 300},
            {("page-fault", "mm-alloc", "clear_page_erms"): 4096},
            idle_ns=5000,
        ),
    ]  # fmt: skip


def audit(phases: list[Phase]) -> list[Phase]:
    """Each system call goes through the slow entry path and two audit functions."""
    phases = deepcopy(phases)
    for phase in phases:
        for operation, calls in phase.calls.items():
            if operation != "page-fault":
                for function, cost in (("syscall_trace_enter", 70), ("__audit_syscall_entry", 60),
                                       ("__audit_syscall_exit", 90)):  # fmt: skip
                    phase.work[operation, "security", function] = cost * calls
    return phases


def no_clearing(phases: list[Phase]) -> list[Phase]:
    """Fresh pages are no longer cleared: 4096 bytes less per fault, and hardly an instruction."""
    phases = deepcopy(phases)
    for phase in phases:
        for cell in [cell for cell in phase.bytes if cell[2] == "clear_page_erms"]:
            del phase.bytes[cell]
            phase.work[cell[0], cell[1], "get_page"] -= 3
    return phases


def other_kernel(phases: list[Phase]) -> list[Phase]:
    """The same calls, answered by functions of another kernel: writes cost more, all else costs less."""
    phases = deepcopy(phases)
    for phase in phases:
        work = {cell: cost for cell, cost in phase.work.items() if cell[1] in ("user", "libc")}
        for (operation, layer, _), cost in phase.work.items():
            if layer not in ("user", "libc", "entry"):
                cost = cost * (9 if operation == "write" else 1) // 2
                work[operation, layer, f"_ZN3osv4{operation[:4]:_<4}Ev"] = cost
        phase.work, phase.bytes = work, {}
    return phases


def manifest(spec: str, seed: int, phases: Iterable[Phase], **changes: Any) -> dict[str, Any]:
    """A manifest; ``changes`` are merged into its sections."""
    name, _, options = spec.partition("+")
    value: dict[str, Any] = {
        "schema": SCHEMA_VERSION, "tool": "weaklink 0", "created": "2026-01-01T00:00:00+00:00",
        "app": {
            "name": "tour", "sha256": "ab" * 32, "source_sha256": "fe" * 32, "target": "linux-static", "args": [],
            "phases": [
                {"number": number, "name": phase.name, "question": f"what does {phase.name} cost?", "op": "op",
                 "ops": phase.ops, "calls": {op: n * phase.ops for op, n in phase.calls.items()}, "varies": []}
                for number, phase in enumerate(phases)
            ],
        },
        "guest": {"spec": spec, "name": name, "kind": "linux", "runtime": "", "options": options.split("+"),
                  "kernel_sha256": "cd" * 32, "kernel_version": "6.1.0-synthetic", "provenance": "made up",
                  "append": "quiet"},
        "guest_reports": {"clocksource": "tsc", "mitigations": "none"},
        "qemu": {"version": "7.2.22", "machine": "microvm", "cpu": "max", "icount": "shift=0,sleep=off", "vcpus": 1,
                 "memory_mib": 256, "command": "qemu-system-x86_64"},
        "seed": {"number": seed, "rtc": "2020-01-01", "spin": 0},
        "probe": {"mode": "exact", "capabilities": {}, "not_hooked": [], "lost_events": 0, "trouble": {},
                  "map_sha256": "ef" * 32},
        "cost": {"wall_s": 1.0, "cpu_s": 1.0, "boot_s": 0.5},
    }  # fmt: skip
    for section, keys in changes.items():
        if isinstance(value[section], dict):
            value[section].update(keys)
        else:
            value[section] = keys
    return value


def tables(phases: list[Phase], seed: int) -> dict[str, pa.Table]:
    """Ledger, phases and events that agree with one another."""
    ledger: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    events: list[tuple[int, int, str, str, int]] = []
    clock = 0
    for number, phase in enumerate(phases):
        rows = []
        for cell in {**phase.work, **phase.bytes}:
            moved = phase.bytes.get(cell, 0) * phase.ops
            rows.append({
                "phase": number, "role": "main", "operation": cell[0], "layer": cell[1], "function": cell[2],
                "space": "user" if cell[1] in ("user", "libc") else "kernel",
                "instructions": phase.work.get(cell, 0) * phase.ops + phase.jitter.get(cell, 0) * seed,
                "calls": phase.entered.get(cell, 1) * phase.ops,
                "rep_iterations": moved, "rep_bytes": moved, "idle_ns": 0,
            })  # fmt: skip
        if phase.idle_ns:
            rows.append({
                "phase": number, "role": "idle", "operation": "background", "layer": "idle", "function": "[idle]",
                "space": "kernel", "instructions": 0, "calls": 0, "rep_iterations": 0, "rep_bytes": 0,
                "idle_ns": phase.idle_ns,
            })  # fmt: skip
        sums = {key: sum(row[key] for row in rows) for key in ("instructions", "rep_iterations", "idle_ns")}
        raw = sum(sums.values())
        said.append({"number": number, "name": phase.name, "status": phase.status, "reason": phase.reason,
                     "ops": phase.ops if phase.status == "ok" else 0, "tsc": raw + 7, **sums})  # fmt: skip
        events.append((clock, 0, "phase-begin", "", number))
        for operation, calls in phase.calls.items():
            stem = "fault" if operation == "page-fault" else "op"
            for _ in range(calls * phase.ops):
                events += [(clock, 0, f"{stem}-enter", operation, 0), (clock, 0, f"{stem}-exit", operation, 0)]
        if any(cell[0] == "interrupt" for cell in phase.work):
            events += [(clock, 0, "irq-enter", "timer", 0), (clock, 0, "irq-exit", "timer", 0)]
        clock += raw
        events.append((clock, 0, "phase-end", "", number))
        ledger += rows
    return {
        "ledger": pa.Table.from_pylist(ledger, schema=LEDGER),
        "phases": pa.Table.from_pylist(said, schema=PHASES),
        "events": event_table(events),
    }


def event_table(events: Iterable[tuple[int, int, str, str, int]]) -> pa.Table:
    """Give the table of events (time, thread, kind, name, value) of vCPU 0, of which nothing more is known."""
    rows = [(time, 0, thread, kind, name, "", value, -1) for time, thread, kind, name, value in events]
    columns = zip(*rows, strict=True) if rows else [()] * len(EVENTS)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, EVENTS, strict=True)], schema=EVENTS)


def stacks(path: Iterable[str], each: Iterable[int]) -> dict[str, pa.Table]:
    """Frames that call one another, all in layer process of the kernel, and the instructions of each in phase 0."""
    names, counts = list(path), list(each)
    numbers = range(len(names))
    return {
        "frames": pa.Table.from_pylist(
            [{"frame": frame, "caller": frame - 1, "function": names[frame], "layer": "process", "space": "kernel"}
             for frame in numbers],
            schema=FRAMES,
        ),
        "stacks": pa.Table.from_pylist(
            [{"phase": 0, "role": "main", "operation": "getppid", "stack": frame, "instructions": counts[frame],
              "calls": 1, "rep_iterations": 0, "rep_bytes": 0, "idle_ns": 0} for frame in numbers],
            schema=STACKS,
        ),
    }  # fmt: skip


def record(root: Path, spec: str, phases: list[Phase], seeds: Iterable[int] = (0,),
           more: Mapping[str, pa.Table] | None = None, **changes: Any) -> list[Path]:  # fmt: skip
    """Write a recording per seed below ``root``, in the layout of a campaign; ``more`` tables are of all of them."""
    places = []
    for seed in seeds:
        place = root / "tour" / spec.replace("/", "_") / f"seed-{seed}"
        write(
            place,
            manifest(spec, seed, phases, **changes),
            {**tables(phases, seed), **(more or {})},
            b"weaklink: done\n",
        )
        places.append(place)
    return places
