"""The plugin's C, as far as it can run without QEMU: linked into a small driver and asked from outside."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import capstone
import numpy as np
import pytest
from capstone import x86_const

from probes.events import COSTLY_INSTRUCTIONS, EVENT_KINDS, HOWS
from probes.exec import decode, frames, log
from tests import plugin_driver, raw_log
from tests.plugin_driver import ask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

OTHER, REP, IRET, SYSRET, HLT, MARKER = range(6)
ROLE_MAIN, ROLE_APP, ROLE_KERNEL = range(3)
USER, INTERRUPT, BACKGROUND, PENDING = 1, 2, 3, 4
DEFERRED = 0x8000


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_driver.build(root, tmp_path_factory.mktemp("driver"))


def kinds(driver: Path, encodings: Sequence[bytes]) -> list[tuple[int, ...]]:
    said = ask(driver, "insn", text="".join(f"{code.hex()}\n" for code in encodings))
    return [tuple(map(int, line.split())) for line in said]


# -- instructions ------------------------------------------------------------------------------------------------------

SIZES = {"b": 1, "w": 2, "d": 4, "q": 8}
STRINGS = ("movs", "stos", "cmps", "scas", "lods", "ins", "outs")
OPCODES = (0x6C, 0x6D, 0x6E, 0x6F, 0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF)


def encodings() -> Iterator[bytes]:
    """String instructions with prefixes in every order, with and without REX."""
    groups = [(), (0xF3,), (0xF2,), (0x66,), (0xF3, 0x66), (0xF2, 0x67), (0xF3, 0x67, 0x66), (0x2E, 0xF3), (0xF3, 0x65)]
    for group in groups:
        for order in itertools.permutations(group):
            for rex in ((), (0x40,), (0x48,), (0x4F,)):
                for opcode in OPCODES:
                    if rex and rex[0] & 8 and opcode < 0x70:
                        continue  # see test_port_strings_have_no_eight_bytes
                    yield bytes((*order, *rex, opcode))


def test_string_instructions_are_what_a_disassembler_says(driver: Path) -> None:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    codes = list(encodings())
    seen = set()
    for code, (kind, size, _) in zip(codes, kinds(driver, codes), strict=True):
        insn = next(engine.disasm(code, 0x1000))
        assert insn.size == len(code)
        name = insn.insn_name()
        assert name[:-1] in STRINGS, f"{code.hex()} is {insn.mnemonic}: no string instruction"
        # Processors and QEMU repeat F2 before every string instruction; capstone names it only where it is documented.
        repeated = bool({0xF2, 0xF3} & set(code[:-1]))
        assert repeated or insn.prefix[0] not in (x86_const.X86_PREFIX_REP, x86_const.X86_PREFIX_REPNE)
        assert (kind, size) == ((REP, SIZES[name[-1]]) if repeated else (OTHER, 0)), f"{code.hex()} {insn.mnemonic}"
        seen.add((repeated, name))
    assert {name for repeated, name in seen if repeated} >= {s + b for s in STRINGS for b in "bwd"}
    assert {name for repeated, name in seen if repeated} >= {s + "q" for s in STRINGS[:5]}


def test_port_strings_have_no_eight_bytes(driver: Path) -> None:
    # Intel SDM vol. 2, INS and OUTS: REX.W is ignored, an operand is 4 bytes at most.
    assert kinds(driver, [bytes.fromhex("f3486d"), bytes.fromhex("f3486f")]) == [(REP, 4, 0), (REP, 4, 0)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("48cf", IRET),  # iretq
        ("cf", IRET),  # iretd
        ("480f07", SYSRET),  # sysretq
        ("0f07", SYSRET),  # sysretl
        ("f4", HLT),
        ("0f01c9", HLT),  # mwait: FreeBSD's idle thread
        ("0f01fb", HLT),  # mwaitx
        ("0f01c8", OTHER),  # monitor
        ("0f01fa", OTHER),  # monitorx
        ("0f01f8", OTHER),  # swapgs
        ("f3c3", OTHER),  # repz ret
        ("f390", OTHER),  # pause
        ("f30f1efa", OTHER),  # endbr64
        ("f30f10c1", OTHER),  # movss
        ("f20f10c1", OTHER),  # movsd of SSE, not of strings
        ("f3480fb8c1", OTHER),  # popcnt
        ("f30fbcc1", OTHER),  # tzcnt
        ("f3ab", REP),  # rep stosd
        ("ab", OTHER),  # stosd, once
        ("0f05", OTHER),  # syscall: the hook at its target sees it
        ("0ff4c1", OTHER),  # pmuludq: f4 is no HLT here
        ("b0f4", OTHER),  # mov $0xf4, %al
        ("48b8cfcfcfcfcfcfcfcf", OTHER),  # movabs with an immediate of iret's bytes
        ("c5fa10c1", OTHER),  # vmovss
        ("f2ff25f3a40000", OTHER),  # bnd jmp through a pointer whose displacement holds f3 a4
        ("e9f4000000", OTHER),
    ],
)
def test_instructions_that_end_or_only_look_like_it(driver: Path, code: str, kind: int) -> None:
    assert kinds(driver, [bytes.fromhex(code)])[0][0] == kind


def test_markers(driver: Path) -> None:
    markers = [bytes((0x0F, 0x1F, 0x80, nn, 0x00, 0xED, 0x5E)) for nn in range(256)]
    assert kinds(driver, markers) == [(MARKER, 0, nn) for nn in range(256)]
    near = [
        "0f1f8001000000",  # a compiler's nopl 1(%rax)
        "0f1f800100ed5f",
        "0f1f810100ed5e",  # through %rcx
        "0f1f840100ed5e90",
        "0f1f800100ed",  # cut short
        "660f1f800100ed5e",
    ]
    assert [kind for kind, *_ in kinds(driver, [bytes.fromhex(code) for code in near])] == [OTHER] * len(near)


def test_bytes_cut_short_are_no_instruction(driver: Path) -> None:
    assert kinds(driver, [b"", b"\xf3", b"\xf3\x66", b"\xf3\x48", b"\x0f"]) == [(OTHER, 0, 0)] * 5


def one_of_each() -> Iterator[bytes]:
    """All one-byte and 0f opcodes with telling ModRM bytes, prefixes and REX; most of them are instructions."""
    forms = [mod << 6 | reg << 3 | rm for mod in range(4) for reg in range(8) for rm in (0, 4, 5)]
    for prefix in (b"", b"\x48", b"\x66", b"\x45", b"\xf3", b"\x66\x4c"):
        for opcode in range(256):
            for form in forms:
                yield prefix + bytes((opcode, form)) + bytes(8)
                yield prefix + bytes((0x0F, opcode, form)) + bytes(8)


def test_a_quiet_instruction_cannot_fault(driver: Path) -> None:
    # Quiet ones are counted together with what follows them: one that did fault would be lost.
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    codes = list(one_of_each())
    said = ask(driver, "quiet", text="".join(f"{code.hex()}\n" for code in codes))
    quiet = [code for code, word in zip(codes, said, strict=True) if word == "1"]
    touch_nothing = (x86_const.X86_INS_LEA, x86_const.X86_INS_NOP)
    faulting = (x86_const.X86_INS_DIV, x86_const.X86_INS_IDIV, x86_const.X86_INS_XLATB)
    groups = (capstone.CS_GRP_CALL, capstone.CS_GRP_RET, capstone.CS_GRP_INT, capstone.CS_GRP_IRET,
              capstone.CS_GRP_PRIVILEGE)  # fmt: skip
    seen = set()
    for code in quiet:
        insn = next(engine.disasm(code, 0x1000), None)
        if insn is None:
            continue  # no instruction at all: not met in code that runs
        touches = any(operand.type == x86_const.X86_OP_MEM for operand in insn.operands)
        assert not touches or insn.id in touch_nothing, f"{code.hex()} {insn.mnemonic} {insn.op_str}"
        assert insn.id not in faulting, f"{code.hex()} {insn.mnemonic}"
        assert not any(insn.group(group) for group in groups), f"{code.hex()} {insn.mnemonic}"
        assert not insn.insn_name().startswith(("push", "pop", "enter", "leave")), code.hex()
        seen.add(insn.insn_name())
    assert seen >= {
        "mov",
        "add",
        "xor",
        "cmp",
        "test",
        "lea",
        "je",
        "jmp",
        "nop",
        "movzx",
        "sete",
        "cmove",
        "shl",
        "imul",
    }


@pytest.mark.parametrize(
    "code",
    [
        "55",  # push
        "5d",  # pop
        "c3",  # ret
        "e800000000",  # call
        "488b07",  # mov (%rdi), %rax
        "48890424",
        "f7f1",  # div
        "f00fb10f",  # lock cmpxchg
        "0f05",
        "0f01f8",  # swapgs
        "0f22d8",  # mov to cr3
        "cc",
        "0f0b",  # ud2
        "ff27",  # jmp through memory
        "f3a4",
        "a4",
        "ac",
        "a100000000000000ff",  # mov from an absolute address
        "8ed8",  # mov to a segment register
        "d7",  # xlat
        "c8000000",  # enter
        "c9",
        "6c",
        "e400",  # in
        "fa",  # cli
        "0fa308",  # bt in memory
        "660fefc0",  # pxor: another unit, which may be switched off
        "c5f9efc0",
    ],
)
def test_what_may_fault_is_not_quiet(driver: Path, code: str) -> None:
    assert ask(driver, "quiet", text=f"{code}\n") == ["0"]


# -- configuration -----------------------------------------------------------------------------------------------------

KERNEL = 0xFFFFFFFF81000000
LINES = [
    "f 401000 10 a", "f 401010 8 L", "f 401020 1 l", f"f {KERNEL:x} 100 k", f"f {KERNEL + 0x100:x} 20 K",
    "h op 401020 7 0", f"h syscall {KERNEL:x} 5 0", f"h switch-out {KERNEL + 8:x} 0 -1360",
]  # fmt: skip


def config(folder: Path, lines: Sequence[str], head: str | None = None) -> Path:
    counts = [sum(line.startswith(letter) for line in lines) for letter in "fh"]
    path = folder / "probe.conf"
    upper_half = f"{1 << 63:x} {(1 << 64) - 1:x}"
    path.write_text("\n".join([head or f"weaklink-exec 2 {counts[0]} {counts[1]} {upper_half}", *lines, ""]))
    return path


def test_addresses_find_functions_and_hooks(driver: Path, tmp_path: Path) -> None:
    places = {
        0x400FFF: (-1, -1, -1),
        0x401000: (0, -1, 0),
        0x40100F: (0, -1, 0),  # the last byte
        0x401010: (1, -1, 1),  # the next function follows without a gap; a capital says: no entry
        0x401017: (1, -1, 1),
        0x401018: (-1, -1, -1),  # a gap belongs to nobody, not to the nearest function below
        0x40101F: (-1, -1, -1),
        0x401020: (2, 0, 0),  # of one byte
        0x401021: (-1, -1, -1),
        KERNEL - 1: (-1, -1, -1),
        KERNEL: (3, 1, 0),
        KERNEL + 8: (3, 2, 0),
        KERNEL + 0xFF: (3, -1, 0),
        KERNEL + 0x100: (4, -1, 1),
        KERNEL + 0x11F: (4, -1, 1),
        KERNEL + 0x120: (-1, -1, -1),
        0: (-1, -1, -1),
        2**64 - 1: (-1, -1, -1),
    }
    said = ask(driver, "config", config(tmp_path, LINES), *(f"{address:x}" for address in places))
    assert [tuple(map(int, line.split())) for line in said] == list(places.values())


def test_an_empty_configuration_finds_nothing(driver: Path, tmp_path: Path) -> None:
    assert ask(driver, "config", config(tmp_path, []), "0", "401000") == ["-1 -1 -1"] * 2


@pytest.mark.parametrize(
    ("lines", "head", "why"),
    [
        (["f 1000 10 k", "f 100f 10 k"], None, "overlap"),
        (["f 2000 10 k", "f 1000 10 k"], None, "not sorted"),
        (["f 1000 10 k", "f 1000 10 k"], None, "overlap"),
        (["h op 20 1 0", "h op 10 1 0"], None, "not sorted"),
        (["h op 10 1 0", "h syscall 10 1 0"], None, "two stand at one address"),
        (["h surprise 10 1 0"], None, "unknown kind"),
        (["h lock 10 1 -3"], None, "a lock's or a packet's number is none"),
        (["h packet 10 1 2147483648"], None, "a lock's or a packet's number is none"),
        (["h lock 10 1 0", "v 11 5 0"], None, "a place to look at is none"),  # another hook's
        (["h lock 10 1 0", "v 10 16 0"], None, "a place to look at is none"),
        (["h lock 10 1 0", "v 10 5"], None, "a place to look at is none"),
        (["v 10 5 0"], None, "a place to look at is none"),
        (["o 20 10"], None, "not understood"),
        (["u 32768"], None, "not understood"),
        (["u 7"] * 17, None, "not understood"),
        (["o 10 20"] * 17, None, "not understood"),
        (["h op 10 32768 0"], None, "not understood"),  # the bit that means deferred
        (["x 10"], None, "not understood"),
        (["n 0"], None, "not understood"),
        (["n 65536"], None, "not understood"),
        (["h op 10 1 7"], None, "a result is none"),
        (["h irq 10 1 18"], None, "an event is of no class"),
        (["h stop-entry 10 1 -1"], None, "an event is of no class"),
        (["f 1000 ten"], None, "not understood"),
        (["f 1000 10 k"], "weaklink-exec 2 2 0 0 0", "fewer lines"),
        (["f 1000 10 k", "f 2000 10 k"], "weaklink-exec 2 1 0 0 0", "not understood"),
        ([], "weaklink-exec 2 0 1 0 0", "fewer lines"),
        ([], "weaklink-exec 1 0 0", "not a configuration of this version"),
        ([], "weaklink-exec 2 4000001 0 0 0", "not a configuration of this version"),
        ([], "something else", "not a configuration of this version"),
    ],
)
def test_what_is_no_configuration_is_refused(
    driver: Path, tmp_path: Path, lines: list[str], head: str | None, why: str
) -> None:
    path = config(tmp_path, lines, head)
    done = subprocess.run([driver, "config", path, "10"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert why in done.stderr
    assert str(path) in done.stderr


def test_no_configuration(driver: Path, tmp_path: Path) -> None:
    done = subprocess.run([driver, "config", tmp_path / "none"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "cannot be opened" in done.stderr) == (1, True)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_task_address_used_again_is_another_thread(driver: Path) -> None:
    assert ask(driver, "threads") == [
        "1",
        f"1 {ROLE_KERNEL} 1",  # a stranger is the kernel's until it is seen in user mode
        "2 1 1",
        f"3 {ROLE_KERNEL}",
        "1 5004",
        "1",
    ]


def test_what_a_thread_is_doing(driver: Path) -> None:
    waker, syscall, operation, fault = 77, 88, 99, 55
    assert list(map(int, ask(driver, "operations")[0].split())) == [
        BACKGROUND, waker | DEFERRED, BACKGROUND, USER, PENDING, syscall, operation,
        operation,  # a fault of the kernel's own is part of the operation
        fault,  # a fault of user code is one by itself
        INTERRUPT,
    ]  # fmt: skip


# -- what is written ---------------------------------------------------------------------------------------------------


def test_the_ledger_that_is_written_is_the_one_that_is_read(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.bin"
    assert ask(driver, "ledger", path, tmp_path / "costly.bin") == ["1 1", "1", "1"]
    costly = np.fromfile(tmp_path / "costly.bin", dtype=decode._COSTLY)
    pause, lock = (COSTLY_INSTRUCTIONS.index(name) + 1 for name in ("pause", "lock"))
    keys = ["phase", "role", "operation", "function", "class", "count"]
    assert costly[keys].tolist() == [
        (1, ROLE_APP, 5, 0, pause, 1),
        (1, ROLE_APP, 5, 0, lock, 5),
    ]  # both cells' are one's
    cells = np.sort(np.fromfile(path, dtype=decode._CELL), order=["phase", "role", "function"])
    columns = ["phase", "role", "operation", "function", "raw", "calls", "rep_iterations", "rep_bytes", "idle_ns"]
    assert cells[columns].tolist() == [
        (1, ROLE_APP, 5, 0, 1100, 11, 22, 33, 40),
        (1, ROLE_APP, 5, 5, 50, 0, 0, 0, 7),
        (2, ROLE_MAIN, 5, -1, 0, 0, 0, 0, 9),
        (2, ROLE_MAIN, 5, 1, 2**63 - 1, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("count", [0, 1, 32767, 32768, 32769, 100_000])
def test_events_come_back_in_order_and_complete(driver: Path, tmp_path: Path, count: int) -> None:
    path = tmp_path / "events.bin"
    assert ask(driver, "events", path, count) == ["0"]
    events = raw_log.read(path)
    numbers = np.arange(count)
    assert np.array_equal(events["time"], numbers * 3)
    assert np.array_equal(events["thread"], numbers % 5)
    assert np.array_equal(events["kind"], numbers % len(EVENT_KINDS))
    assert np.array_equal(events["how"], numbers % len(HOWS))
    assert np.array_equal(events["stack"], np.where(numbers % 7, numbers, frames.NO_STACK))
    assert np.array_equal(events["name"], numbers % 4)
    assert np.array_equal(events["value"], -numbers)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("count", [1, 32768, 70_000])
def test_events_that_could_not_be_written_are_counted(driver: Path, count: int) -> None:
    assert ask(driver, "events", "/dev/full", count) == [str(count)]


def test_events_are_not_garbled_when_there_is_room_again(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.bin"
    written = 100_000 // log.RECORD.itemsize
    assert ask(driver, "full", path) == [str(3 * 32768 - written)]
    assert path.stat().st_size == 100_000  # and not a whole number of events: the decoder refuses it


def test_events_need_a_place(driver: Path, tmp_path: Path) -> None:
    assert subprocess.run([driver, "events", tmp_path / "none" / "here", "1"], timeout=60).returncode == 1


# -- what a thread is in the middle of ---------------------------------------------------------------------------------


def test_idle_is_what_the_clock_has_beyond_what_was_counted(driver: Path) -> None:
    assert ask(driver, "idle", 1100, 1300, 9999) == ["1000 1000", "1100 1100", "9699 9699"]


def test_idle_is_never_negative(driver: Path) -> None:
    # Mode block counts too much: the clock may be behind.  What is too much is taken from the next idle.
    assert ask(driver, "idle", 90, 150, 1000) == ["0 0", "0 0", "700 700"]


@pytest.mark.parametrize(
    ("where", "left"),
    [("user", "0 0 0"), ("interrupt", "0 0 0"), ("kernel", "1 1 0"), ("handler", "1 1 0"), ("behind", "1 1 1")],
)
def test_an_iret_that_stays_in_the_kernel_ends_no_system_call(driver: Path, where: str, left: str) -> None:
    # sync_core() serializes the processor with an IRET to itself; an exception of the kernel's own ends in one too.
    assert ask(driver, "iret", where) == [left]
