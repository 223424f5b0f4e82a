"""The probe against strace: real programs, traced in a Linux guest while the probe watches the same run."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from images import GuestSpec
from images.compiled import compiled
from images.libraries import libraries
from images.store import cache_dir
from probes import maps
from probes.recording import Recording
from profiler.subject import Own
from tests.equality import probe, strace
from tests.equality.run import run, said
from tests.equality.sequences import Call, Comparison, Malformed, Missing, Thread, compare
from tests.equality.strace import NO_SUCH_CALL

_HERE: Final = Path(__file__).resolve().parent
_SOURCES: Final[Mapping[str, Sequence[str]]] = {
    "under_strace": ("-std=gnu11", "-O2", "-Wall", "-static", "-Wl,-Ttext-segment=0x60000000", "-I."),
    "threads": ("-std=gnu11", "-O1", "-Wall", "-fPIE", "-pie", "-pthread"),
}
_FILES: Final = ("script.sh", "queries.sql")
PROGRAMS: Final[Mapping[str, Sequence[str]]] = {
    "ls -lR": ("/bin/ls", "-lR", "/tmp/tree", "/dev", "/sys/class", "/nowhere"),
    "sh": ("/bin/sh", "/script.sh"),
    "sqlite3": ("/usr/bin/sqlite3", "-batch", "-init", "/queries.sql", "/tmp/db", "VACUUM"),
    "threads": ("/bin/threads",),
}
"""What is traced, by the name that it has in the table."""

_WANTED: Final[Mapping[str, Sequence[str]]] = {
    "ls -lR": ("/bin/ls",), "sh": ("/bin/sh", "/bin/ls", "/bin/cat", "/bin/sleep"), "sqlite3": ("/usr/bin/sqlite3",),
    "threads": (),
}  # fmt: skip
"""The programs that each of them takes of this machine."""


def compare_all(guest: str, out: Path) -> Iterator[Comparison]:
    """Record every program that is here, and compare."""
    for name in PROGRAMS:
        try:
            yield compare_one(name, record(name, guest, out))
        except Missing as missing:
            print(f"{name} ({guest}): not compared, {missing}")


def record(name: str, guest: str, out: Path) -> Recording:
    """Record one of ``PROGRAMS`` under strace; raises ``Missing``."""
    driver = Own(_compiled("under_strace"), PROGRAMS[name], None, files=_files(name))
    return run(driver, GuestSpec.parse(guest), out / name.split()[0])


def compare_one(name: str, seen: Recording) -> Comparison:
    """Hold a recording of ``under_strace.c`` against the log on its console."""
    into = Comparison(f"{name} ({seen.spec})")
    traced, watched = defaultdict(Thread, strace.parse(said(seen, "strace: "))), probe.threads(seen)
    names = maps.operations().syscalls
    for guest_thread, probe_thread in _same(traced, watched):
        theirs = [_named(call, names) for call in traced[guest_thread].calls]
        calls: Sequence[Call] = watched[probe_thread].calls
        if guest_thread == next(iter(traced)):
            calls = _from_exec(calls, into)
        compare(into, f"thread {guest_thread}", theirs, calls)
    for line in said(seen, "said: clock_gettime "):
        asked = sum(call.name == "clock_gettime" for thread in traced.values() for call in thread.calls)
        into.explained["clock_gettime answered by the vDSO, without the kernel: seen by neither"] += int(line) - asked
    return into


def _from_exec(calls: Sequence[Call], into: Comparison) -> Sequence[Call]:
    """What the child of strace's does as strace, before it becomes the program: strace does not log itself."""
    first = next((at for at, call in enumerate(calls) if call.name == "execve"), len(calls))
    if first:
        into.explained["strace's own, before its child becomes the program"] += first
    return calls[first:]


def _same(traced: defaultdict[int, Thread], watched: Mapping[int, Thread]) -> Iterator[tuple[int, int]]:
    """Pair the threads of the two, from the program's first on: who was made by the same one as its n-th is the same.

    The first is the one child of strace's, which is the driver's (thread 0), that executes a program: strace makes
    children to try out what the kernel can, but they execute nothing.  A thread that strace does not name has no calls.
    """
    root = next(iter(traced))
    makers = watched[0].made
    first = [child for maker in makers for child in watched[maker].made if _executes(watched[child].calls)]
    if len(first) != 1:
        raise Malformed(f"{len(first)} children of strace executed a program")
    pairs = [(root, first[0])]
    for guest_thread, probe_thread in pairs:
        theirs, ours = traced[guest_thread].made, watched[probe_thread].made
        if len(theirs) != len(ours):
            raise Malformed(f"thread {guest_thread} made {len(theirs)} threads, the probe saw {len(ours)}")
        pairs += [(child, other) for child, other in zip(theirs, ours, strict=True)]
    if lost := traced.keys() - {guest_thread for guest_thread, _ in pairs}:
        raise Malformed(f"{len(lost)} threads of strace's were made by none of them")
    return iter(pairs)


def _executes(calls: Sequence[Call]) -> bool:
    return any(call.name == "execve" for call in calls)


def _named(call: Call, names: Mapping[str, str]) -> Call:
    """Give a call its operation, which is what events name; one that is not there is ``syscall``."""
    if call.note == NO_SUCH_CALL:
        return Call("syscall", call.result, call.note)
    return Call(names.get(call.name, call.name), call.result, call.note)


def _files(program: str) -> dict[str, Path]:
    """What a program wants in the guest; raises ``Missing``."""
    wanted = {"/bin/threads": _compiled("threads")}
    for place in ("/usr/bin/strace", *_WANTED[program]):
        name = Path(place).name
        if (found := shutil.which(name)) is None:
            raise Missing(f"{name} is not installed: apt-get install {name}")
        wanted[place] = Path(found).resolve()
    files = {f"/{name}": _HERE / name for name in _FILES}
    for file in wanted.values():
        files |= libraries(file)[1]
    return files | wanted


def _compiled(name: str) -> Path:
    header = _HERE.parent.parent / "probes" / "marker.h"
    return compiled(name, {f"{name}.c": _HERE / f"{name}.c", header.name: header}, _SOURCES[name], cache_dir())
