"""Waits for locks as the plugin follows them: every begin has one end, they nest, and threads are never mixed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probes.events import HOWS
from tests import plugin_driver
from tests.plugin_driver import ask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

Event = tuple[str, int, int, int, str]  # begin or end, thread, function, lock, how
USER_FUNCTION, KERNEL_FUNCTION = 1, 2  # odd and even, as in locks_driver.c
DEEPEST = 8  # WAITS, plugin/locks.h


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    units = ("locks", "threads", "state", "ledger", "costly")
    return plugin_driver.build(root, tmp_path_factory.mktemp("driver"), ["locks_driver.c"], units)


def play(driver: Path, *lines: str) -> tuple[list[Event], int, dict[int, str]]:
    """(events, how often the probe had lost track, names that the kernel has for locks) of what happens."""
    *events, lost, names = ask(driver, text="".join(f"{line}\n" for line in lines))
    fields = [line.split() for line in events]
    said = [(what, int(thread), int(name), int(lock), HOWS[int(how)]) for what, thread, name, lock, how in fields]
    return said, int(lost.split()[1]), {lock: bytes.fromhex(name).decode() for lock, name, _ in json.loads(names)}


@pytest.mark.parametrize(
    ("lines", "events"),
    [
        (["L 0 1 77", "z 0 1"], [("begin", 0, 1, 77, "user"), ("end", 0, 1, 77, "spun")]),
        (["L 0 2 77", "s 0", "z 0 2"], [("begin", 0, 2, 77, "kernel"), ("end", 0, 2, 77, "slept")]),
        (["L 0 2 77", "s 1", "z 0 2"], [("begin", 0, 2, 77, "kernel"), ("end", 0, 2, 77, "spun")]),
        # A function that may wait: nothing is said of those that do not, and waking up in vain is no other wait.
        (["e 0 2 77", "z 0 2"], []),
        (["e 0 2 77", "s 0", "w 0 2", "w 0 2", "z 0 2"], [("begin", 0, 2, 77, "kernel"), ("end", 0, 2, 77, "spun")]),
        (["e 0 2 77", "w 0 2", "s 0", "w 0 2", "z 0 2"], [("begin", 0, 2, 77, "kernel"), ("end", 0, 2, 77, "slept")]),
        # The probe was armed in the middle of it.
        (["z 0 1", "w 0 2", "z 0 2"], []),
        # Where it is not known which lock it is.
        (["L 0 1 0", "z 0 1"], [("begin", 0, 1, 0, "user"), ("end", 0, 1, 0, "spun")]),
    ],
)  # fmt: skip
def test_one_wait(driver: Path, lines: list[str], events: list[Event]) -> None:
    assert play(driver, *lines)[:2] == (events, 0)


def test_what_began_before_the_window_does_not_end_in_it(driver: Path) -> None:
    said, lost, _ = play(driver, "q", "L 0 1 77", "Q", "L 0 2 88", "z 0 2", "z 0 1")
    assert ([event[:4] for event in said], lost) == ([("begin", 0, 2, 88), ("end", 0, 2, 88)], 0)


def test_whoever_is_back_in_user_mode_waits_for_nothing(driver: Path) -> None:
    said, lost, _ = play(driver, "L 0 1 77", "L 0 2 88", "u 0", "z 0 1", "L 0 1 99", "z 0 1", "u 0")
    assert [event[:4] for event in said] == [("begin", 0, 1, 77), ("begin", 0, 2, 88), ("end", 0, 2, 88),
                                             ("end", 0, 1, 77), ("begin", 0, 1, 99), ("end", 0, 1, 99)]  # fmt: skip
    assert lost == 2


def test_returns_that_were_not_seen_are_counted_and_made_good(driver: Path) -> None:
    lines = [f"L 0 {function} 77" for function in range(10, 10 + DEEPEST + 3)]
    said, lost, _ = play(driver, *lines, "z 0 19", "u 0")
    assert lost == 1 + 1 + 1  # too deep; the one within 19; 18, when the kernel was left
    assert Counter(event[0] for event in said) == {"begin": DEEPEST + 3, "end": DEEPEST + 3}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from("Lewzs"), st.integers(0, 9), st.integers(1, 1 << 40)),
        max_size=200,
    )
)
def test_any_interleaving(driver: Path, steps: list[tuple[int, str, int, int]]) -> None:
    """Threads that call, wait, stop and return as they like, each in good order by itself."""
    open_calls: dict[int, list[list[int]]] = {}  # thread -> function, lock, whether it waits, stops in the wait
    lines, expected = [], []
    for thread, what, function, lock in steps:
        stack = open_calls.setdefault(thread, [])
        if what in "Le" and len(stack) < DEEPEST:
            stack.append([function, lock, what == "L", 0])
            lines.append(f"{what} {thread} {function} {lock}")
            if what == "L":
                expected.append(("begin", thread, function, lock, "user" if function % 2 else "kernel"))
        elif what == "w" and stack:
            function, lock, waits, _ = stack[-1]
            lines.append(f"w {thread} {function}")
            if not waits:
                stack[-1][2:] = [True, 0]
                expected.append(("begin", thread, function, lock, "user" if function % 2 else "kernel"))
        elif what == "z" and stack:
            function, lock, waits, stops = stack.pop()
            lines.append(f"z {thread} {function}")
            if waits:
                expected.append(("end", thread, function, lock, "slept" if stops else "spun"))
        elif what == "s":
            lines.append(f"s {thread}")
            for call in stack:
                call[3] += call[2]
    said, lost, _ = play(driver, *lines)
    assert (said, lost) == (expected, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("LewzsuQ"), st.integers(0, 7), st.integers(0, 4), st.integers(0, 5)), max_size=300
    )
)
@example([("e", 1, 1, 0), ("L", 1, 0, 0), ("w", 1, 1, 0)])  # the outer one waits: the inner one has returned
def test_any_disorder(driver: Path, steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is missed: what is said begins once and ends once, in the order of a stack, thread by thread."""
    said, _, _ = play(
        driver, *(" ".join(map(str, step)) for step in steps), "Q", *(f"u {thread}" for thread in range(8))
    )
    waiting: dict[int, list[tuple[int, int]]] = {}
    for what, thread, function, lock, _ in said:
        stack = waiting.setdefault(thread, [])
        if what == "begin":
            stack.append((function, lock))
        else:
            assert stack.pop() == (function, lock)
    assert not any(waiting.values())


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("vm map (user)", "vm map (user)"),
        ("x" * 47, "x" * 47),
        ("x" * 48, None),  # goes on where nothing is mapped
        ("", None),
        ("tab\there", None),
        ("\x1b[31mred", None),
        ("gr\u00fcn", None),
    ],
)
def test_names_that_the_kernel_keeps(driver: Path, name: str, kept: str | None) -> None:
    names = play(driver, f"n {name}", "L 0 2 77", "z 0 2", "L 0 1 88", "z 0 1", "L 0 2 0", "z 0 2")[2]
    assert names == ({77: kept} if kept else {}), "88 is the app's own lock, and has none"


