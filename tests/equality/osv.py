"""The probe against OSv's own tracepoints, read from its ring while the guest stands still behind the window."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

import images
from images import GuestSpec, kernels
from images.compiled import compiled
from images.guests.osv import own
from images.libraries import libraries
from images.model import Program
from images.store import cache_dir, sha256_file
from probes import maps
from probes.recording import Recording
from tests.equality import probe, scheduling, tracepoints
from tests.equality.memory import Memory
from tests.equality.run import First, run
from tests.equality.sequences import FAILED, NEVER, OK, Call, Comparison, Malformed, compare
from tests.equality.tracepoints import Record

_HERE: Final = Path(__file__).resolve().parent
POINTS: Final = ("sched_switch", "sched_wake", "sched_pre", "thread_cr", "mutex_lock_wa", "vfs_", "syscall_")
"""What is switched on: tracepoints whose names contain one of these."""

RUNTIMES: Final = ("static", "libc")
FIRST, LAST = 1007, 1008
"""What ``work.c`` closes at the beginning and the end of its window: no such files are open."""

_OPERATIONS: Final = {
    "open": "vfs_open", "close": "vfs_close", "read": "vfs_pread", "write": "vfs_pwrite", "pwrite": "vfs_pwrite",
    "lseek": "vfs_lseek", "fstat": "vfs_fstat", "unlink": "vfs_unlink", "rmdir": "vfs_rmdir",
}  # fmt: skip
"""Functions of libc, and the tracepoint that each of them comes by, once."""

_SYSCALL: Final = re.compile(r"syscall_(?:sys_|long_)?(\w+)")
_FLAGS: Final = {
    "static": ("-std=gnu11", "-O1", "-static", "-I.", "-Wl,--build-id=none"),
    "libc": ("-std=gnu11", "-O1", "-fPIE", "-fno-plt", "-pie", "-pthread", "-I.", "-Wl,-z,now", "-Wl,--build-id=none"),
}


def program(runtime: str) -> Program:
    """Build ``work.c`` as OSv's runtime wants it."""
    header = _HERE.parent.parent / "probes" / "marker.h"
    elf = compiled("work.c", {"work.c": _HERE / "work.c", header.name: header}, _FLAGS[runtime], cache_dir())
    digest = sha256_file(elf)
    interpreter, needed = libraries(elf)
    return Program(elf, digest, "linux-pie" if interpreter else "linux-static", digest, None, needed, interpreter)


def record(guest: str, runtime: str, out: Path) -> tuple[Recording, list[Record]]:
    """Record the work in a guest whose tracepoints are on; give what they wrote too.

    Raises ``Missing`` if the kernel's symbols have no debug information, ``Malformed``.
    """
    spec = GuestSpec(guest, runtime, (f"trace={','.join(POINTS)}",))
    image = images.check(spec)
    symbols = kernels.image(image, cache_dir(), *own.FILES)
    assert symbols is not None
    layout = tracepoints.layout_of(symbols.symbols)
    found: list[Record] = []

    def behind(socket: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="weaklink-") as folder, Memory(socket, Path(folder)) as memory:
            found.extend(tracepoints.read(memory, symbols.symbols, layout))

    return run(First(program(runtime), f"work-{runtime}"), spec, out, behind), found


def compare_all(guest: str, out: Path) -> Iterator[Comparison]:
    """Record and compare; raises what ``record`` raises."""
    for runtime in RUNTIMES:
        yield from compare_one(*record(guest, runtime, out))


def compare_one(seen: Recording, ring: Sequence[Record]) -> list[Comparison]:
    """Hold a recording of ``work.c`` against the ring: what scheduler and locks did, and what each thread called."""
    guest, runtime = seen.manifest["guest"]["name"], seen.manifest["guest"]["runtime"]
    ring = scheduling.numbered(ring)
    first, last = (_closed(ring, number) for number in (FIRST, LAST))
    events = seen.frame("events")
    closes = events.index[events["kind"].isin(["op-enter", "syscall-enter"]) & (events["name"] == "close")]
    # A system call's record is written when it returns, so the first is still to come; else it has been.
    inside = events.loc[closes[0] + (runtime != "static") : closes[-1] - 1]

    scheduler = Comparison(f"scheduler, locks ({guest}:{runtime})")
    theirs, ours = scheduling.of_ring(ring, first + 1, last), scheduling.of_probe(inside)
    compare(scheduler, "the CPU", theirs, ours, scheduling.explain)
    of_ring, of_probe = scheduling.labels_of_ring(ring[first + 1 : last]), scheduling.labels_of_probe(inside)
    what, begin, end = ("system calls", _system_calls, "syscall") if runtime == "static" else ("files", _files, "op")
    calls = Comparison(f"{what} ({guest}:{runtime})")
    guest_calls = begin(ring[first + 1 : last], of_ring)
    probe_calls = _watched(inside, end, of_probe)
    for thread in sorted(guest_calls.keys() | probe_calls.keys()):
        compare(calls, thread, guest_calls.get(thread, []), probe_calls.get(thread, []), _explain)
    return [scheduler, calls]


def _closed(ring: Sequence[Record], number: int) -> int:
    """Give where a file of this number was closed."""
    found = [at for at, one in enumerate(ring) if one.name == "vfs_close" and one.arguments[0] == number]
    if len(found) != 1:
        raise Malformed(f"file {number} was closed {len(found)} times in the ring: did it wrap?")
    return found[0]


def _system_calls(ring: Sequence[Record], labels: scheduling.Labels) -> dict[str, list[Call]]:
    """Give each thread's system calls; their records are written when they have returned."""
    names = maps.operations().syscalls
    threads: dict[str, list[Call]] = {}
    for record in ring:
        if found := _SYSCALL.fullmatch(record.name):
            returned = record.arguments[0]
            result = FAILED if isinstance(returned, int) and returned == -1 else OK
            threads.setdefault(labels[record.thread], []).append(Call(names.get(found[1], found[1]), result))
    return threads


def _files(ring: Sequence[Record], labels: scheduling.Labels) -> dict[str, list[Call]]:
    """Give what each thread asked of files; how it ended is in a record of its own."""
    threads: dict[str, list[Call]] = {}
    points = set(_OPERATIONS.values())
    for record in ring:
        calls = threads.setdefault(labels[record.thread], [])
        point, _, end = record.name.rpartition("_")
        if record.name in points:
            calls.append(Call(record.name, NEVER))
        elif point in points and end in ("ret", "err") and calls:
            calls[-1] = Call(point, OK if end == "ret" else FAILED)
    return {thread: calls for thread, calls in threads.items() if calls}


def _watched(events: pd.DataFrame, kind: str, labels: scheduling.Labels) -> dict[str, list[Call]]:
    threads: dict[str, list[Call]] = {}
    for thread, called, result, _ in probe.rows(probe.events_of(events, kind=kind)):
        name = _OPERATIONS.get(called) if kind == "op" else called
        if name:
            threads.setdefault(labels[thread], []).append(Call(name, result))
    return threads


def _explain(guest: Call | None, watched: Call | None) -> str:
    """The rules.  Each looks at what was seen of the one call, on both sides."""
    if guest is None and watched and watched.result == NEVER and watched.name == "exit":
        return "a call that does not return: the tracepoint stands behind it"
    return ""
