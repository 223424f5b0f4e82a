"""Machines that never were: random interleavings of everything that events tell, with what truly happened.

``stories`` draws what a small machine does: threads enter and leave operations, system calls, faults and interrupts,
are switched, woken, made, exit, wait for locks; vCPUs halt.  The machine keeps account of it tick by tick, in the
simplest way there is, so that what ``analysis.trace`` makes of the events can be held against it.  A story begins
before its window does and goes on behind it: things are in flight at both edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from probes.events import EVENTS, LOCKS, PHASES, THREADS

PHASE = 3
NAMES = ("read", "write", "futex", "openat")
ROLES = ("main", "app", "kernel", "idle")
PAIRS = {
    "op": ("op-enter", "op-exit"),
    "syscall": ("syscall-enter", "syscall-exit"),
    "fault": ("fault-enter", "fault-exit"),
    "irq": ("irq-enter", "irq-exit"),
}
_ALLOWED = {
    "": ("op", "syscall", "fault", "irq"), "op": ("op", "syscall", "fault", "irq"), "syscall": ("irq", "fault"),
    "fault": ("irq",), "irq": (),
}  # fmt: skip
REASONS = ("blocked", "preempted", "yielded", "exited")
Event = tuple[int, int, int, str, str, str, int]


@dataclass
class Call:
    """Something that a thread was in; what it cost is of the part in the window."""

    thread: int
    kind: str
    name: str
    inside: tuple[Call, ...]  # what it is in
    began: bool = False  # in the window
    ended: bool = False
    failed: bool = False
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("on", "irq", "idle", "off"), 0))

    @property
    def outermost(self) -> bool:
        """In nothing that a reader of the window can know of: what begins before and ends behind it is not in it."""
        return not any(one.began or one.ended for one in self.inside)

    @property
    def outermost_of_kind(self) -> bool:
        """In no other such that a reader can know of."""
        return not any(one.kind == self.kind and (one.began or one.ended) for one in self.inside)


@dataclass
class Stop:
    """A time that a thread was off the CPU, cut at the window's edges."""

    thread: int
    reason: str
    out: int
    woken: int | None = None
    waker: int | None = None
    into: int | None = None


@dataclass
class Wait:
    """A wait for a lock."""

    thread: int
    lock: int
    begin: int | None
    end: int | None


@dataclass
class Thread:
    number: int
    role: str
    open: list[Call] = field(default_factory=list)
    stop: Stop | None = None  # not running
    gone: bool = False
    locks: dict[int, Wait] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("on", "irq", "idle", "off"), 0))


@dataclass
class Story:
    """The events of a run with one window, and what truly happened in that."""

    events: list[Event]
    begin: int
    end: int
    threads: dict[int, Thread]
    calls: list[Call]  # that begin or end in the window
    stops: list[Stop]
    waits: list[Wait]
    vcpus: int
    idle: int

    def table(self) -> pa.Table:
        """The table EVENTS."""
        columns = [list(column) for column in zip(*((*event, -1) for event in self.events), strict=True)]
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, EVENTS, strict=True)], schema=EVENTS)


