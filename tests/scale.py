"""What the trace commands take for a recording of ten million events: seconds and memory of each.

    python -m tests.scale [--events N] [--keep DIR]

Pairs of threads hand a lock and a wake-up to one another, with system calls inside operations, interrupts, idle time,
packets: the same twenty events over and over, with other threads, times and costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probes.events import EVENT_KINDS, EVENTS, HOWS, PHASES, THREADS
from probes.recording import write
from tests import synthetic
from tests.timed import WEAKLINK, took

NAMES = (
    "",
    "pthread_mutex_lock",
    "futex",
    "pthread_mutex_unlock",
    "lock_slow",
    "timer_interrupt",
    "send",
    "tcp_output",
)
EDGES = ("phase-begin", "phase-end")
A, B, IDLE = 0, 1, 2
# kind, name, how, whose, and value: a number, another thread, or -1 for instructions.
PATTERN: tuple[tuple[str, str, str, int, Any], ...] = (
    ("op-enter", "pthread_mutex_lock", "", A, 0), ("syscall-enter", "futex", "", A, 0),
    ("lock-contended", "lock_slow", "user", A, 4096), ("switch", "", "blocked", A, "B"),
    ("op-enter", "pthread_mutex_unlock", "", B, 0), ("syscall-enter", "futex", "", B, 0),
    ("wake", "pthread_mutex_unlock", "woken", B, "A"), ("syscall-exit", "futex", "ok", B, -1),
    ("op-exit", "pthread_mutex_unlock", "ok", B, -1), ("irq-enter", "timer_interrupt", "", B, 0),
    ("irq-exit", "timer_interrupt", "timer", B, 0), ("switch", "", "blocked", B, "A"),
    ("lock-acquired", "lock_slow", "slept", A, 4096), ("syscall-exit", "futex", "ok", A, -1),
    ("op-exit", "pthread_mutex_lock", "ok", A, -1), ("op-enter", "send", "", A, 0),
    ("packet", "tcp_output", "sent", A, 1448), ("wake", "send", "woken", A, "B"), ("op-exit", "send", "failed", A, -1),
    ("switch", "", "preempted", A, "next"),
)  # fmt: skip


def events(rows: int, pairs: int = 200) -> tuple[pa.Table, int]:
    """About ``rows`` events of one phase, and how long it is."""
    rounds = rows // len(PATTERN)
    random = np.random.default_rng(1)
    first = 2 * (np.arange(rounds) % pairs)
    following = 2 * ((np.arange(rounds) + 1) % pairs)
    thread = (first[:, None] + np.array([row[3] for row in PATTERN])).ravel()
    value = np.zeros((rounds, len(PATTERN)), dtype=np.int64)
    for place, (*_, what) in enumerate(PATTERN):
        other = {"A": first, "B": first + 1, "next": following}
        value[:, place] = other[what] if what in other else what if what != -1 else random.integers(50, 5000, rounds)
    times = np.cumsum(random.integers(1, 3000, len(thread)))
    codes = {name: [row[place] for row in PATTERN] for place, name in ((0, "kind"), (1, "name"), (2, "how"))}
    words = {"kind": list(EVENT_KINDS), "name": list(NAMES), "how": list(HOWS)}

    def column(name: str) -> pa.Array:
        pattern = np.array([words[name].index(word) for word in codes[name]])
        edge = {"kind": EDGES}.get(name, ("", ""))
        ends = [[words[name].index(word)] for word in edge]
        indices = np.concatenate([ends[0], np.tile(pattern, rounds), ends[1]])
        kind = EVENTS.field(name).type
        return pa.DictionaryArray.from_arrays(pa.array(indices, kind.index_type), pa.array(words[name]))

    def plain(name: str, begin: int, middle: Any, end: int) -> pa.Array:
        return pa.array(np.concatenate([[begin], middle, [end]]), EVENTS.field(name).type)

    length, size = int(times[-1]) + 1, len(thread)
    arrays = [
        plain("time", 0, times, length), plain("vcpu", 0, np.zeros(size, int), 0), plain("thread", 0, thread, 0),
        column("kind"), column("name"), column("how"), plain("value", 0, value.ravel(), 0),
        plain("stack", -1, np.full(size, -1), -1),
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=EVENTS), length


def words(*names: str) -> pa.Array:
    """Some texts as pyarrow has them."""
    return pa.array(names, pa.string())


def record(place: Path, rows: int) -> None:
    """Write a recording of so many events."""
    write_storm(place, *events(rows))


def write_storm(place: Path, table: pa.Table, length: int) -> None:
    """Write a recording of these events, which are so long."""
    phase = synthetic.Phase("storm", 1, {}, {("user", "user", "main"): length})
    tables = synthetic.tables([phase], 0)
    said = [{"number": 0, "name": "storm", "status": "ok", "reason": "", "ops": 1, "tsc": length,
             "instructions": length, "rep_iterations": 0, "idle_ns": 0}]  # fmt: skip
    numbers = np.unique(table["thread"].to_numpy()).tolist()
    who = [{"thread": number, "role": "main" if number == 0 else "app", "name": "", "process": 0, "creator": -1}
           for number in numbers]  # fmt: skip
    tables |= {"events": table, "phases": pa.Table.from_pylist(said, schema=PHASES),
               "threads": pa.Table.from_pylist(who, schema=THREADS)}  # fmt: skip
    write(place, synthetic.manifest("linux", 1, [phase]), tables, b"")


VERBS = (["syscalls"], ["syscalls", "--nested"], ["switches"], ["switches", "--pairs"], ["locks"], ["waits"],
         ["waits", "--graph"], ["waits", "--roots"], ["waits", "--path"],
         ["packets"], ["events", "--limit", "100"],
         ["events", "--kind", "packet", "--format", "csv", "--limit", "1000"],
         ["syscalls", "--since", "1s", "--until", "1100ms"])  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Record, and time each verb in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="record here, and use what was recorded here before")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.keep or Path(folder) / "r"
        if not place.exists():
            record(place, arguments.events)
        size = (place / "events.parquet").stat().st_size
        print(f"{arguments.events:,} events, {size / 1e6:.0f} MB on disk")
        for verb in VERBS:
            found = took([*WEAKLINK, verb[0], place, *verb[1:]])
            print(f"{' '.join(verb):<55} {found}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
