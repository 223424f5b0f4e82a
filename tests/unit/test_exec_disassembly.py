"""What is found in machine code: stubs, calls, jumps and the table of a switch statement."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from probes.exec.disassembly import Code
from profiler.errors import ArtifactCorrupt
from tests.machine_code import UPPER_HALF as BASE
from tests.machine_code import Assemble, kernel, symbols

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no assembler on this machine")


def test_bytes_by_address(assemble: Assemble) -> None:
    code, size = assemble("mov 8(%rdi), %rax", "ret")
    assert code.read(BASE + 100_000, 4) == b""
    assert code.read(BASE - 0x100000, 4) == b""
    assert code.read(BASE, 4) == bytes.fromhex("488b4708")
    assert (code.first <= BASE, code.last >= BASE + size - 1, code.last < BASE + 0x10000) == (True, True, True)
    assert any(start <= BASE and end >= BASE + size for start, end in code.executable)


def test_stubs_that_push_a_vector(assemble: Assemble) -> None:
    # As Linux's irq_entries_start: one 8-byte stub per vector.
    stub = ["push $0x{:x}", "jmp end", ".balign 8, 0xcc"]
    code, size = assemble(*(line.format(vector) for vector in (0x20, 0x7F, 0x80, 0xEF) for line in stub))
    stubs = [address - BASE for address in code.stubs(BASE, size)]
    assert len(stubs) == 4
    assert stubs[:2] == [0, 8]


def test_a_stub_begins_where_an_indirect_branch_may_land(assemble: Assemble) -> None:
    # As Linux 6.12's: were the push taken for the entry, the kernel would seem to have executed something before.
    stub = ["endbr64", "push $0x{:x}", "jmp end", ".balign 16, 0xcc"]
    lines = [line.format(vector) for vector in (0x20, 0xEF) for line in stub]
    code, size = assemble(*lines, "endbr64", "nop", "push $0x20", "jmp end")
    assert [address - BASE for address in code.stubs(BASE, size)] == [0, 16, 37]


def test_calls_of_some_functions(assemble: Assemble) -> None:
    code, size = assemble("call 1f", "call end", "call *%rax", "jmp 1f", "call 1f", "ret", "1: ret")
    target = BASE + size - 1
    assert code.calls(BASE, size, {target}) == [BASE, BASE + 14]
    assert code.calls(BASE, size, {target, BASE + size}) == [BASE, BASE + 5, BASE + 14]
    assert code.calls(BASE, size, ()) == []


def test_jumps_through_a_register(assemble: Assemble) -> None:
    code, size = assemble("jmp 1f", "1: jmp *8(%rcx)", "jmp *%rcx", "notrack jmp *%rax", "jmp *(%rcx)", "je 1b")
    assert [jump - BASE for jump in code.register_jumps(BASE, size)] == [5, 7]


SWITCH = ["cmp $4, %rbx", "ja default", "mov %rdx, %rsi", "jmp *table(,%rbx,8)", "one: nop", "two: nop", "default: ret",
          ".section .rodata", ".balign 8", "table: .quad two, one, default, one, two"]  # fmt: skip


def cases(folder: Path, *lines: str, at: int = 0x400000) -> dict[int, str]:
    """The cases of a function, as number -> label."""
    elf = kernel(folder, {"f": "\n".join(lines[:7])}, at=at, data="\n".join(lines[7:]) + "\n")
    known = symbols(elf)
    named = {address: name for name, address in known.items() if name in ("one", "two", "default")}
    found = Code(elf).cases(known["f"], known["default"] + 1 - known["f"])
    return {number: named[address] for number, address in found.items()}


@pytest.mark.parametrize("at", [0x400000, BASE])
def test_the_cases_of_a_switch(tmp_path: Path, at: int) -> None:
    assert cases(tmp_path, *SWITCH, at=at) == {0: "two", 1: "one", 3: "one", 4: "two"}
    assert cases(tmp_path, "cmp $1, %ebx", *SWITCH[1:], at=at) == {0: "two", 1: "one"}


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (0, "cmp $4, %rcx"),  # not what the jump goes by
        (0, "cmp %rbx, %rcx"),
        (0, "cmp $5, %rbx"),  # one more than there are
        (1, "jb default"),
        (3, "jmp *table(,%rbx,4)"),
        (3, "jmp *table(%rax,%rbx,8)"),
        (3, "jmp *%fs:table(,%rbx,8)"),
        (3, "jmp *%rbx"),
        (3, "jmp default"),
        (9, "table: .quad two, one, default, one, two + 100"),  # elsewhere
        (9, "table: .quad two, one, 0, one, two"),
        (9, "table: .long two, one, 0, one, two"),
    ],
)
def test_what_is_no_switch_of_that_kind(tmp_path: Path, line: int, other: str) -> None:
    lines = [*SWITCH]
    lines[line] = other
    assert cases(tmp_path, *lines) == {}


def test_the_size_of_thread_local_variables(tmp_path: Path) -> None:
    data = '.section .tbss,"awT",@nobits\n.balign 64\n.globl current\ncurrent: .skip 8\n.skip 92\n'
    assert Code(kernel(tmp_path, {"f": "ret"}, data=data)).tls_size == 128  # whole alignments
    assert Code(kernel(tmp_path, {"f": "ret"})).tls_size == 0


def test_memory_that_the_file_does_not_hold_is_the_files_too(tmp_path: Path) -> None:
    elf = kernel(tmp_path, {"f": "ret"}, at=0x400000, data=".bss\n.globl big\nbig: .skip 0x30000\n")
    assert Code(elf).last == symbols(elf)["big"] + 0x30000 - 1


def test_files_that_hold_no_code(tmp_path: Path) -> None:
    for content in (b"", b"not an ELF file", b"\x7fELF" + b"\xff" * 60):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ArtifactCorrupt):
            Code(tmp_path / "file")
    with pytest.raises(ArtifactCorrupt):
        Code(tmp_path / "none")
