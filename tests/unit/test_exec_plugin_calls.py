"""What a thread is doing, segment by segment: its calls of libc and of the kernel, its faults, its waits for locks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from probes.events import EVENT_KINDS, HOWS
from probes.exec.places import RESULTS
from tests import plugin_driver, raw_log
from tests.plugin_driver import ask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

USER, SYSCALL = 1, 4  # names that are always there; a system call that is not named yet
NO_CALL, INTERRUPT = 5, 2
CALL, LIBC_CALL, FAULT, HANDLED = 70, 71, 72, 74  # as in plugin_driver.c


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_driver.build(root, tmp_path_factory.mktemp("driver"))


def executed(driver: Path, folder: Path, space: str, letters: str) -> tuple[list[int], int, list[str]]:
    """(the operation in each segment, instructions counted, kinds of events) of what the driver executes."""
    path = folder / "events.bin"
    *operations, counted = map(int, ask(driver, "execute", space, letters, path)[0].split())
    return operations, counted, [EVENT_KINDS[kind] for kind in raw_log.read(path)["kind"].tolist()]


@pytest.mark.parametrize(
    ("space", "letters", "operations"),
    [
        ("apart", "aOla", [USER, LIBC_CALL, LIBC_CALL, USER]),
        ("apart", "alOa", [USER, USER, USER, USER]),  # what libc calls is nobody's operation
        ("apart", "asOa", [USER, USER, LIBC_CALL, USER]),
        ("apart", "alsOa", [USER, USER, USER, USER, USER]),
        ("apart", "aOsla", [USER, LIBC_CALL, LIBC_CALL, LIBC_CALL, USER]),
        ("apart", "lckxl", [USER, SYSCALL, SYSCALL, SYSCALL, USER]),
        ("shared", "lckxl", [USER, SYSCALL, SYSCALL, SYSCALL, USER]),
        ("shared", "ackoxa", [USER, SYSCALL, SYSCALL, SYSCALL, SYSCALL, USER]),
        # A kernel that is the app's libc.
        ("shared", "aoka", [USER, CALL, CALL, USER]),
        ("shared", "asoka", [USER, USER, CALL, CALL, USER]),
        ("shared", "akoka", [USER] * 5),
        ("shared", "aokaka", [USER, CALL, CALL, USER, USER, USER]),  # a callback, as of qsort()
        ("shared", "aOka", [USER, LIBC_CALL, LIBC_CALL, USER]),  # libc calls the kernel
    ],
)
def test_operations_are_what_the_app_calls(
    driver: Path, tmp_path: Path, space: str, letters: str, operations: list[int]
) -> None:
    found, counted, events = executed(driver, tmp_path, space, letters)
    assert (found, counted) == (operations, len(letters))
    begun = len({CALL, LIBC_CALL} & set(operations))
    assert (events.count("op-enter"), events.count("op-exit")) == (begun, begun)


@pytest.mark.parametrize(
    ("letters", "charged"),
    [
        ("lckKkhKxl", {USER: 2, HANDLED: 7}),
        ("lckKkxl", {USER: 2, NO_CALL: 5}),  # no handler said which call it is
        ("lckiKrkhkxl", {USER: 2, INTERRUPT: 3, HANDLED: 6}),
        ("lckhklckKhxl", {USER: 3, HANDLED: 9}),
        ("lc" + 200 * "kK" + "hxl", {USER: 2, HANDLED: 403}),  # more functions than are kept in mind
        ("aOckKhkxla", {USER: 2, LIBC_CALL: 8}),
    ],
)
def test_a_system_call_is_charged_to_its_name_from_its_first_instruction(
    driver: Path, tmp_path: Path, letters: str, charged: dict[int, int]
) -> None:
    _, *by_operation = ask(driver, "execute", "apart", letters, tmp_path / "events.bin")
    assert dict(map(int, line.split()) for line in by_operation) == charged


@pytest.mark.parametrize(
    ("space", "letters", "operations"),
    [
        ("apart", "afra", [USER, FAULT, FAULT, USER]),
        ("apart", "Olfrla", [LIBC_CALL, LIBC_CALL, FAULT, FAULT, LIBC_CALL, USER]),
        ("apart", "lckfrkxl", [USER, *[SYSCALL] * 6, USER]),
        ("shared", "afra", [USER, FAULT, FAULT, USER]),
        ("shared", "lckfrkxl", [USER, *[SYSCALL] * 6, USER]),
        ("shared", "aokfrka", [USER, *[CALL] * 5, USER]),  # in an operation it is the operation's
        ("shared", "akfrka", [USER, USER, FAULT, FAULT, USER, USER]),  # in memset(), say, a page fault
        ("shared", "lckxlfrla", [USER, SYSCALL, SYSCALL, SYSCALL, USER, FAULT, FAULT, USER, USER]),
    ],
)
def test_faults_are_of_what_they_interrupt_and_count_once(
    driver: Path, tmp_path: Path, space: str, letters: str, operations: list[int]
) -> None:
    found, counted, events = executed(driver, tmp_path, space, letters)
    assert (found, counted) == (operations, len(letters) - 1)  # what faulted is executed twice
    assert (events.count("fault-enter"), events.count("fault-exit")) == (1, 1)


def test_a_call_that_is_interrupted_before_it_begins_is_one(driver: Path, tmp_path: Path) -> None:
    found, _, events = executed(driver, tmp_path, "shared", "afroka")
    assert found == [USER, FAULT, FAULT, CALL, CALL, USER]
    assert events.count("op-enter") == 1


@pytest.mark.parametrize(
    ("letters", "contended"),
    [
        ("ekz", 0),
        ("ekwkz", 1),
        ("ewkwkwz", 1),
        ("ewkwkzewkz", 2),
        ("WkZkWkZ", 2),
        ("ewWkZwz", 2),
        ("kz", 0),
        ("wkz", 0),
    ],
)
def test_whoever_waits_in_a_loop_waits_once(driver: Path, tmp_path: Path, letters: str, contended: int) -> None:
    events = executed(driver, tmp_path, "apart", f"c{letters}x")[2]
    assert (events.count("lock-contended"), events.count("lock-acquired")) == (contended, contended)


@pytest.mark.parametrize("space", ["apart", "shared"])
def test_a_call_that_the_kernel_does_not_have_is_seen_when_it_ends(driver: Path, tmp_path: Path, space: str) -> None:
    assert executed(driver, tmp_path, space, "lckxlckxlck")[2] == ["syscall-enter", "syscall-exit"] * 2


@pytest.mark.parametrize(
    ("letters", "instructions"),
    [
        ("aOlla", [3]),
        ("aOlckxla", [6]),  # the kernel's work for it is its own
        ("aOlfrla", [4]),  # and so is a fault that it causes, but for the instruction that is executed again
        ("aOlikrla", [3]),  # but no interrupt
        ("aOlfikrkrla", [5]),  # even in a fault
        ("aOlikfrkrla", [3]),  # and what an interrupt causes is the interrupt's
        ("aOaOlla", [1, 3]),
    ],
)
def test_an_operation_takes_the_instructions_of_its_thread(
    driver: Path, tmp_path: Path, letters: str, instructions: list[int]
) -> None:
    executed(driver, tmp_path, "apart", letters)
    events = raw_log.read(tmp_path / "events.bin")
    assert events["value"][events["kind"] == EVENT_KINDS.index("op-exit")].tolist() == instructions


def test_a_system_call_takes_the_instructions_from_its_entry_on(driver: Path, tmp_path: Path) -> None:
    executed(driver, tmp_path, "apart", "lckhkirkxl")
    events = raw_log.read(tmp_path / "events.bin")
    left = events[events["kind"] == EVENT_KINDS.index("syscall-exit")]
    assert left["value"].tolist() == [len("ckhkkx")]


LONG, INT = "ffffffffffffffff", "00000000ffffffff"


@pytest.mark.parametrize(
    ("rule", "rax", "how"),
    [
        ("nothing", LONG, ""), ("int", INT, "failed"), ("int", LONG, "failed"), ("int", "0", "ok"), ("int", "7", "ok"),
        ("long", LONG, "failed"), ("long", INT, "ok"), ("long", "0", "ok"),
        ("pointer", "0", "failed"), ("pointer", "1", "ok"),
        ("error", "16", "failed"), ("error", "0", "ok"), ("error", "ffffffff00000000", "ok"),
    ],
)  # fmt: skip
def test_operations_say_how_they_ended(driver: Path, tmp_path: Path, rule: str, rax: str, how: str) -> None:
    for way, expected in (("back", how), ("elsewhere", "")):
        assert outcome(driver, tmp_path, "operation", rule, rax, "0", way) == expected


@pytest.mark.parametrize(
    ("what", "rule", "rax", "flags", "how"),
    [
        ("sysret", "negative", "fffffffffffff001", "0", "failed"), ("sysret", "negative", LONG, "0", "failed"),
        ("sysret", "negative", "fffffffffffff000", "0", "ok"), ("sysret", "negative", "0", "1", "ok"),
        ("sysret", "carry", "2", "203", "failed"), ("sysret", "carry", "2", "202", "ok"),
        ("iret", "negative", LONG, "0", "failed"), ("iret", "carry", "2", "203", "ok"),  # R11 is then any number
        ("sysret", "error", "16", "0", "failed"), ("sysret", "nothing", LONG, "1", ""),
    ],
)  # fmt: skip
def test_system_calls_say_how_they_ended(
    driver: Path, tmp_path: Path, what: str, rule: str, rax: str, flags: str, how: str
) -> None:
    for way, expected in (("back", how), ("interrupt", how), ("error", how), ("elsewhere", "")):
        assert outcome(driver, tmp_path, what, rule, rax, flags, way) == expected, way


def outcome(driver: Path, folder: Path, what: str, rule: str, rax: str, flags: str, way: str) -> str:
    ask(driver, "outcome", what, RESULTS.index(rule), rax, flags, way, folder / "events.bin")
    return HOWS[raw_log.read(folder / "events.bin")["how"][-1]]