def test_a_name_is_read_once_and_only_if_somebody_waits(driver: Path) -> None:
    names = play(driver, "n first", "e 0 2 66", "z 0 2", "L 0 2 77", "z 0 2", "n second", "L 0 2 77", "L 0 2 99")[2]
    assert names == {77: "first", 99: "second"}


def test_memory_that_cannot_be_read_has_no_name(driver: Path) -> None:
    said, _, names = play(driver, "N", "L 0 2 77", "z 0 2")
    assert (len(said), names) == (2, {})


def test_more_locks_than_there_is_room_for(driver: Path) -> None:
    lines = [line for lock in range(1, 12_000) for line in (f"L 0 2 {lock * 64 + 0x10000}", "z 0 2")]
    said, lost, names = play(driver, "n many", *lines)
    assert (len(said), lost, len(names)) == (2 * 11_999, 0, 8192)


@pytest.mark.parametrize(
    ("line", "whose"), [("o 0 70", "user"), ("o 0 71", "kernel"), ("y 0 70", "kernel"), ("o 1 70", "kernel")]
)
def test_a_lock_of_the_kernels_class_may_be_the_apps(driver: Path, line: str, whose: str) -> None:
    said, _, _ = play(driver, line, "L 0 2 77", "o 0 0", "z 0 2")
    assert said == [("begin", 0, 2, 77, whose), ("end", 0, 2, 77, "spun")]


VARIABLES, PAGE = 0x10_0000, 0x1000


@pytest.mark.parametrize(
    ("where", "lock", "found"),
    [
        (VARIABLES + 8, 0x77_0000, True),
        (VARIABLES + PAGE - 8, 0x77_0000, True),
        (VARIABLES + PAGE, 0x77_0000, True),
        (VARIABLES + 2 * PAGE, 0x77_0000, False),  # a page that is not there
        (VARIABLES + 3 * PAGE - 8, 0x77_0000, False),
        (VARIABLES + 3 * PAGE, 0x77_0000, True),
        (VARIABLES + 3 * PAGE + 24, 0x77_0000, True),  # the last word
        (VARIABLES + 3 * PAGE + 32, 0x77_0000, False),  # behind the variables
        (VARIABLES + 8, VARIABLES + 64, False),  # it is a variable itself
        (VARIABLES + 8, (1 << 63) + 64, False),  # the kernel's
    ],
)
def test_what_points_at_a_lock(driver: Path, where: int, lock: int, found: bool) -> None:
    (*_, text) = ask(driver, text=f"P 0 0 {where}\nL 0 1 {lock}\nz 0 1\n")
    assert json.loads(text) == ([[lock, "", where]] if found else [])