class Machine:
    """Does one thing after the other and notes what happens."""

    def __init__(self, vcpus: int) -> None:
        self.clock = 1000
        self.threads = {0: Thread(0, "main")}
        self.running = [0]
        self.halted = [False] * vcpus
        for vcpu in range(1, vcpus):
            self.threads[vcpu] = Thread(vcpu, "app")
            self.running.append(vcpu)
        for number in range(vcpus, vcpus + 3):  # asleep since before anything was seen
            self.threads[number] = Thread(number, ("app", "kernel", "idle")[number - vcpus])
            self.threads[number].stop = Stop(number, "before", self.clock)
        self.events: list[Event] = []
        self.window: int | None = None
        self.calls: list[Call] = []
        self.stops: list[Stop] = []
        self.waits: list[Wait] = []
        self.idle = 0

    def do(self, what: int, which: int, ticks: int, vcpu: int) -> None:
        """One of the things that can happen on a vCPU now; time passes first."""
        vcpu %= len(self.running)
        self.tick(ticks)
        if self.halted[vcpu]:
            return self.wake_up(vcpu, ticks + 1)
        thread = self.threads[self.running[vcpu]]
        can = [*self._own(thread, vcpu, which), *self._others(thread, vcpu, which)]
        return can[what % len(can)]()

    def _own(self, thread: Thread, vcpu: int, which: int) -> Iterator[Any]:
        """What the thread can do by itself: nothing is left that something else is in, as nothing but a thread can."""
        innermost = thread.open[-1].kind if thread.open else ""
        allowed = _ALLOWED[innermost]
        name = NAMES[which % len(NAMES)]
        for kind in allowed:
            yield lambda kind=kind: self.enter(thread, vcpu, kind, name)
        if innermost:
            yield lambda: self.leave(thread, vcpu, failed=which % 3 == 0)
            yield lambda: self.leave(thread, vcpu, failed=False)
        if innermost != "irq":
            lock = 0xFFFF0000 + which % 2
            if lock in thread.locks:
                yield lambda: self.acquire(thread, vcpu, lock)
            else:
                yield lambda: self.contend(thread, vcpu, lock)
        if not thread.open and len(self.running) == 1:
            yield lambda: self.halt(thread, vcpu, which + 1)

    def _others(self, thread: Thread, vcpu: int, which: int) -> Iterator[Any]:
        """What it can do to others, or with the CPU."""
        ready = [one for one in self.threads.values() if one.stop is not None and not one.gone]
        if ready:
            other = ready[which % len(ready)]
            how = REASONS[which % (4 if thread.number >= len(self.running) else 3)]
            yield lambda: self.switch(thread, other, vcpu, how)
            yield lambda: self.switch(thread, other, vcpu, "blocked")
        living = [one for one in self.threads.values() if not one.gone]
        yield lambda: self.wake(thread, living[which % len(living)], vcpu)
        if len(self.threads) < 12:
            yield lambda: self.make(thread, vcpu)

    # -- what happens ------------------------------------------------------------------------------------------------

    def tick(self, ns: int) -> None:
        """Time passes; everyone's account is kept."""
        if self.window is not None:
            on = {number: vcpu for vcpu, number in enumerate(self.running)}
            for thread in self.threads.values():
                if thread.gone:
                    continue
                vcpu = on.get(thread.number)
                irq = any(call.kind == "irq" for call in thread.open)
                state = "off" if vcpu is None else "idle" if self.halted[vcpu] else "irq" if irq else "on"
                thread.spent[state] += ns
                self.idle += ns if state == "idle" else 0
                for call in thread.open:
                    call.spent[state] += ns
        self.clock += ns

    def say(self, vcpu: int, thread: Thread, kind: str, name: str = "", how: str = "", value: int = 0) -> None:
        self.events.append((self.clock, vcpu, thread.number, kind, name, how, value))

    def enter(self, thread: Thread, vcpu: int, kind: str, name: str) -> None:
        call = Call(thread.number, kind, name, tuple(thread.open), began=self.window is not None)
        thread.open.append(call)
        self.say(vcpu, thread, PAIRS[kind][0], name)
        if call.began:
            self.calls.append(call)

    def leave(self, thread: Thread, vcpu: int, *, failed: bool) -> None:
        call = thread.open.pop()
        asked = call.kind in ("op", "syscall")
        call.failed = failed and asked
        how = ("failed" if call.failed else "ok") if asked else "timer" if call.kind == "irq" else ""
        self.say(vcpu, thread, PAIRS[call.kind][1], call.name, how, call.spent["on"] if asked else 0)
        if self.window is not None:
            call.ended = True
            if not call.began:
                self.calls.append(call)

    def switch(self, thread: Thread, other: Thread, vcpu: int, how: str) -> None:
        # Kernels tell that a thread has exited by an event, by why it stops, or by both.
        thread.gone = how == "exited"
        if thread.gone and thread.number % 3:
            self.say(vcpu, thread, "thread-exit")
        said = "" if thread.gone and thread.number % 3 == 1 else how
        self.say(vcpu, thread, "switch", how=said, value=other.number)
        thread.stop = Stop(thread.number, how, self.clock)
        self._stopped(thread)
        assert other.stop is not None
        other.stop.into = self.clock
        other.stop = None
        self.running[vcpu] = other.number

    def wake(self, thread: Thread, other: Thread, vcpu: int) -> None:
        asleep = (
            other.stop is not None and other.stop.woken is None and other.stop.reason not in ("preempted", "yielded")
        )
        self.say(vcpu, thread, "wake", how="woken" if asleep else "awake", value=other.number)
        if asleep:
            assert other.stop is not None
            other.stop.woken, other.stop.waker = self.clock, thread.number

    def make(self, thread: Thread, vcpu: int) -> None:
        number = len(self.threads)
        other = self.threads[number] = Thread(number, thread.role if thread.role != "main" else "app")
        self.say(vcpu, thread, "thread-new", value=number)
        other.stop = Stop(number, "new", self.clock)
        self._stopped(other)

    def contend(self, thread: Thread, vcpu: int, lock: int) -> None:
        wait = thread.locks[lock] = Wait(thread.number, lock, None, None)
        self.say(vcpu, thread, "lock-contended", "lock_slow", "kernel", lock)
        if self.window is not None:
            wait.begin = self.clock
            self.waits.append(wait)

    def acquire(self, thread: Thread, vcpu: int, lock: int) -> None:
        wait = thread.locks.pop(lock)
        self.say(vcpu, thread, "lock-acquired", "lock_slow", "slept", lock)
        if self.window is not None:
            wait.end = self.clock
            if wait.begin is None:
                self.waits.append(wait)

    def halt(self, thread: Thread, vcpu: int, ns: int) -> None:
        self.say(vcpu, thread, "idle-begin")
        self.halted[vcpu] = True
        self.wake_up(vcpu, ns)

    def wake_up(self, vcpu: int, ns: int) -> None:
        self.tick(ns)
        self.halted[vcpu] = False
        self.say(vcpu, self.threads[self.running[vcpu]], "idle-end", value=ns)

    def _stopped(self, thread: Thread) -> None:
        if self.window is not None and thread.stop is not None:
            self.stops.append(thread.stop)

    # -- the window --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.say(0, self.threads[self.running[0]], "phase-begin", value=PHASE)
        self.window = self.clock
        for thread in self.threads.values():
            if thread.stop is not None and not thread.gone:
                woken = thread.stop.woken
                thread.stop = Stop(thread.number, "before", self.clock)
                # Whether it was woken before is not known in the window: the machine knows it, its reader cannot.
                thread.stop.woken = None if woken is None else -1
                self._stopped(thread)
            for call in thread.open:
                call.began = False
                call.spent = dict.fromkeys(call.spent, 0)

    def close(self) -> Story:
        assert self.window is not None
        for vcpu in range(1, len(self.running)):  # nobody can know what a vCPU executes that never says anything
            thread = self.threads[self.running[vcpu]]
            self.say(vcpu, thread, "wake", how="awake", value=thread.number)
        self.say(0, self.threads[self.running[0]], "phase-end", value=PHASE)
        for thread in self.threads.values():
            if any(call.kind == "irq" and not call.began for call in thread.open):  # nor that it is in an interrupt
                thread.spent["on"] += thread.spent["irq"]
                thread.spent["irq"] = 0
        return Story(self.events, self.window, self.clock, self.threads, self.calls, self.stops, self.waits,
                     len(self.running), self.idle)  # fmt: skip


