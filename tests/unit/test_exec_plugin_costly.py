"""Costly instructions: which they are, held against a disassembler, and how many of them are counted."""

from __future__ import annotations

import itertools
import random
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import capstone
import pytest
from capstone import x86_const
from elftools.elf.elffile import ELFFile

from probes.events import COSTLY_INSTRUCTIONS
from tests import plugin_driver
from tests.plugin_driver import ask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

NAMED = {
    "syscall": "syscall", "sysenter": "syscall", "sysret": "sysret", "sysretq": "sysret", "sysexit": "sysret",
    "sysexitq": "sysret", "iret": "iret", "iretd": "iret", "iretq": "iret", "int": "int", "int3": "int", "int1": "int",
    "swapgs": "swapgs", "invlpg": "invlpg", "invpcid": "invlpg", "invlpga": "invlpg", "wrmsr": "wrmsr",
    "rdmsr": "rdmsr", "hlt": "hlt", "mwait": "hlt", "mwaitx": "hlt", "pause": "pause", "in": "io", "out": "io",
    "insb": "io", "insd": "io", "insw": "io", "outsb": "io", "outsd": "io", "outsw": "io", "xsave": "xsave",
    "xsave64": "xsave", "xsavec": "xsave", "xsavec64": "xsave", "xsaveopt": "xsave", "xsaveopt64": "xsave",
    "xsaves": "xsave", "xsaves64": "xsave", "xrstor": "xsave", "xrstor64": "xsave", "xrstors": "xsave",
    "xrstors64": "xsave", "fxsave": "xsave", "fxsave64": "xsave", "fxrstor": "xsave", "fxrstor64": "xsave",
}  # fmt: skip
# Intel SDM vol. 2, LOCK: whatever else it stands before raises an exception, as does a register as destination.
LOCKABLE = {"add", "adc", "and", "btc", "btr", "bts", "cmpxchg", "cmpxchg8b", "cmpxchg16b", "dec", "inc", "neg", "not",
            "or", "sbb", "sub", "xor", "xadd", "xchg"}  # fmt: skip


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_driver.build(root, tmp_path_factory.mktemp("driver"))


def engine() -> capstone.Cs:
    one = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    one.detail = True
    return one


def classes(driver: Path, encodings: Sequence[bytes]) -> list[tuple[str, bool]]:
    """The class that the probe gives an instruction, and whether it takes it for a plain load or store."""
    found = []
    for line in ask(driver, "costly", text="".join(f"{code.hex()}\n" for code in encodings)):
        number, moves = map(int, line.split())
        found.append((("", *COSTLY_INSTRUCTIONS)[number], moves == 1))
    return found


def memory(insn: capstone.CsInsn) -> bool:
    return any(operand.type == x86_const.X86_OP_MEM for operand in insn.operands)


def valid(insn: capstone.CsInsn) -> bool:
    """Whether the disassembler can be trusted: it takes any prefix before any instruction, but REX into a PAUSE."""
    if insn.bytes[-1] == 0x90 and insn.insn_name() == "xchg" and 0xF3 in prefixes(insn):
        return False
    if NAMED.get(insn.insn_name()) == "xsave" and {0x66, 0xF2, 0xF3} & set(prefixes(insn)):
        return False  # undefined, or something else
    locked = insn.prefix[0] == x86_const.X86_PREFIX_LOCK or 0xF0 in prefixes(insn)
    if locked and insn.insn_name() == "xchg":
        return memory(insn)
    return not locked or (insn.insn_name() in LOCKABLE and insn.operands[0].type == x86_const.X86_OP_MEM)


def prefixes(insn: capstone.CsInsn) -> list[int]:
    """All in front of the opcode, those too that the disassembler does not tell of."""
    plain = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, *range(0x40, 0x50)}
    return list(itertools.takewhile(plain.__contains__, insn.bytes))


