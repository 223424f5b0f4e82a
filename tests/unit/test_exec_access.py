"""Where a function first touches the object of a thread: small functions, written by hand and assembled."""

from __future__ import annotations

import shutil

import pytest

from probes.exec.access import Source, first_access
from tests.machine_code import UPPER_HALF as BASE
from tests.machine_code import Assemble

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no assembler on this machine")

RDI, RSI, RDX, RCX, R8, R9 = range(6)


def first(assemble: Assemble, source: int | Source, *lines: str, after: int = -1) -> tuple[int, int] | None:
    """(offset in the function, displacement) of the first access; or None."""
    code, size = assemble(*lines)
    source = source if isinstance(source, Source) else Source(source)
    access = first_access(code, BASE, size, source, after=BASE + after)
    return None if access is None else (access.address - BASE, access.disp)


def test_a_store_through_the_argument(assemble: Assemble) -> None:
    # As Linux's __switch_to_asm: six pushes, then the stack pointers.
    lines = ["push %rbp", "push %rbx", "push %r12", "movq %rsp, 0x1518(%rdi)", "movq 0x1518(%rsi), %rsp", "ret"]
    assert first(assemble, RDI, *lines) == (4, 0x1518)
    assert first(assemble, RSI, *lines) == (11, 0x1518)


@pytest.mark.parametrize(("argument", "register"), list(enumerate(["rdi", "rsi", "rdx", "rcx", "r8", "r9"])))
def test_every_argument_has_its_register(assemble: Assemble, argument: int, register: str) -> None:
    assert first(assemble, argument, "nop", f"movl $1, 0x20(%{register})", "ret") == (1, 0x20)


def test_a_negative_displacement_and_none(assemble: Assemble) -> None:
    assert first(assemble, RDI, "movb $0, -8(%rdi)", "ret") == (0, -8)
    assert first(assemble, RDI, "cmpl $1, (%rdi)", "ret") == (0, 0)


@pytest.mark.parametrize("twice", ["lock incl (%rdi)", "orl $1, (%rdi)", "xchg %rax, (%rdi)", "push 8(%rdi)", "movsq",
                                   "movdqu (%rdi), %xmm0", "fxsave (%rdi)"])  # fmt: skip
def test_what_accesses_memory_twice_or_by_another_unit_is_passed_by(assemble: Assemble, twice: str) -> None:
    # One event each is wanted, at the address given; what a helper of QEMU's accesses is not seen on all versions.
    size = assemble(twice)[1]
    kept = "mov %rdi, %rbx"
    assert first(assemble, RDI, kept, twice, "mov 0x18(%rbx), %rax", "ret") == (3 + size, 0x18)


def test_what_points_into_the_object_counts(assemble: Assemble) -> None:
    # As FreeBSD's cpu_switch: the registers go to a part of the thread.
    assert first(assemble, RDI, "lea 0x300(%rdi), %r8", "mov (%rsp), %rax", "mov %r15, 8(%r8)", "ret") == (11, 0x308)
    assert first(assemble, RDI, "lea 8(%rdi), %rdi", "lea -4(%rdi), %rbx", "mov 8(%rbx), %rax", "ret") == (8, 12)
    assert first(assemble, RDI, "lea 8(%rdi,%rax), %rdi", "mov 8(%rdi), %rax", "ret") is None


def test_copies_of_the_argument_count(assemble: Assemble) -> None:
    found = first(assemble, RDI, "mov %rdi, %rbx", "mov %rbx, %r13", "xor %edi, %edi", "mov 0x18(%r13), %eax", "ret")
    assert found == (8, 0x18)


def test_fentry_keeps_the_argument_and_another_call_does_not(assemble: Assemble) -> None:
    assert first(assemble, RDI, "call end", "mov 8(%rdi), %rax", "ret") == (5, 8)
    assert first(assemble, RDI, "nop", "call end", "mov 8(%rdi), %rax", "ret") is None
    assert first(assemble, RDI, "mov %rdi, %rbp", "call end", "mov 8(%rbp), %rax", "ret") == (8, 8)
    assert first(assemble, RDI, "mov %rdi, %r10", "call end", "mov 8(%r10), %rax", "ret") is None


def test_fentry_may_come_after_endbr(assemble: Assemble) -> None:
    # CONFIG_X86_KERNEL_IBT, as in Linux 6.12's try_to_wake_up.
    assert first(assemble, RDI, "endbr64", "call end", "mov 8(%rdi), %rax", "ret") == (9, 8)
    assert first(assemble, RDI, "endbr64", "nop", "call end", "mov 8(%rdi), %rax", "ret") is None
    assert first(assemble, RDI, "call end", "endbr64", "call end", "mov 8(%rdi), %rax", "ret") is None


@pytest.mark.parametrize(
    "clobber",
    ["mov %rsi, %rdi", "xor %edi, %edi", "movb $1, %dil", "mov $1, %di", "lea 8(%rsi), %rdi", "pop %rdi", "inc %rdi",
     "xchg %rdi, %rsi", "mov %edi, %edi"],
)  # fmt: skip
def test_a_register_that_was_overwritten_is_no_argument_any_more(assemble: Assemble, clobber: str) -> None:
    assert first(assemble, RDI, clobber, "mov 8(%rdi), %rax", "ret") is None


@pytest.mark.parametrize("part", ["%r8d", "%r8w", "%r8b"])
def test_so_is_one_of_which_a_part_was_overwritten(assemble: Assemble, part: str) -> None:
    assert first(assemble, R8, f"xor {part}, {part}", "mov 8(%r8), %rax", "ret") is None


