"""Kernels that are not Linux: what the rules find in small ones made for it, and that nothing is hooked on a guess."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.events import HOWS
from probes.exec import configure, places
from probes.exec.configure import Hooks, UserCode
from probes.exec.disassembly import Code
from probes.exec.finder import Kernel
from probes.symbols import SymbolTable
from profiler.errors import ArtifactCorrupt
from tests import machine_code

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")

NEGATIVE = places.RESULTS.index("negative")
DEVICE, IPI = HOWS.index("device"), HOWS.index("ipi")
SWITCH_TO = "_ZN5sched6thread9switch_toEv"
WAKE = "_ZN5sched6thread9wake_implEPNS0_14detached_stateEj"
NEW = "_ZN5sched6threadC2ESt8functionIFvvEENS0_4attrEbb"
LOCK = "_ZN8lockfree5mutex4lockEv"

# As much of OSv as its rules ask for, written for this test: what the rules look at, in another order and with other
# numbers.  A lower-half kernel with a thread-local pointer to the current thread, one switch for all system calls, a
# vDSO in its data, and libc functions of its own.
SWITCH = """cmp $39, %rdi; ja 9f; jmp *calls(,%rdi,8)
1: xor %eax, %eax; ret
2: call getpid; ret
3: nop; ret
9: ret"""
OSV = {
    "syscall_entry": "push %rcx; call syscall; pop %rcx; jmp *%rcx",
    "syscall": SWITCH,
    "ex_pf": "push %rdi; iretq",
    "ex_bp": "push $-1; iretq",
    "interrupt_entry": "push $0x20; jmp ex_pf; .balign 8, 0xcc; push $0x21; jmp ex_pf; .balign 8, 0xcc",
    "_ZN5sched10timer_list5firedEv": "ret",
    "_ZN5sched6thread12prepare_waitEv": "ret",
    LOCK: "lock incl (%rdi); je 2f; 1: call _ZN5sched6thread12prepare_waitEv; jne 1b; 2: ret",
    SWITCH_TO:
        "mov %rdi, %rbx; mov %fs:current@tpoff, %r12; mov 0x80(%rdi), %rdi; call getpid; mov %rax, 0x48(%r12)\n"
        "movq 0x50(%rbx), %xmm0; mov 0x70(%rbx), %rax; ret",
    WAKE: "xor %eax, %eax; mov (%rdi), %rsi; mov 0x5100(%rsi), %eax; ret",
    NEW: "push %rbx; mov %rdi, %rbx; movl $0, 0x38(%rbx); ret",
    "read": "mov (%rsi), %al; ret",
    "getpid": "mov $1, %eax; ret",
}  # fmt: skip
CALLS = ".section .rodata\n.balign 8\ncalls: .quad 1b, 2b" + ", 9b" * 37 + ", 3b\n"
CURRENT = """
.section .tbss,"awT",@nobits
.balign 64
.skip 64
.globl _ZN5sched9s_currentE
.type _ZN5sched9s_currentE, @object
.size _ZN5sched9s_currentE, 8
_ZN5sched9s_currentE:
current: .skip 8
.skip 24
"""
BASE = 0x40200000


def kernel(folder: Path, bodies: Mapping[str, str] = OSV, data: str = CURRENT) -> Path:
    """The jump table stands right behind the switch, where the assembler knows its numeric labels."""
    table = f"{SWITCH}\n{CALLS}.text"
    return machine_code.kernel(
        folder, {name: body.replace(SWITCH, table) for name, body in bodies.items()}, at=BASE, data=data
    )


def find(elf: Path, rules: Mapping[str, Any]) -> tuple[dict[str, list[tuple[int, str, int]]], dict[str, str]]:
    """Places by kind (address, name, displacement), and reasons by what is missing."""
    known = Kernel(SymbolTable.load(elf), elf, Code(elf))
    empty: dict[str, Any] = {
        "syscall": [],
        "fault": {},
        "trap": {},
        "irq": {"timer": []},
        "lock": {},
        "packet": {},
        "access": {},
    }
    finder = places.find(empty | dict(rules), known, {"getpid": "who-am-i"})
    kinds: dict[str, list[tuple[int, str, int]]] = {}
    for address, place in sorted(finder.places.items()):
        kinds.setdefault(place.kind, []).append((address, place.name, place.disp))
    return kinds, {entry["what"]: entry["reason"] for entry in finder.missing}


def test_osv_as_its_rules_describe_it(tmp_path: Path) -> None:
    elf = kernel(tmp_path)
    at = machine_code.symbols(elf)
    kinds, missing = find(elf, places.load_rules("osv"))
    code = Code(elf)
    assert kinds["syscall"] == [(at["syscall_entry"], "syscall", NEGATIVE)]
    assert kinds["syscall-exit"] == [(at["syscall_entry"] + 7, "", 0)]
    assert [(name, code.read(address, 1)) for address, name, _ in kinds["handler"]] == [
        ("read", b"\x31"), ("write", b"\xe8"), ("who-am-i", b"\x90")]  # fmt: skip
    assert kinds["fault"] == [(at["ex_pf"], "page-fault", 0)]
    assert kinds["device"] == [(at["interrupt_entry"], "device", DEVICE), (at["interrupt_entry"] + 8, "device", DEVICE)]
    assert kinds["timer"] == [(at["_ZN5sched10timer_list5firedEv"], "timer", 0)]
    switch = at[SWITCH_TO]
    assert kinds["switch-out"] == [(switch + 24, "", 0x48)]
    assert kinds["switch-in"] == [(switch + 34, "", 0x70)]
    assert kinds["wake"] == [(at[WAKE] + 5, "", 0x5100)]
    assert kinds["new"] == [(at[NEW] + 4, "", 0x38)]
    assert missing.keys() & {"syscall-exit syscall_entry", "handler", "switch-out", "switch-in", "wake", "new"} == set()


def test_a_wait_for_a_lock_and_where_the_lock_is_asked_for(tmp_path: Path) -> None:
    elf = kernel(tmp_path)
    lock = machine_code.symbols(elf)[LOCK]
    kinds, missing = find(elf, places.load_rules("osv"))
    assert kinds["lock-entry"] == [(lock, LOCK, -1)]
    assert kinds["lock-wait"] == [(lock + 5, LOCK, 0)]
    assert kinds["lock-end"] == [(lock + 12, LOCK, 0)]
    assert missing["lock _ZN6rwlock5rlockEv"] == "no such symbol in this kernel"
    never = OSV | {LOCK: "1: pause; lock incl (%rdi); jne 1b; ret"}
    kinds, missing = find(kernel(tmp_path, never), places.load_rules("osv"))
    assert not {"lock", "lock-entry", "lock-wait", "lock-end"} & kinds.keys()
    assert missing[f"lock {LOCK}"] == "it does not wait"


@pytest.mark.parametrize(
    ("function", "other", "lost"),
    [
        # Another build's: what no longer fits is left out, and half a switch is none.
        (SWITCH_TO, "mov %fs:current@tpoff + 8, %r12; mov %rax, 8(%r12); mov 8(%rdi), %rax; ret",
         {"switch-out", "switch-in"}),
        (SWITCH_TO, "mov 0x70(%rdi), %rax; mov %fs:current@tpoff, %r12; mov %rax, 0x48(%r12); ret",
         {"switch-out", "switch-in"}),
        (WAKE, "mov 8(%rdi), %rsi; mov 0x5100(%rsi), %eax; ret", {"wake"}),
        (NEW, "jmp getpid", {"new"}),
        ("syscall_entry", "call syscall; sysretq", {"syscall-exit"}),
        ("syscall_entry", "je 1f; jmp *%rcx; 1: jmp *%rax", {"syscall-exit"}),
        ("syscall", "call getpid; ret", {"handler"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_hooked(tmp_path: Path, function: str, other: str, lost: set[str]) -> None:
    kinds, missing = find(kernel(tmp_path, OSV | {function: other}), places.load_rules("osv"))
    assert not lost & kinds.keys()
    assert lost <= {what.split()[0] for what in missing}
    whole = {"switch-out", "switch-in", "wake", "new", "syscall-exit", "handler", "syscall"}
    assert whole - lost <= kinds.keys()


def test_without_the_variable_there_is_no_switch(tmp_path: Path) -> None:
    kinds, missing = find(kernel(tmp_path, data=CURRENT.replace("s_current", "s_other")), places.load_rules("osv"))
    assert not {"switch-out", "switch-in"} & kinds.keys()
    assert {"switch-out", "switch-in"} <= missing.keys()


def test_a_place_of_two_system_calls_is_neithers(tmp_path: Path) -> None:
    both = {"syscall": SWITCH.replace("calls", "shared") + "\n.section .rodata\n.balign 8\nshared: .quad 1b, 1b, 2b"
            + ", 9b" * 36 + ", 3b\n.text"}  # fmt: skip
    kinds, missing = find(kernel(tmp_path, OSV | both), places.load_rules("osv"))
    assert [name for _, name, _ in kinds["handler"]] == ["open", "who-am-i"]
    assert {"handler of system call 0", "handler of system call 1"} <= missing.keys()


def test_numbers_of_system_calls_are_those_of_the_abi() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no Linux headers on this machine")
    numbers = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    assert len(numbers) > 300
    ours = places._syscall_names()
    assert {ours.get(int(number), name): int(number) for name, number in numbers} == {
        name: int(number) for name, number in numbers
    }
    assert len(set(ours.values())) == len(ours)


def test_handlers_may_have_to_be_in_a_table(tmp_path: Path) -> None:
    bodies = dict.fromkeys(("sys_read", "sys_getpid", "sys_of_no_call", "other"), "ret")
    data = ".data\n.type sysent, @object\nsysent: .quad 7, sys_read, 2, sys_getpid\n.size sysent, . - sysent\n"
    elf = machine_code.kernel(tmp_path, bodies, data=data)
    at = machine_code.symbols(elf)
    real = [(at["sys_read"], "read", NEGATIVE), (at["sys_getpid"], "who-am-i", NEGATIVE)]
    rules = {"handlers": r"sys_(\w+)"}
    assert find(elf, rules)[0]["handler"] == [*real, (at["sys_of_no_call"], "of_no_call", NEGATIVE)]
    assert find(elf, rules | {"handlers_in": "sysent"})[0]["handler"] == real
    kinds, missing = find(elf, rules | {"handlers_in": "another"})
    assert kinds == {}
    assert missing == {"handler another": "no such symbol in this kernel", "handler": r"no symbol matches sys_(\w+)"}


def test_interrupts_by_entry_point(tmp_path: Path) -> None:
    # As FreeBSD's: one entry point per interrupt, one more where page tables are split.
    names = ("Xtimerint", "Xtimerint_pti", "Xipi_ast", "Xisr1", "Xisr2_pti", "Xrsvd")
    bodies = dict.fromkeys(names, "iretq")
    elf = machine_code.kernel(tmp_path, bodies)
    at = machine_code.symbols(elf)
    irq = {"timer": [], "functions": r"X(timerint|ipi_\w+)(?:_pti)?", "ipi": r"ipi_\w+"}
    irq |= {"devices": r"X(isr\d)(?:_pti)?"}
    kinds, missing = find(elf, {"irq": irq})
    assert kinds["irq"] == [
        (at["Xtimerint"], "timerint", 0), (at["Xtimerint_pti"], "timerint", 0), (at["Xipi_ast"], "ipi_ast", IPI),
    ]  # fmt: skip
    assert kinds["device"] == [(at["Xisr1"], "isr1", DEVICE), (at["Xisr2_pti"], "isr2", DEVICE)]
    assert missing == {}


def test_why_threads_stop_is_said_on_the_way_to_the_scheduler_and_inside(tmp_path: Path) -> None:
    bodies = {
        "mi_switch": "nop; call enqueue; ret", "sched_throw": "call enqueue_first; ret", "enqueue": "ret",
        "enqueue_first": "ret", "sleepq_switch": "nop; jmp mi_switch", "thread_exit": "nop; call sched_throw; ret",
        "do_yield": "nop; ret", "dequeue.isra.0": "ret", "dequeue.isra.0.cold": "ret", "preempt": "call mi_switch; ret",
    }  # fmt: skip
    elf = machine_code.kernel(tmp_path, bodies)
    at = machine_code.symbols(elf)
    why = {
        "entry": {"mi_switch": "preempted", "sched_throw": "preempted", "not_here": "preempted"},
        "before": {"do_yield": "yielded", "not_here": "yielded"}, "inside": {"dequeue": "blocked"},
        "calls_entry": {"sleepq_switch": "blocked", "thread_exit": "exited"}, "entry_calls": {"enqueue": "yielded"},
    }  # fmt: skip
    kinds, missing = find(elf, {"switch": why})
    blocked, preempted, yielded, exited = (HOWS.index(how) for how in ("blocked", "preempted", "yielded", "exited"))
    assert kinds["stop-entry"] == [(at["mi_switch"], "", preempted), (at["sched_throw"], "", preempted)]
    assert sorted(kinds["stop-before"]) == sorted([
        (at["do_yield"], "", yielded), (at["sleepq_switch"] + 1, "", blocked), (at["thread_exit"] + 1, "", exited),
    ])  # fmt: skip
    assert sorted(kinds["stop-inside"]) == sorted([
        (at["dequeue.isra.0"], "", blocked), (at["mi_switch"] + 1, "", yielded),
    ])  # fmt: skip
    assert missing == {}
    lost = find(elf, {"switch": why | {"calls_entry": {}, "inside": {"dequeue_task": "blocked", "gone": "exited"}}})[1]
    assert lost == {f"stop {how}": "nothing that says so is in this kernel" for how in ("blocked", "exited")}
    kinds, missing = find(elf, {"switch": why | {"entry": {"__schedule": "preempted"}}})
    assert kinds == {}
    assert missing == {"stop-entry": "none of __schedule is in this kernel"}


# -- the whole configuration -------------------------------------------------------------------------------------------

LIBC = (
    "int read(int fd) { return fd; }\nint hidden(void) { return 3; }\nint main(void) { return read(1) + hidden(); }\n"
)


def configured(
    folder: Path, elf: Path, user: list[UserCode], *, libc_in_kernel: bool = False
) -> tuple[Hooks, list[str]]:
    hooks = configure.write(
        folder / "probe.conf", kind="osv", kernel_elf=elf, kernel_symbols=elf, user=user, libc_in_kernel=libc_in_kernel,
        operations={"read": "read", "main": "main"}, syscalls={}, results={},
        kernel_layers=lambda names: ["fs"] * len(names),
    )  # fmt: skip
    return hooks, (folder / "probe.conf").read_text().splitlines()


def around(hooks: Hooks, lines: list[str], address: int) -> tuple[str, str, str] | None:
    """What the configuration says is at an address."""
    functions = [line.split() for line in lines if line.startswith("f")]
    for (_, start, size, letter), function in zip(functions, hooks.functions, strict=True):
        if int(start, 16) <= address < int(start, 16) + int(size, 16):
            assert letter.lower() == function[1][0]
            return function
    return None


def ops(lines: list[str]) -> list[int]:
    return [int(line.split()[2], 16) for line in lines if line.startswith("h op ")]


def user_elf(folder: Path, *flags: str) -> Path:
    (folder / "user.c").write_text(LIBC)
    return machine_code.link(folder, "user.c", 0x1000, entry="main", flags=flags)


def test_the_kernels_addresses_are_its_files(tmp_path: Path) -> None:
    elf = kernel(tmp_path)
    _, lines = configured(tmp_path, elf, [])
    first, last = (int(word, 16) for word in lines[0].split()[4:])
    assert first <= BASE < machine_code.symbols(elf)["getpid"] < last < BASE + 0x100000


def test_files_are_where_they_were_loaded(tmp_path: Path) -> None:
    user = user_elf(tmp_path)
    at = machine_code.symbols(user)
    low, high = UserCode(user, 0x7000, frozenset({"main"})), UserCode(user, 0x100000000000, frozenset())
    hooks, lines = configured(tmp_path, kernel(tmp_path), [high, low])
    assert around(hooks, lines, 0x7000 + at["main"]) == ("main", "app", "user")
    assert around(hooks, lines, 0x7000 + at["read"]) == ("read", "libc", "libc")
    assert around(hooks, lines, 0x100000000000 + at["main"]) == ("main", "libc", "libc")
    assert around(hooks, lines, machine_code.symbols(tmp_path / "kernel")["getpid"]) == ("getpid", "kernel", "fs")
    starts = [int(line.split()[1], 16) for line in lines if line.startswith("f")]
    assert starts == sorted(starts)
    assert ops(lines) == [0x7000 + at["read"], *sorted((0x100000000000 + at["read"], 0x100000000000 + at["main"]))]


def test_files_at_the_same_addresses_are_refused(tmp_path: Path) -> None:
    user = user_elf(tmp_path)
    with pytest.raises(ArtifactCorrupt, match="user and user lie at the same addresses"):
        configured(tmp_path, kernel(tmp_path), [UserCode(user, 0, None), UserCode(user, 8, None)])


@pytest.mark.parametrize(("own", "said"), [(frozenset(), ("libc", "libc")), (None, ("app", "user"))])
def test_code_in_no_function_is_of_its_file(tmp_path: Path, own: frozenset[str] | None, said: tuple[str, str]) -> None:
    user = user_elf(tmp_path, "-Wl,--strip-all")
    hooks, lines = configured(tmp_path, kernel(tmp_path), [UserCode(user, 0x30000, own)])
    assert around(hooks, lines, 0x31000) == ("[unknown]", *said)
    assert around(hooks, lines, 0x90000) is None
    assert hooks.outside == ("[unknown]", "user", "unattributed")


def test_an_app_may_call_the_kernel(tmp_path: Path) -> None:
    elf = kernel(tmp_path)
    at = machine_code.symbols(elf)["read"]
    assert at not in ops(configured(tmp_path, elf, [])[1])
    assert at in ops(configured(tmp_path, elf, [], libc_in_kernel=True)[1])


def test_an_operation_takes_no_other_hooks_place(tmp_path: Path) -> None:
    # The kernel's own syscall() or a handler may have the name of an operation.
    bodies = OSV | {"read": "ret"}
    data = CURRENT + ".globl ex_gp\n.type ex_gp, @function\n.set ex_gp, read\n.size ex_gp, 1\n"
    _, lines = configured(tmp_path, kernel(tmp_path, bodies, data), [], libc_in_kernel=True)
    at = machine_code.symbols(tmp_path / "kernel")["read"]
    assert [line.split()[1] for line in lines if line.startswith("h") and int(line.split()[2], 16) == at] == ["fault"]


def test_a_vdso_in_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "vdso.c").write_text("int clock_reading(void) { return 5; }\n")
    shared = ("-shared", "-fPIC", "-mcmodel=small")
    vdso = machine_code.link(tmp_path, "vdso.c", 0x1000, entry="clock_reading", flags=shared)
    data = f'{CURRENT}\n.data\n.balign 4096\nlibvdso_start: .incbin "{vdso}"\n'
    elf = kernel(tmp_path, data=data)
    start = machine_code.symbols(elf)["libvdso_start"]
    inside = start + machine_code.symbols(vdso)["clock_reading"]
    hooks, lines = configured(tmp_path, elf, [])
    assert around(hooks, lines, inside) == ("clock_reading", "vdso", "time")
    listed = {entry["what"] for entry in configured(tmp_path, kernel(tmp_path), [])[0].not_hooked}
    assert "vdso libvdso_start" in listed