def expected(insn: capstone.CsInsn) -> str:
    """The class by what a disassembler says."""
    name = insn.insn_name()
    if name == "mov" and insn.operands[0].type == x86_const.X86_OP_REG:
        return "cr3" if insn.operands[0].reg == x86_const.X86_REG_CR3 else ""
    if memory(insn) and (name == "xchg" or 0xF0 in prefixes(insn)):
        return "lock"
    return NAMED.get(name, "")


def hold(driver: Path, codes: Iterable[bytes]) -> set[str]:
    """Hold the probe against the disassembler; which classes there were."""
    decoder = engine()
    all_codes = ((code, next(decoder.disasm(code, 0x1000), None)) for code in codes)
    known = [(code[: insn.size], insn) for code, insn in all_codes if insn is not None and valid(insn)]
    seen = set()
    for (code, insn), (found, moves) in zip(known, classes(driver, [code for code, _ in known]), strict=True):
        assert found == expected(insn), f"{code.hex()} {insn.mnemonic} {insn.op_str}"
        if moves:
            assert insn.insn_name() in ("mov", "movabs", "movzx", "movsx", "movsxd"), f"{code.hex()} {insn.mnemonic}"
            assert memory(insn), f"{code.hex()} {insn.mnemonic} {insn.op_str}"
        seen.add(found)
    return seen


def one_of_each() -> Iterator[bytes]:
    prefixes = [b"", b"\xf0", b"\xf3", b"\xf2", b"\x66", b"\x48", b"\x41", b"\x44", b"\xf0\x48", b"\x66\x41",
                b"\xf3\x48", b"\x2e\xf0", b"\xf3\x41"]  # fmt: skip
    forms = [mod << 6 | reg << 3 | rm for mod in (0, 2, 3) for reg in range(8) for rm in (0, 6)]
    for prefix, opcode, form in itertools.product(prefixes, range(256), forms):
        yield prefix + bytes((opcode, form)) + bytes(8)
        yield prefix + bytes((0x0F, opcode, form)) + bytes(8)
    for prefix, form in itertools.product(prefixes, range(256)):
        yield prefix + bytes((0x0F, 0x01, form)) + bytes(8)
        yield prefix + bytes((0x0F, 0x38, 0x82, form)) + bytes(8)


def test_classes_are_what_a_disassembler_says(driver: Path) -> None:
    assert hold(driver, one_of_each()) == {*COSTLY_INSTRUCTIONS, ""} - {"mmio"}


def test_any_bytes(driver: Path) -> None:
    chance = random.Random(1)
    starts = [b"", b"\xf0", b"\x0f", b"\xf0\x0f", b"\x0f\xae", b"\x0f\xc7", b"\x0f\x01"]
    codes = [chance.choice(starts) + chance.randbytes(13) for _ in range(60_000)]
    assert len(hold(driver, codes)) > len(COSTLY_INSTRUCTIONS) // 2


def test_real_code(driver: Path) -> None:
    with Path(sys.executable).resolve().open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        code, decoder = text.data()[: 1 << 20], engine()
    codes = [bytes(insn.bytes) for insn in decoder.disasm(code, 0x1000)]
    assert len(codes) > 10_000
    assert "lock" in hold(driver, codes)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("f390", "pause"), ("90", ""), ("f34190", ""), ("f2f390", "pause"), ("f3f290", ""),
        ("0f22d8", "cr3"), ("0f20d8", ""), ("410f22d8", "cr3"), ("440f22d8", ""),
        ("0f01fe", "invlpg"), ("f30f01fe", ""), ("f20f01fe", ""), ("0f0138", "invlpg"), ("660f388201", "invlpg"),
        ("0f01c6", "wrmsr"), ("0fae21", "xsave"), ("f30fae21", ""), ("0faee8", ""), ("660fae31", ""), ("0fae39", ""),
        ("f00fc70f", "lock"), ("0fc70f", ""), ("870f", "lock"), ("87cf", ""), ("f0870f", "lock"), ("f00fb10f", "lock"),
        ("f30f05", "syscall"), ("cd80", "int"), ("cc", "int"), ("f36c", "io"), ("ec", "io"), ("e460", "io"),
        ("c5f877", ""), ("0f31", ""), ("0fa2", ""), ("f00000", "lock"), ("f04801f8", ""), ("f00200", ""),
    ],
)  # fmt: skip
def test_what_only_looks_like_it(driver: Path, code: str, name: str) -> None:
    assert classes(driver, [bytes.fromhex(code)]) == [(name, False)]


