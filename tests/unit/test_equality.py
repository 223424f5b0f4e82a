"""The comparison with the guests' own observers: what is equal passes, and every real difference fails.

No guest boots here: traces are made in the formats as they are, and spoilt in every way in which an observer may err.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

from tests.equality import freebsd, ktrace, linux, osv, probe, scheduling, strace, tracepoints
from tests.equality.__main__ import table
from tests.equality.sequences import (
    FAILED,
    NEVER,
    OK,
    UNKNOWN,
    Call,
    Comparison,
    Malformed,
    Thread,
    compare,
    unexplained,
)
from tests.equality.tracepoints import Record

# -- sequences ---------------------------------------------------------------------------------------------------------

SEEN = [Call("open", OK), Call("read", FAILED), Call("read", OK), Call("close", OK), Call("exit", NEVER)]


def compared(guest: list[Call], watched: list[Call], explain: Callable[..., str] = unexplained) -> Comparison:
    into = Comparison("x")
    compare(into, "thread 1", guest, watched, explain)
    return into


def test_what_is_the_same_is_equal() -> None:
    found = compared(SEEN, list(SEEN))
    assert (found.equal, found.alike, found.results) == (True, len(SEEN), len(SEEN))


def spoilt() -> Iterator[list[Call]]:
    for at, call in enumerate(SEEN):
        yield SEEN[:at] + SEEN[at + 1 :]  # lost
        yield [*SEEN[:at], call, *SEEN[at:]]  # twice
        yield [*SEEN[:at], Call(call.name, OK if call.result != OK else FAILED), *SEEN[at + 1 :]]  # another result
        yield [*SEEN[:at], Call("other", call.result), *SEEN[at + 1 :]]  # another name
    yield [SEEN[1], SEEN[0], *SEEN[2:]]  # another order
    yield []


@pytest.mark.parametrize("wrong", list(spoilt()), ids=str)
@pytest.mark.parametrize("explain", [unexplained, freebsd._explain, osv._explain, scheduling.explain])
def test_every_difference_fails(wrong: list[Call], explain: Callable[..., str]) -> None:
    sure = [call for call in SEEN if call.name != "exit"]  # OSv has no record of that
    for guest, watched in (
        (sure, [c for c in wrong if c.name != "exit"]),
        ([c for c in wrong if c.name != "exit"], sure),
    ):
        if guest != watched:
            assert not compared(guest, watched, explain).equal


def test_a_result_that_one_side_does_not_have_is_counted_apart() -> None:
    found = compared([Call("wait", UNKNOWN, "restarted")], [Call("wait", FAILED)])
    assert (found.equal, found.alike, found.results, dict(found.unsaid)) == (True, 1, 0, {"restarted": 1})


def test_nothing_compared_is_not_equal() -> None:
    assert not compared([], []).equal


def test_the_table_says_what_has_no_explanation() -> None:
    bad = compared(SEEN[:1], SEEN[:2])
    text = table([("strace", compared(SEEN, SEEN)), ("ktrace", bad)])
    assert "x: NOT EXPLAINED: thread 1: the guest has nothing, the probe read failed" in text
    assert len({len(line) for line in text.splitlines()[:3]}) == 1, "columns are aligned"


# -- strace ------------------------------------------------------------------------------------------------------------

LOG = """\
7     execve("/bin/x", ["x) = 3"...], 0x7ffe /* 4 vars */) = 0
7     openat(AT_FDCWD, "/a", O_RDONLY) = -1 ENOENT (No such file or directory)
7     clone3({flags=CLONE_VM, stack_size=0x7f} => {parent_tid=[9]}, 88) = 9
7     read(3,  <unfinished ...>
9     futex(0x55, FUTEX_WAIT, 2, NULL <unfinished ...>
7     <... read resumed>"x", 1)         = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
7     --- SIGCHLD {si_signo=SIGCHLD} ---
7     wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 8
7     syscall_0x1f3(0x1) = -1 ENOSYS (Function not implemented)
7     exit_group(0)                     = ?
9     <... futex resumed>)              = ?
9     +++ exited with 0 +++
7     +++ exited with 0 +++
"""


def test_a_log_of_straces_is_read() -> None:
    found = strace.parse(LOG.splitlines())
    assert found[7].calls == [
        Call("execve", OK, strace.EXECUTED), Call("openat", FAILED, "ENOENT"), Call("clone3", OK),
        Call("read", UNKNOWN, strace.RESTARTED),
        Call("wait4", OK), Call("syscall_0x1f3", FAILED, "ENOSYS"), Call("exit_group", NEVER),
    ]  # fmt: skip
    assert (found[7].made, found[9].calls) == ([9], [Call("futex", NEVER)])


@pytest.mark.parametrize(
    "line",
    [
        "no number at all",
        "7 read(3, 0x55, 1)",
        "7 <... write resumed>) = 1",
        "7 ?",
        "7 read(3) = 0 \n7 <... read resumed>) = 1",
    ],
)
def test_what_is_no_log_of_straces_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        strace.parse(line.split("\n"))


def watched(**threads: tuple[list[str], list[int]]) -> dict[int, Thread]:
    return {int(name[1:]): Thread([Call(one) for one in calls], made) for name, (calls, made) in threads.items()}


def traced() -> defaultdict[int, Thread]:
    return defaultdict(Thread, strace.parse(LOG.splitlines()))


def test_threads_are_the_same_who_were_made_alike() -> None:
    ours = watched(t0=([], [1]), t1=(["fork"], [2, 3]), t2=(["ptrace"], []), t3=(["execve"], [5]), t5=(["futex"], []))
    assert list(linux._same(traced(), ours)) == [(7, 3), (9, 5)]
    for wrong in (
        watched(t0=([], [1]), t1=([], [3]), t3=(["execve"], [])),  # a thread that the probe did not see
        watched(t0=([], [1]), t1=([], [3]), t3=(["open"], [5]), t5=([], [])),  # no program
    ):
        with pytest.raises(Malformed):
            list(linux._same(traced(), wrong))


# -- ktrace ------------------------------------------------------------------------------------------------------------


def record_of(kind: int, time: int, data: bytes, *, process: int = 10, thread: int = 100001) -> bytes:
    return ktrace._HEADER.pack(len(data), kind | 0x4000, 1, process, b"work", 1, time, thread, 0) + data


def called(time: int, code: int, **more: int) -> bytes:
    return record_of(1, time, struct.pack("<hhi2q", code, 2, 0, 1, 2), **more)


def returned(time: int, code: int, error: int, **more: int) -> bytes:
    return record_of(2, time, struct.pack("<hhiq", code, 0, error, 5), **more)


def switched(time: int, out: int, user: int, **more: int) -> bytes:
    return record_of(6, time, struct.pack("<ii8s", out, user, b"piperd"), **more)


NAMES = {2: "fork", 3: "read", 4: "write", 45: "ktrace"}


def test_a_trace_of_ktraces_is_read() -> None:
    trace = [
        returned(1, 45, 0), called(2, 3), switched(3, 1, 0), switched(5, 0, 0), returned(6, 3, 9), called(8, 2),
        returned(9, 2, 0), returned(7, 2, 0, process=11), called(10, 45), called(9, 3, process=11),
        returned(10, 3, -1, process=11),
    ]  # fmt: skip
    found = freebsd._threads(ktrace.parse(b"".join(trace)), NAMES)
    assert found == {
        (10, 100001): [
            Call("ktrace", OK, freebsd.BEGAN_UNSEEN), Call("read", FAILED), Call("switch", "blocked", "piperd"),
            Call("fork", OK), Call("ktrace", NEVER),
        ],
        (11, 100001): [Call("fork", OK, freebsd.BEGAN_UNSEEN), Call("read", UNKNOWN, freebsd._OTHERWISE)],
    }  # fmt: skip
    ours = [
        Call("ktrace", OK),
        Call("read", FAILED),
        Call("switch", "blocked"),
        Call("fork", OK),
        Call("ktrace", OK),
    ]
    assert compared(found[10, 100001], ours, freebsd._explain).explained.total() == 1
    assert compared(found[11, 100001], [Call("read", FAILED)], freebsd._explain).equal


@pytest.mark.parametrize(
    "wrong",
    [
        called(1, 3)[:-1], called(1, 3)[:40], b"\0" * 100, record_of(4, 1, b"data"), record_of(2, 1, b"short"),
        record_of(1 | 0x8000, 1, struct.pack("<hhi", 3, 0, 0)),
    ],
)  # fmt: skip
def test_what_is_no_trace_of_ktraces_is_refused(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        ktrace.parse(called(0, 3) + wrong)


# -- OSv's ring --------------------------------------------------------------------------------------------------------

LAYOUT = {"": 48, "tp": 0, "thread": 8, "thread_name": 16, "time": 32, "cpu": 40, "backtrace": 44}
POINTS = {0x1000: ("sched_wake", "P"), 0x2000: ("vfs_open", "pIH"), 0x3000: ("odd", "i*q"), 0x4000: ("wide", "50s")}


def in_ring(point: int, time: int, payload: bytes, *, backtrace: bool = False) -> bytes:
    head = struct.pack("<QQ16sQII", point, 7, b"app", time, 0, backtrace)
    whole = head + b"\xaa" * (80 * backtrace) + payload
    return whole + b"\0" * (-len(whole) % 8)


def decoded(data: bytes, written: int) -> list[Record]:
    return list(tracepoints.decode(data, written, LAYOUT, lambda address: POINTS[address]))


def padded(data: bytes, size: int) -> bytes:
    return data + b"\0" * (size - len(data))


def test_a_ring_is_read() -> None:
    path = bytes([4]) + b"/tmp" + b"\0" * 45
    records = [
        in_ring(0x1000, 1, struct.pack("<Q", 99)),
        in_ring(0x2000, 2, path + b"\0\0" + struct.pack("<IH", 7, 5)),
        in_ring(0x3000, 3, struct.pack("<iH3s", -1, 3, b"abc") + b"\0" * 7 + struct.pack("<q", -5), backtrace=True),
    ]
    data = padded(b"".join(records), 4096) + padded(in_ring(0x1000, 4, struct.pack("<Q", 98)), 4096)
    found = decoded(data, 4096 + 56)
    assert [(one.name, one.time, one.arguments) for one in found] == [
        ("sched_wake", 1, (99,)), ("vfs_open", 2, ("/tmp", 7, 5)), ("odd", 3, (-1, "616263", -5)),
        ("sched_wake", 4, (98,)),
    ]  # fmt: skip
    assert {(one.thread, one.thread_name) for one in found} == {(7, "app")}


def test_a_ring_that_went_round_begins_at_its_oldest_whole_page() -> None:
    pages = [padded(in_ring(0x1000, time, struct.pack("<Q", time)), 4096) for time in range(4)]
    wrapped = [pages[2], pages[3], pages[1]]  # pages 0 to 4 of a ring of three, the last with one record
    assert [one.time for one in decoded(b"".join(wrapped), 4 * 4096 + 56)] == [1, 2, 3]


def test_a_record_that_is_being_written_is_left_out() -> None:
    data = in_ring(0x1000, 1, struct.pack("<Q", 1)) + struct.pack("<Q", 2**64 - 1)
    assert len(decoded(padded(data, 4096), 4096)) == 1


@pytest.mark.parametrize("payload", [b"\0\0\0\0\xff\xff", b"\0\0\0\0\x00\x10"])
def test_a_record_that_is_longer_than_its_page_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decoded(padded(in_ring(0x3000, 1, payload), 4096), 4096)


# -- the scheduler -----------------------------------------------------------------------------------------------------


def ring(*words: str) -> list[Record]:
    """`a>b`: a stops for b; `a~b`: the same, though it could run on; `a!b`: a wakes b; `a+b`: a makes b."""
    found = []
    for word in words:
        me, other = ord(word[0]), ord(word[2])
        if word[1] == "~":
            found.append(Record("sched_preempt", 0, me, "", ()))
        names = {">": "sched_switch", "~": "sched_switch", "!": "sched_wake", "+": "thread_create"}
        found.append(Record(names[word[1]], 0, me, "", (other,)))
    return found


def test_a_wake_is_one_only_of_a_thread_that_waits() -> None:
    found = scheduling.of_ring(ring("b>a", "a!b", "a!b", "a~b", "b!a", "b!b", "b>a", "a!b"), 0, 99)
    assert [call.name for call in found] == [
        "switch T0 T1", "wake T1 T0", "attempt T1 T0", "switch T1 T0", "attempt T0 T1", "attempt T0 T0", "switch T0 T1",
        "wake T1 T0",
    ]  # fmt: skip
    assert [call.result for call in found if call.name.startswith("switch")] == ["waiting", "runnable", "waiting"]
    seen = [call for call in found if not call.name.startswith("attempt")]
    assert compared(found, seen, scheduling.explain).equal, "the probe does not see attempts"
    for at in range(len(seen)):
        assert not compared(found, seen[:at] + seen[at + 1 :], scheduling.explain).equal


def test_a_thread_made_where_another_was_is_another() -> None:
    found = scheduling.of_ring(scheduling.numbered(ring("a>b", "b>a", "a+b", "a>b")), 0, 99)
    assert [call.name for call in found] == ["switch T0 T1", "switch T1 T0", "new T0 T2", "switch T0 T2"]


def test_the_probe_says_the_same_in_its_words() -> None:
    events = pd.DataFrame(
        [(5, "switch", "", "blocked", 9), (9, "wake", "", "woken", 5), (9, "wake", "", "awake", 5),
         (9, "thread-new", "", "", 12), (9, "switch", "", "preempted", 5),
         (5, "lock-contended", scheduling._MUTEX_LOCK, "kernel", 0x55),
         (5, "lock-acquired", scheduling._MUTEX_LOCK, "slept", 0x55), (5, "lock-contended", "_Z5futexPi", "user", 0x66),
         (5, "syscall-enter", "futex", "", 0), (5, "lock-contended", "_Z5futexPi", "user", 0x66)],
        columns=["thread", "kind", "name", "how", "value"],
    )  # fmt: skip
    assert [str(call) for call in scheduling.of_probe(events)] == [
        "switch T0 T1 waiting", "wake T1 T0", "attempt T1 T0", "new T1 another", "switch T1 T0 runnable", "lock T0 55",
        "locked T0 55 slept", "lock T0 66 (_Z5futexPi in no call)", "lock T0 66 (_Z5futexPi in futex)",
    ]  # fmt: skip
    assert [bool(scheduling.explain(None, call)) for call in scheduling.of_probe(events)[-3:]] == [False, False, True]


def test_the_ring_tells_who_slept_for_a_mutex() -> None:
    def waits(*between: Record) -> str:
        ends = (Record(name, 0, ord("a"), "", (0x55,)) for name in ("mutex_lock_wait", "mutex_lock_wake"))
        first, last = ends
        return scheduling.of_ring([first, *between, last], 0, 99)[-1].result

    assert waits() == "spun"
    assert waits(*ring("a~b", "b>a")) == "spun", "it could have run on"
    assert waits(*ring("a>b", "b!a", "b>a")) == "slept"


# -- the probe ---------------------------------------------------------------------------------------------------------


def test_calls_are_paired_with_how_they_ended() -> None:
    rows = [
        (0, "syscall-enter", "read", "", 0), (1, "syscall-enter", "wait", "", 0),
        (0, "syscall-exit", "read", "failed", 0), (0, "switch", "", "blocked", 1), (0, "switch", "", "preempted", 7),
        (0, "syscall-enter", "exit", "", 0), (1, "syscall-exit", "wait", "", 0), (1, "op-enter", "read", "", 0),
    ]  # fmt: skip
    events = pd.DataFrame(rows, columns=["thread", "kind", "name", "how", "value"])
    found = list(probe.rows(probe.events_of(events, switches=True)))
    assert found == [
        (0, "read", FAILED, ""), (1, "wait", UNKNOWN, ""), (0, "switch", "blocked", ""),
        (0, probe.FOR_KERNEL, "preempted", ""), (0, "exit", NEVER, ""),
    ]  # fmt: skip


@pytest.mark.parametrize("why", ["blocked", "preempted", "yielded", "exited", ""])
@pytest.mark.parametrize("name", [probe.SWITCH, probe.FOR_KERNEL])
def test_a_switch_without_a_record_of_ktraces_is_no_sleep(why: str, name: str) -> None:
    seen = [Call("read", OK), Call(name, why), Call("close", OK)]
    explained = (why, name) == ("preempted", probe.FOR_KERNEL) or why in ("yielded", "exited")
    assert compared(seen[::2], seen, freebsd._explain).equal == explained
    record = Call(probe.SWITCH, "blocked", "piperd")
    assert not compared([seen[0], record, seen[2]], seen[::2], freebsd._explain).equal
    assert compared([seen[0], record, seen[2]], seen, freebsd._explain).equal == (
        why == "blocked" or (why, name) == ("", probe.SWITCH)
    )


def test_which_of_many_switches_has_the_record_is_found_out() -> None:
    ours = [Call(probe.FOR_KERNEL, "preempted"), Call(probe.SWITCH, "preempted"), Call(probe.FOR_KERNEL, "preempted")]
    record = Call(probe.SWITCH, "preempted")
    for records, alike, equal in (
        ([record], 1, True),
        ([], 0, False),
        ([record] * 3, 1, True),
        ([record] * 4, 1, False),
    ):
        found = compared(records, ours, freebsd._explain)
        assert (found.alike, not found.differences) == (alike, equal)
