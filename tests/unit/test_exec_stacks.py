"""The shadow stacks against a machine that knows its own: random calls, returns, jumps, interrupts and switches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plugin_driver import UNITS, ask, build

NEXT, CALL, RET, JUMP, MODE = range(5)  # enum leaves
FIRST, FUNCTIONS = 4, 9  # SEEN_FIRST; the last two are the kernel's way to switch threads, and where new ones begin
SWITCH, BEGIN = FIRST + FUNCTIONS - 2, FIRST + FUNCTIONS - 1
Step = tuple[Any, ...]

STEPS = st.recursive(
    st.lists(
        st.one_of(
            st.tuples(st.just("call"), st.integers(0, FUNCTIONS - 3), st.booleans()),
            st.tuples(st.sampled_from(["ret", "switch"]), st.booleans()),
            st.tuples(st.just("tail"), st.integers(0, FUNCTIONS - 3)),
            st.tuples(st.just("longjmp"), st.integers(0, 5)),
        ),
        max_size=8,
    ),
    lambda inner: st.lists(
        st.one_of(
            st.tuples(st.just("call"), st.integers(0, FUNCTIONS - 3), st.booleans()),
            st.tuples(st.just("ret"), st.booleans()),
            st.tuples(st.sampled_from(["syscall", "irq", "fault"]), st.integers(0, FUNCTIONS - 3), inner),
        ),
        max_size=8,
    ),
    max_leaves=6,
)


class Machine:
    """Writes what the driver is to execute, and the stack that there must be after each line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.expected: list[list[int]] = []
        self.pcs = 0
        self.unwound = 0

    def segment(self, stack: list[tuple[int, int]], *, leaves: int = NEXT, pc: int = 0, user: bool, entry: bool = False,
                hook: str = "-") -> int:  # fmt: skip
        """One of the function on top; returns the address behind it."""
        function = stack[-1][0]
        self.pcs += 0x10
        pc = pc or (function << 32 | self.pcs)
        self.lines.append(f"s {pc:x} {function} {int(entry)} {leaves} {pc + 5:x} {int(user)} {hook}")
        begin = max((i for i, (_, ret) in enumerate(stack) if ret == -1), default=0)
        self.expected.append([function for function, _ in stack[begin:]])
        return pc + 5

    def run(self, steps: list[Step], stack: list[tuple[int, int]], *, user: bool) -> Iterator[None]:
        """Do the steps; in ``stack`` an interrupt has a return address of -1, other ways into the kernel have 0."""
        floor = len(stack)
        for what, *arguments in steps:
            if what == "call":
                ret = self.segment(stack, leaves=CALL, user=user)
                stack.append((FIRST + arguments[0], ret))
                yield from self.maybe_interrupted(stack[:-1], arguments[1])
                self.segment(stack, user=user, entry=True)
            elif what == "ret" and len(stack) > floor:
                self.segment(stack, leaves=RET, user=user)
                left = stack.pop()
                yield from self.maybe_interrupted([*stack, left], arguments[0])
                self.segment(stack, user=user, pc=left[1])
            elif what == "tail":
                self.segment(stack, user=user)
                stack[-1] = FIRST + arguments[0], stack[-1][1]
                self.segment(stack, user=user, entry=True)
            elif what == "longjmp":
                deeper = [i for i in range(floor - 1, len(stack) - 1) if stack[i][0] != stack[-1][0]
                          and [one for one, _ in stack].count(stack[i][0]) == 1]  # fmt: skip
                if deeper:
                    self.segment(stack, leaves=JUMP, user=user)
                    del stack[deeper[arguments[0] % len(deeper)] + 1 :]
                    self.unwound += 1
                    self.segment(stack, user=user)
            elif what == "switch" and not user:
                ret = self.segment(stack, leaves=CALL, user=False)
                stack.append((SWITCH, ret))
                self.segment(stack, user=False, entry=True)
                yield  # goes on here when it is this thread's turn again
                self.segment(stack, leaves=RET, user=False)
                stack.pop()
                self.segment(stack, user=False, pc=ret)
            elif what in ("syscall", "irq", "fault") and (user or what != "syscall"):
                back = self.segment(stack, user=user)
                yield from self.entered(what, FIRST + arguments[0], arguments[1], stack)
                self.segment(stack, user=user, pc=back - 3 if what == "syscall" else 0)

    def entered(self, what: str, handler: int, steps: list[Step], stack: list[tuple[int, int]]) -> Iterator[None]:
        inner = [*stack, (handler, -1 if what == "irq" else 0)]
        self.segment(inner, user=False, entry=True, hook=what[0] if what != "fault" else "e")
        yield from self.run([step for step in steps if step[0] != "switch" or what == "syscall"], inner, user=False)
        self.segment(inner, leaves=MODE, user=False)  # from wherever it is

    def maybe_interrupted(self, stack: list[tuple[int, int]], wanted: bool) -> Iterator[None]:
        if wanted:
            yield from self.entered("irq", FIRST, [], stack)


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(root, tmp_path_factory.mktemp("stacks"), ["stacks_driver.c"], UNITS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_one_thread(driver: Path, steps: list[Step]) -> None:
    machine = Machine()
    stack = [(FIRST, 0)]
    machine.segment(stack, user=True)
    steps = [step for step in steps if step[0] != "switch"]
    for _ in machine.run(without_switches(steps), stack, user=True):
        pass
    answers = ask(driver, text="\n".join([*machine.lines, ""]))
    assert [list(map(int, line.split())) for line in answers[:-1]] == machine.expected
    assert answers[-1] == f"0 {machine.unwound} 0"


def without_switches(steps: list[Step]) -> list[Step]:
    return [(*step[:-1], without_switches(step[-1])) if isinstance(step[-1], list) else step
            for step in steps if step[0] != "switch"]  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, STEPS)
def test_threads_by_turns(driver: Path, ones: list[Step], others: list[Step]) -> None:
    """Two threads in the kernel for good, the second of which is first seen when it is switched to."""
    machine = Machine()
    user, mine, theirs = [(FIRST, 0)], [(FIRST, 0), (FIRST + 1, 0)], [(BEGIN, -1)]
    machine.segment(user, user=True)
    machine.segment(mine, user=False, entry=True, hook="s")

    def whole(steps: list[Step], stack: list[tuple[int, int]]) -> Iterator[None]:
        yield from machine.run([*steps, ("switch", False)] * 2, stack, user=False)

    first, second = whole(ones, mine), whole(others, theirs)
    next(first)
    machine.lines.append("t 1000 2000")
    machine.expected.append([SWITCH])
    machine.segment([(SWITCH, -1)], leaves=RET, user=False)
    machine.segment(theirs, user=False, entry=True)
    turns, at = [first, second], 1
    tops = {0: mine, 1: theirs}
    for _ in range(6):
        if next(turns[at], "over") == "over":
            break
        at = 1 - at
        machine.lines.append(f"t {2 - at:x}000 {1 + at:x}000")
        begin = max((i for i, (_, ret) in enumerate(tops[at]) if ret == -1), default=0)
        machine.expected.append([function for function, _ in tops[at][begin:]])
    answers = ask(driver, text="\n".join([*machine.lines, ""]))
    assert [list(map(int, line.split())) for line in answers[:-1]] == machine.expected
    assert answers[-1].split()[0] == "0"
