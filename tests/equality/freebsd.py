"""The probe against ktrace: a program that FreeBSD's kernel traces while the probe watches the same run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import images
from images import GuestSpec, Program, compiler, store
from images.apps import freebsd
from probes import maps
from probes.recording import Recording
from tests.equality import ktrace, probe
from tests.equality.run import First, run, said
from tests.equality.sequences import FAILED, NEVER, OK, UNKNOWN, Call, Comparison, compare

BEGAN_UNSEEN: Final = "began unseen"
_OTHERWISE: Final = "begun anew, or it set all registers itself"
# Why a thread stopped; of the last, whom for.  A sleep has a record always.
_NO_RECORD: Final = {
    "exited": "a thread's last switch: no record",
    "yielded": "a thread that gives way by itself: no record",
    "preempted": "preempted by a thread of the kernel's at once, not on the way to user code: no record",
}
_MAKERS: Final = ("fork", "vfork", "thr_new")
_HERE: Final = Path(__file__).resolve().parent


def record(guest: str, out: Path) -> Recording:
    """Build ``under_ktrace.c`` against the guest's own base system and record it."""
    with tempfile.TemporaryDirectory(prefix="weaklink-") as folder:
        return run(First(_built(guest, Path(folder)), "under_ktrace"), GuestSpec.parse(guest), out)


def _built(guest: str, folder: Path) -> Program:
    system = images.sysroot(images.check(GuestSpec.parse(guest)), progress=print)
    assert system is not None
    words = [
        compiler.COMPILER,
        "-std=gnu11",
        "-O1",
        "-w",
        f"-I{_HERE.parent.parent / 'probes'}",
        *freebsd.flags(system),
    ]
    object_, elf = folder / "under_ktrace.o", folder / "under_ktrace"
    compiler.run([*words, "-c", str(_HERE / "under_ktrace.c"), "-o", str(object_)], folder, "under_ktrace.c")
    compiler.run([*words, *freebsd.link(system, [str(object_)]), "-o", str(elf)], folder, "under_ktrace.c")
    digest = store.sha256_file(elf)
    return Program(elf, digest, "freebsd-static", digest)


def compare_all(guest: str, out: Path) -> Iterator[Comparison]:
    """Record and compare."""
    yield compare_one(record(guest, out))


def compare_one(seen: Recording) -> Comparison:
    """Hold a recording of ``under_ktrace.c`` against the trace on its console."""
    into = Comparison(f"work ({seen.spec})")
    records = ktrace.parse(bytes.fromhex("".join(said(seen, "ktrace: "))))
    traced, watched = _threads(records, _names(seen.spec)), probe.threads(seen, switches=True)
    inside = [
        thread
        for thread, one in watched.items()
        if any(call.name not in (probe.SWITCH, probe.FOR_KERNEL) for call in one.calls)
    ]
    if len(inside) != len(traced):
        into.differences.append(f"the guest has {len(traced)} threads that called it, the probe {len(inside)}")
    # Both in order of the first call.
    for (guest_thread, theirs), probe_thread in zip(traced.items(), inside, strict=False):
        compare(into, f"thread {guest_thread[1]} of {guest_thread[0]}", theirs, watched[probe_thread].calls, _explain)
    return into


def _names(guest: str) -> dict[int, str]:
    """Give the operations by the numbers that the guest's own headers have for its system calls."""
    system = images.sysroot(images.check(GuestSpec.parse(guest)), progress=print)
    assert system is not None
    names = maps.operations().syscalls
    text = (system / freebsd.HEADERS / "sys/syscall.h").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^#define\s+SYS_(?:freebsd\d+_)?(\w+)\s+(\d+)$", text, re.MULTILINE)
    return {int(number): names.get(name, name) for name, number in found}


def _threads(records: Sequence[ktrace.Record], names: Mapping[int, str]) -> dict[tuple[int, int], list[Call]]:
    """Give the calls of each thread, threads in order of their first; a return alone is of a call that began unseen.

    A thread is its process and its number: numbers are given anew.
    """
    threads: dict[tuple[int, int], list[Call]] = {}
    within: dict[tuple[int, int], int] = {}
    for record in records:
        name, thread = names.get(record.code, "syscall"), (record.process, record.thread)
        calls = threads.setdefault(thread, [])
        if record.kind == ktrace.SYSCALL:
            within[thread] = len(calls)
            calls.append(Call(name, NEVER))
        elif record.kind == ktrace.SYSRET:
            began = within.pop(thread, len(calls))
            note = "" if began < len(calls) else BEGAN_UNSEEN
            result = _result(record)
            calls[began : began + 1] = [Call(name, result, note or ("" if result else _OTHERWISE))]
        elif record.value:
            calls.append(Call(probe.SWITCH, "preempted" if record.user else "blocked", record.message))
    return threads


def _result(record: ktrace.Record) -> str:
    if record.value in (ktrace.RESTART, ktrace.JUST_RETURN):
        return UNKNOWN
    return FAILED if record.value else OK


def _explain(guest: Call | None, watched: Call | None) -> str:
    """The rules.  Each looks at what was seen of the one call, on both sides."""
    if guest and watched is None and guest.note == BEGAN_UNSEEN and guest.name in _MAKERS:
        return "what makes a thread returns in that too, which did not call it"
    if guest and watched and guest.name == watched.name == "ktrace" and guest.result == NEVER:
        return "the call that ends the tracing is not seen to end"
    if watched and watched.name in (probe.SWITCH, probe.FOR_KERNEL):
        if guest is None and (watched.result != "preempted" or watched.name == probe.FOR_KERNEL):
            return _NO_RECORD.get(watched.result, "")
        if guest and watched.name == probe.FOR_KERNEL and (guest.name, guest.result) == (probe.SWITCH, watched.result):
            return f"{watched.result}, and a thread of the kernel's goes on: alike"
    return ""