STEP = st.tuples(st.integers(0, 40), st.integers(0, 11), st.integers(0, 30), st.integers(0, 1))
Steps = Sequence[tuple[int, int, int, int]]


def played(before: Steps, inside: Steps, vcpus: int) -> Story:
    """What comes of doing some things before a window and some in it."""
    machine = Machine(vcpus)
    for step in before:
        machine.do(*step)
    machine.open()
    for step in inside:
        machine.do(*step)
    machine.tick(7)
    return machine.close()


def stories(vcpus: int = 1) -> st.SearchStrategy[Story]:
    """Stories of up to 120 steps."""
    return st.builds(played, st.lists(STEP, max_size=25), st.lists(STEP, max_size=95), st.just(vcpus))


@dataclass
class Played:
    """A story as a recording that is read in pieces of some size."""

    story: Story
    piece: int = 7
    spec: str = "machine"
    seed: int = 1
    events_kept: None = None

    @property
    def manifest(self) -> dict[str, Any]:
        return {"probe": {"capabilities": {}, "not_hooked": []}, "app": {"name": "story"}}

    def batches(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        yield from self.table(name, columns).to_batches(self.piece)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        if name == "events":
            found = self.story.table()
        elif name == "threads":
            rows = [{"thread": one.number, "role": one.role, "name": f"t{one.number}", "process": 0, "creator": -1}
                    for one in self.story.threads.values()]  # fmt: skip
            found = pa.Table.from_pylist(rows, schema=THREADS)
        elif name == "phases":
            row = {"number": PHASE, "name": "story", "status": "ok", "reason": "", "ops": 1, "tsc": None,
                   "instructions": self.story.end - self.story.begin, "rep_iterations": 0, "idle_ns": 0}  # fmt: skip
            found = pa.Table.from_pylist([row], schema=PHASES)
        else:
            assert name == "locks"
            found = pa.Table.from_pylist([{"address": 0xFFFF0000, "name": "big lock"}], schema=LOCKS)
        return found if columns is None else found.select(list(columns))
