"""Where threads wait for locks, where packets pass, and what functions do with their arguments: in small kernels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from capstone import x86_const

from probes.exec import dataflow, waits
from probes.exec.dataflow import Value
from probes.exec.disassembly import Code
from probes.exec.finder import Finder, Kernel, Place
from probes.symbols import SymbolTable
from tests import machine_code
from tests.machine_code import UPPER_HALF as AT
from tests.machine_code import Assemble

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")

RDI, RSI, RDX = 5, 4, 3  # GDB's numbers


def find(
    folder: Path, bodies: Mapping[str, str], **rules: Any
) -> tuple[dict[int, Place], dict[str, str], dict[str, int]]:
    """(places by address, reasons by what is missing, symbols)."""
    elf = machine_code.kernel(folder, dict(bodies))
    finder = Finder(Kernel(SymbolTable.load(elf), elf, Code(elf)))
    if "packet" in rules:
        waits.packets(finder, rules["packet"])
    else:
        waits.locks(finder, rules)
    return finder.places, {entry["what"]: entry["reason"] for entry in finder.missing}, machine_code.symbols(elf)


# -- where functions end -----------------------------------------------------------------------------------------------


def ends(folder: Path, body: str, **more: str) -> tuple[list[int], str]:
    """Where the wait in a function ends, in bytes from its beginning; or why that is not known."""
    bodies = {"slow": body, "other": "nop; ret", **more}
    places, missing, at = find(folder, bodies, kernel=[{"function": "slow", "argument": 0}])
    found = sorted(address - at["slow"] for address, place in places.items() if place.kind == "lock-end")
    return found, missing.get("lock slow", "")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("nop; ret", [1]),
        ("test %eax, %eax; je 1f; ret; 1: nop; ret", [4, 6]),
        ("test %eax, %eax; jne 1f; jmp other; 1: ret", [4, 6]),
        ("1: dec %eax; jne 1b; repz ret", [4]),
        ("cmp $3, %edi; ja 1f; jmp *0x1000(,%rdi,8); 1: ret", [12]),  # a switch statement
    ],
)
def test_every_return_and_every_jump_out_ends_a_wait(tmp_path: Path, body: str, found: list[int]) -> None:
    assert ends(tmp_path, body) == (found, "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("test %eax, %eax; jne other; ret", "a conditional jump leaves it"),
        ("test %eax, %eax; jne 1f; jmp *%rax; 1: ret", "is not known"),
        ("test %eax, %eax; jne 1f; jmp *8(%rax); 1: ret", "is not known"),
        ("1: pause; jmp 1b", "it does not return"),
    ],
)
def test_a_function_whose_ends_are_not_known_is_not_hooked(tmp_path: Path, body: str, why: str) -> None:
    found, reason = ends(tmp_path, body)
    assert found == []
    assert why in reason


def test_what_the_compiler_cut_off_is_of_the_function(tmp_path: Path) -> None:
    bodies = {"slow": "test %eax, %eax; jne slow.cold; ret", "slow.cold": "nop; test %eax, %eax; jne slow; ret"}
    places, missing, at = find(tmp_path, bodies, kernel=[{"function": "slow", "argument": 0}])
    kinds = {address: place.kind for address, place in places.items()}
    ends_at = [address for address, kind in kinds.items() if kind == "lock-end"]
    assert len(ends_at) == 2
    assert kinds[at["slow"]] == "lock"
    assert at["slow.cold"] not in kinds
    assert missing == {}


# -- locks -------------------------------------------------------------------------------------------------------------

INIT = {
    "lock_init": "test %rsi, %rsi; je 1f; mov %rdx, 0x10(%rdi); ret; 1: mov %rcx, 0x18(%rdi); jmp 2f; 2: ret",
    "mtx_init": "push %rbx; mov %rdi, %rbx; mov %rsi, %rdx; lea -0x18(%rbx), %rdi; call lock_init; pop %rbx; ret",
    "op_wait": "mov %rsi, %r15; test %rdx, %rdx; je 1f; call *%rdx; 1: mov 8(%r15), %rsi; call do_wait; ret",
    "do_wait": "ret",
    "slow": "call wait; ret",
    "wait": "ret",
}


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ({"argument": 0}, (RDI, 0)),
        ({"argument": 2}, (RDX, 0)),
        ({"argument": 1, "pointee": 8}, (RSI, 8, 0)),
        ({}, ()),
        ({"argument": 0, "as": ["mtx_init", "lock_init", 0]}, (RDI, -0x18)),
        ({"argument": 1, "as": ["op_wait", "do_wait", 1]}, (RSI, 8, 0)),
    ],
)
def test_where_a_lock_is(tmp_path: Path, rule: dict[str, Any], source: tuple[int, ...]) -> None:
    places, missing, at = find(tmp_path, INIT, user=[{"function": "slow", **rule}])
    assert places[at["slow"]] == Place("lock", "slow", waits.OF_USER, source)
    assert missing == {}


@pytest.mark.parametrize("way", [["mtx_init", "lock_init", 1], ["mtx_init", "do_wait", 0], ["gone", "lock_init", 0]])
def test_a_lock_that_cannot_be_told_is_hooked_and_has_no_address(tmp_path: Path, way: list[Any]) -> None:
    places, missing, at = find(tmp_path, INIT, kernel=[{"function": "slow", "argument": 0, "as": way}])
    assert places[at["slow"]] == Place("lock", "slow", waits.NO_NAME, ())
    assert "does not hand its argument to" in missing["lock-address slow"]


def test_the_name_of_a_lock_is_where_its_maker_puts_it(tmp_path: Path) -> None:
    name = {"function": "lock_init", "argument": 0, "stored": 2}
    places, missing, at = find(tmp_path, INIT, kernel=[{"function": "slow", "argument": 0}], name=name)
    assert places[at["slow"]].disp == 0x10
    assert missing == {}
    twice = INIT | {"lock_init": "mov %rdx, 0x10(%rdi); mov %rdx, 0x20(%rdi); ret"}
    places, missing, at = find(tmp_path, twice, kernel=[{"function": "slow", "argument": 0}], name=name)
    assert places[at["slow"]].disp == waits.NO_NAME
    assert missing == {"lock-name": "not one such field in lock_init"}


def test_a_function_may_wait_where_it_calls_another(tmp_path: Path) -> None:
    rule = {"function": "slow", "argument": 0, "at": ["wait"]}
    places, _, at = find(tmp_path, INIT, kernel=[rule])
    kinds = {address - at["slow"]: place.kind for address, place in places.items()}
    assert kinds == {0: "lock-entry", 5: "lock-end"} | {0: kinds[0]}, "the call is its first instruction: one hook each"
    later = INIT | {"slow": "nop; call wait; ret"}
    places, _, at = find(tmp_path, later, kernel=[rule])
    assert {address - at["slow"]: place.kind for address, place in places.items()} == {
        0: "lock-entry", 1: "lock-wait", 6: "lock-end"}  # fmt: skip
    places, missing, _ = find(tmp_path, later, kernel=[rule | {"at": ["do_wait"]}])
    assert (places, missing) == ({}, {"lock slow": "it does not wait"})


def test_the_first_of_a_list_that_there_is(tmp_path: Path) -> None:
    both = [{"function": "gone", "argument": 1}, {"function": "slow", "argument": 1}]
    places, missing, at = find(tmp_path, INIT, kernel=[both])
    assert (places[at["slow"]].source, missing) == ((RSI, 0), {})
    places, missing, _ = find(tmp_path, INIT, kernel=[both[:1]])
    assert (places, missing) == ({}, {"lock gone": "no such symbol in this kernel"})


# -- packets -----------------------------------------------------------------------------------------------------------

PACKETS = {
    "push": "mov 0xd0(%rdi), %rax; mov %esi, %edx; add %esi, 0x70(%rdi); sub %rdx, %rax; mov %rax, 0xd0(%rdi); ret",
    "count": "push %rbx; mov %rsi, %rbx; je 1f; mov %rbx, %rdi; call push; pop %rbx; ret\n"
             "1: movslq 0x38(%rbx), %rdx; pop %rbx; ret",
    "send": "ret",
    "receive": "ret",
}  # fmt: skip


@pytest.mark.parametrize(
    ("length", "offset"),
    [
        ({"function": "push", "argument": 0, "added": 1}, 0x70),
        ({"function": "count", "argument": 1, "widened": True}, 0x38),
    ],
)
def test_what_a_packet_is_long(tmp_path: Path, length: dict[str, Any], offset: int) -> None:
    rules = {
        "sent": [{"function": "send", "argument": 1}],
        "received": [{"function": "receive", "argument": 0, "pointee": 0}],
        "length": [{"function": "gone", "argument": 0, "widened": True}, length],
    }
    places, missing, at = find(tmp_path, PACKETS, packet=rules)
    assert places[at["send"]] == Place("packet", "send", 0, (RSI, offset))
    assert places[at["receive"]] == Place("packet", "receive", 1, (RDI, 0, offset))
    assert missing == {}


def test_packets_are_seen_where_their_length_is_not(tmp_path: Path) -> None:
    rules = {"sent": [{"function": "send", "argument": 1}], "received": [{"function": "gone", "argument": 0}],
             "length": [{"function": "push", "argument": 0, "widened": True}]}  # fmt: skip
    places, missing, at = find(tmp_path, PACKETS, packet=rules)
    assert places == {at["send"]: Place("packet", "send", 0, ())}
    assert missing == {"packet-length": "not one such field in push", "packet gone": "no such symbol in this kernel"}


SEND = "mov %rdi, %r15; 1: mov (%r15), %rbp; mov 0x70(%r15), %r14d; mov %rbp, %r15; test %r15, %r15; jne 1b; ret"


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        (SEND, 6),
        ("mov 0x70(%rdi), %eax; mov 0x74(%rdi), %ecx; mov 0x70(%rdi), %rdx; mov %eax, 0x70(%rdi); ret", 0),
        ("mov 0x70(%rdi), %eax; mov 0x70(%rdi), %ecx; ret", None),
        ("mov 0x70(%rsi), %eax; add 0x70(%rdi), %eax; ret", None),
    ],
)
def test_each_of_several_packets_is_seen_where_its_length_is_read(tmp_path: Path, body: str, reads: int | None) -> None:
    rules = {"sent": [{"function": "send", "argument": 0, "each": True}],
             "length": [{"function": "push", "argument": 0, "added": 1}]}  # fmt: skip
    places, missing, at = find(tmp_path, PACKETS | {"send": body}, packet=rules)
    if reads is None:
        assert places == {at["send"]: Place("packet", "send", 0, (RDI, 0x70))}
        assert "only the first of many is seen" in missing["packet-read send"]
    else:
        assert places == {at["send"] + reads: Place("packet-read", "send", 0)}
        assert missing == {}


# -- what becomes of arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("mov %rdi, %rsi; call 9f", Value(0)),
        ("lea 0x10(%rdi), %rsi; add $0x10, %rdi; call 9f", Value(0, (0x10,))),
        ("mov 8(%rdi), %rax; mov 0x20(%rax), %rsi; call 9f", Value(0, (8, 0x20, 0))),
        ("mov %rdi, %rbx; call *%rax; mov %rbx, %rsi; call 9f", Value(0)),
        ("mov %rdi, %rbx; test %eax, %eax; je 1f; ret; 1: mov %rbx, %rsi; jmp 9f", Value(0)),
        ("endbr64; call 8f; mov %rdi, %rsi; call 9f", Value(0)),  # __fentry__ saves everything
        # What is lost.
        ("mov %edi, %esi; call 9f", None),
        ("mov %rdi, %rbx; pop %rbx; mov %rbx, %rsi; call 9f", None),
        ("mov %fs:(%rdi), %rsi; call 9f", None),
        ("mov (%rdi,%rax), %rsi; call 9f", None),
        ("push %rdi; pop %rsi; call 9f", None),
        ("mov %rdi, %rcx; call *%rax; mov %rcx, %rsi; call 9f", None),
        ("ret; mov %rdi, %rsi; call 9f", None),
    ],
)
def test_what_is_passed_on(assemble: Assemble, lines: str, value: Value | None) -> None:
    code, size = assemble(f"{lines}; ret; 8: ret; 9: ret")
    assert dataflow.passed(code, AT, size, {AT + size - 1}, 1) == value


@pytest.mark.parametrize("register", [x86_const.X86_REG_RSI, x86_const.X86_REG_ESI])
def test_a_number_is_no_register(assemble: Assemble, register: int) -> None:
    """Not even the one that the disassembler would give for it."""
    code, size = assemble(f"movq ${register}, 8(%rdi); addl ${register}, 16(%rdi); ret")
    assert dataflow.stored(code, AT, size, 0, 1) == set()
    assert dataflow.added(code, AT, size, 0, 1) == set()
    code, size = assemble("mov %rsi, 8(%rdi); mov %rsi, (%rdi,%rax); add %esi, 16(%rdi); ret")
    assert dataflow.stored(code, AT, size, 0, 1) == {8}
    assert dataflow.added(code, AT, size, 0, 1) == {16}


def test_loops_end_and_each_instruction_is_seen_once(assemble: Assemble) -> None:
    code, size = assemble("1: mov 8(%rdi), %rdi; test %rdi, %rdi; jne 1b; jmp 2f; nop; 2: jmp 1b")
    seen = [insn.address - AT for insn, _ in dataflow.walk(code, AT, size)]
    assert seen == [0, 4, 7, 9, 12]
