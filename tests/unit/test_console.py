"""The console and the app's words on it: bounded, cleaned, and strict about what is believed."""

from __future__ import annotations

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.exec.said import Phase
from profiler.machine import console
from profiler.machine.console import Console, Conversation, visible


def spoken(*lines: str) -> Conversation:
    conversation = Conversation()
    for line in lines:
        conversation.hear(line)
    return conversation


def read_all(data: bytes) -> tuple[list[str], Console]:
    """What a Console makes of ``data`` followed by the end of the file."""
    out, into = os.pipe()
    writer = threading.Thread(
        target=lambda: (os.write(into, data) if len(data) < 60000 else _pour(into, data), os.close(into))
    )
    writer.start()
    reader = Console(out)
    lines = []
    while not reader.ended:
        line = reader.line(5.0)
        if line is not None:
            lines.append(line)
    writer.join()
    os.close(out)
    return lines, reader


def _pour(into: int, data: bytes) -> None:
    with os.fdopen(os.dup(into), "wb") as file:
        file.write(data)


def test_lines_come_without_their_ends_and_the_last_may_lack_one() -> None:
    lines, reader = read_all(b"one\r\ntwo\n\nno end")
    assert lines == ["one", "two", "", "no end"]
    assert reader.log == b"one\r\ntwo\n\nno end"


def test_a_guest_that_never_ends_a_line_fills_neither_memory_nor_patience() -> None:
    lines, reader = read_all(b"x" * 300_000)
    assert max(map(len, lines)) == console.LINE_BYTES
    assert sum(map(len, lines)) == 300_000
    assert reader.dropped == 0


def test_the_log_is_capped_and_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LOG_BYTES", 1000)
    lines, reader = read_all(b"0123456789abcde\n" * 100)
    assert len(lines) == 100, "reading goes on: the verdict may be in what is not kept"
    assert len(reader.log) == 1000
    assert reader.dropped == 600


def test_waiting_for_a_silent_guest_ends_in_time() -> None:
    out, into = os.pipe()
    started = time.monotonic()
    assert Console(out).line(0.1) is None
    assert time.monotonic() - started < 2
    os.close(into)
    os.close(out)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text, ünïcode", "plain text, ünïcode"),
        ("\x1b[2J\x1b]0;title\x07gone", "[2J]0;titlegone"),
        ("a\tb", "a b"),
        ("user\u202etxt.exe\u2066", "usertxt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028break\x85", "linebreak"),
        ("nul\x00 del\x7f", "nul del"),
        ("no\u00a0break", "no break"),
    ],
)
def test_nothing_that_tricks_a_terminal_or_an_eye_is_shown(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_a_whole_conversation() -> None:
    said = spoken(
        "[    0.1] booting",
        "weaklink: guest version Linux 6.1.0 (gcc)",
        "weaklink: guest pti",
        "weaklink: ready",
        "weaklink: phase 0 null-call ok 10007 3302679",
        "weaklink: phase 7 epoll unsupported 0 0 epoll_create1: Function not implemented",
        "weaklink: done",
    )
    assert said.guest == {"version": "Linux 6.1.0 (gcc)", "pti": ""}
    assert said.ready
    assert said.done
    assert said.phases[0] == Phase(0, "null-call", "ok", 10007, 3302679, "")
    assert said.phases[7].reason == "epoll_create1: Function not implemented"
    assert said.malformed == []


@pytest.mark.parametrize(
    "line",
    [
        "weaklink: phase 0 null-call ok ten 1",
        "weaklink: phase 0 null-call ok 1",
        "weaklink: phase 0 null-call fine 1 1",
        "weaklink: phase -1 null-call ok 1 1",
        "weaklink: phase 200 null-call ok 1 1",
        "weaklink: phase 0 ../../etc ok 1 1",
        "weaklink: phase 0 null-call ok 1 99999999999999999999",
        "weaklink: phase 0 null-call ok \u0661 1",
        "weaklink: phase 0 null-c[    1.234] random: crng init done",
        "weaklink: guest ../x y",
        "weaklink: ready steady",
        "weaklink: done?",
        "weaklink: hello",
        "weaklink: ",
    ],
)
def test_what_does_not_parse_is_reported_and_not_believed(line: str) -> None:
    said = spoken("weaklink: ready", line)
    assert len(said.malformed) == 1
    assert (said.phases, said.guest, said.done) == ({}, {}, False)


def test_nothing_can_be_said_twice_or_out_of_turn() -> None:
    said = spoken(
        "weaklink: phase 1 early ok 1 1",
        "weaklink: ready",
        "weaklink: ready",
        "weaklink: guest version 1",
        "weaklink: guest version 2",
        "weaklink: phase 1 a ok 1 1",
        "weaklink: phase 1 b ok 2 2",
        "weaklink: done",
        "weaklink: phase 2 late ok 1 1",
    )
    assert said.guest == {"version": "1"}
    assert [phase.name for phase in said.phases.values()] == ["a"]
    assert [problem.partition(":")[0] for problem in said.malformed] == [
        "before ready", "said twice", "said twice", "said twice", "after done",
    ]  # fmt: skip


def test_only_the_beginning_of_a_line_is_ours() -> None:
    said = spoken("x weaklink: done", "weaklink:done", "Weaklink: done")
    assert not said.done
    assert said.malformed == []


def test_a_babbling_guest_is_bounded() -> None:
    said = spoken(*(f"weaklink: guest k{number} v" for number in range(1000)), *["weaklink: nonsense"] * 1000)
    assert len(said.guest) == 64
    assert len(said.malformed) == console.MALFORMED_KEPT


@given(st.lists(st.text(max_size=80).map(lambda text: f"weaklink: {text}") | st.text(max_size=40)))
def test_no_text_makes_it_fall_over(lines: list[str]) -> None:
    said = spoken(*lines)
    assert all(0 <= number < 200 for number in said.phases)


@given(st.binary(max_size=2000))
def test_no_bytes_make_the_reader_fall_over_or_lose_any(data: bytes) -> None:
    lines, reader = read_all(data)
    assert reader.log == data
    assert all(line.isprintable() for line in lines)