@pytest.mark.parametrize("part", ["%edx", "%dx", "%dl", "%dh"])
def test_in_whatever_part(assemble: Assemble, part: str) -> None:
    assert first(assemble, RDX, f"xor {part}, {part}", "mov 8(%rdx), %rax", "ret") is None


def test_half_a_copy_is_none(assemble: Assemble) -> None:
    assert first(assemble, RDI, "mov %edi, %ebx", "mov 8(%rbx), %rax", "ret") is None


def test_a_jump_or_the_end_comes_first(assemble: Assemble) -> None:
    assert first(assemble, RDI, "jmp end", "mov 8(%rdi), %rax", "ret") is None
    assert first(assemble, RDI, "jmp *%rax", "mov 8(%rdi), %rax") is None
    assert first(assemble, RDI, "ret", "mov 8(%rdi), %rax") is None
    assert first(assemble, RDI, "nop") is None


def test_a_conditional_jump_is_passed_by(assemble: Assemble) -> None:
    # The path that never jumps is the one that is followed; whoever jumps makes no access there.
    assert first(assemble, RDI, "test %rdi, %rdi", "je end", "mov 8(%rdi), %rax", "ret") == (5, 8)


def test_an_index_says_nothing_about_the_argument(assemble: Assemble) -> None:
    assert first(assemble, RDI, "mov 8(%rdi,%rax,4), %ecx", "ret") is None
    assert first(assemble, RDI, "mov 8(%rax,%rdi), %ecx", "ret") is None
    assert first(assemble, RDI, "mov 8(%rdi,%rax,4), %ecx", "mov 0x10(%rdi), %ecx", "ret") == (4, 0x10)


def test_a_segment_says_nothing_either(assemble: Assemble) -> None:
    assert first(assemble, RDI, "mov %gs:8(%rdi), %ecx", "ret") is None


def test_what_looks_like_an_access_and_is_none(assemble: Assemble) -> None:
    assert first(assemble, RDI, "lea 8(%rdi), %rax", "nopl 8(%rdi)", "ret") is None
    assert first(assemble, RDI, "nopw 8(%rdi)", "mov %rax, 0x28(%rdi)", "ret") == (5, 0x28)


def test_only_the_size_given_is_looked_at(assemble: Assemble) -> None:
    code, _ = assemble("nop", "nop", "mov 8(%rdi), %rax", "ret")
    assert first_access(code, BASE, 2, Source(RDI)) is None
    assert first_access(code, BASE, 6, Source(RDI)) is not None
    assert first_access(code, 0x1234, 100, Source(RDI)) is None


# -- the object is not an argument -------------------------------------------------------------------------------------


def test_a_thread_local_pointer(assemble: Assemble) -> None:
    current = Source(tls=-0x840)
    lines = ["mov %rdi, %rbx", "mov %fs:-0x840, %r12", "mov 0x80(%rdi), %rax", "mov %rax, 0x50(%r12)", "ret"]
    assert first(assemble, current, *lines) == (19, 0x50)
    assert first(assemble, Source(tls=-0x838), *lines) is None  # another variable is no thread
    assert first(assemble, current, "mov %fs:-0x840, %r12d", "mov %rax, 0x50(%r12)", "ret") is None  # half of it
    assert first(assemble, current, "mov -0x840, %r12", "mov %rax, 0x50(%r12)", "ret") is None
    assert first(assemble, current, "mov %fs:-0x840(%rax), %r12", "mov %rax, 0x50(%r12)", "ret") is None


def test_what_an_argument_points_at(assemble: Assemble) -> None:
    at_0, at_8 = Source(RDI, pointee=0), Source(RDI, pointee=8)
    lines = ["mov %rdi, %rbx", "mov 0x10(%rdi), %eax", "mov (%rbx), %rsi", "mov 0x5170(%rsi), %rdx", "ret"]
    assert first(assemble, at_0, *lines) == (9, 0x5170)
    assert first(assemble, at_8, *lines) is None
    assert first(assemble, at_8, "lea 16(%rdi), %rbx", "mov -8(%rbx), %rsi", "mov 4(%rsi), %edx", "ret") == (8, 4)
    assert first(assemble, at_0, "mov %rsi, %rdi", "mov (%rdi), %rsi", "mov 4(%rsi), %edx", "ret") is None
    assert first(assemble, at_0, "mov 8(%rdi), %rdx", "ret") is None  # through the argument itself


def test_only_what_comes_after(assemble: Assemble) -> None:
    # As OSv's switch_to(): the new thread is read before the old one is written.
    lines = ["mov %rdi, %rbx", "mov 0x80(%rdi), %rax", "mov %rax, 0x50(%r12)", "movq 0x50(%rbx), %xmm0",
             "mov 0x78(%rbx), %rax", "ret"]  # fmt: skip
    assert first(assemble, RDI, *lines) == (3, 0x80)
    assert first(assemble, RDI, *lines, after=3) == (20, 0x78)
    assert first(assemble, RDI, *lines, after=20) is None


# -- paths -------------------------------------------------------------------------------------------------------------


def test_a_jump_forwards_within_the_function_is_followed(assemble: Assemble) -> None:
    # As FreeBSD's cpu_switch where it has saved the floating point registers.
    lines = ["jne 1f", "fxsave (%r9)", "jmp 2f", "1: mov 0x11(%rsi), %rax", "2: mov %rsi, %r12", "mov 8(%r12), %rcx"]
    found = first(assemble, RSI, *lines, "ret")
    assert found is not None
    assert found[1] == 8
    assert first(assemble, RSI, "1: nop", "jmp 1b", "mov 8(%rsi), %rax", "ret") is None  # and one backwards is not