# -- how many ----------------------------------------------------------------------------------------------------------


def counted(driver: Path, steps: str, mode: str = "exact") -> list[int]:
    """Locks, pauses, IO and all instructions."""
    return list(map(int, ask(driver, f"costly-{mode}", *steps.split())[0].split()))


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        ("u:100:LP.L:4", [2, 1, 0, 4]),
        ("u:100:LP.L:4 u:100:LP.L:4 k:900:.L:2", [5, 2, 0, 10]),
        # The second instruction faults, and is executed again.
        ("u:100:LL.L:2 f:900:.:1 r:910:L:1 u:101:L.L:3", [4, 0, 0, 6]),
        ("u:100:PL.L:2 f:900:.:1 r:910:L:1 u:101:L.L:3", [3, 1, 0, 6]),
        # The last one does, or the fetch of what follows it: where it goes on tells.
        ("u:100:LL:2 f:900:.:1 r:910:P:1 u:101:L:1", [2, 1, 0, 4]),
        ("u:100:LL:2 f:900:.:1 r:910:P:1 u:102:L:1", [3, 1, 0, 5]),
        # Of the kernel's code it was the last, sure.
        ("k:500:LL:2 f:900:.:1 r:910:P:1 k:501:L:1", [2, 1, 0, 4]),
        # Of a thread that is switched out in the middle of a segment.
        ("u:100:LPL:2 charge charge", [1, 1, 0, 2]),
        ("k:500:LLL:2 charge f:900:.:1", [2, 0, 0, 3]),  # it had completed
    ],
)
def test_each_counts_once(driver: Path, steps: str, counts: list[int]) -> None:
    assert counted(driver, steps) == counts


def test_a_repeated_instruction_counts_once(driver: Path) -> None:
    once = "u:100:.R:2 u:101:R:1 u:101:R:1 u:102:.:1"
    assert counted(driver, once) == [0, 0, 1, 5]
    interrupted = "u:100:.R:2 u:101:R:1 f:900:.:1 r:910:.:1 u:101:R:1 u:102:.:1"  # its second iteration faults
    assert counted(driver, interrupted) == [0, 0, 1, 6]
    assert counted(driver, "u:100:.R:2 f:900:.:1 r:910:.:1 u:101:R:1 u:102:.:1") == [0, 0, 1, 5]  # its first does


def test_mode_block_takes_them_to_execute_whole(driver: Path) -> None:
    assert counted(driver, "u:100:LP.L:4 charge u:104:L:1", "block") == [3, 1, 0, 5]
    assert counted(driver, "u:100:LL.L:2 f:900:.:1 r:910:L:1 u:101:L.L:3", "block") == [6, 0, 0, 9]


@pytest.mark.parametrize(
    ("steps", "locks", "instructions"),
    [
        ("k:100:....:4 device:101 k:102:..:2", 0, 4),
        ("k:100:....:4 device:103 k:104:..:2", 0, 6),
        ("k:90:.:1 k:100:....:4 device:100 k:101:...:3", 0, 5),  # what is plain is charged at once
        ("k:100:.L.L:4 device:101 k:102:.L:2", 2, 4),
        ("k:100:L.L:3 device:100 k:101:.L:2 device:101 k:102:L:1", 2, 3),
    ],
)
def test_a_block_that_ends_at_a_device_counts_as_far(driver: Path, steps: str, locks: int, instructions: int) -> None:
    """With -icount, QEMU goes on behind it with another block."""
    assert (counted(driver, steps, "block")[0], counted(driver, steps, "block")[3]) == (locks, instructions)
