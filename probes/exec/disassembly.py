"""Where a function first touches memory through one of its arguments, found by disassembly.

The probe cannot read registers on every QEMU, but it sees the addresses that instructions access.  An access to
``disp(%reg)`` where ``%reg`` still holds the argument gives the argument: address - disp.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from profiler.errors import ArtifactCorrupt

# System V ABI, AMD64 supplement, figure 3.4: integer arguments in order; and what a call may overwrite.
_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_CALL_CLOBBERS = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
_LONGEST = 4096  # bytes looked at


class Access(NamedTuple):
    """An instruction that accesses ``disp`` bytes beyond what the argument points at."""

    address: int
    disp: int


class Code:
    """The loadable bytes of an ELF file by virtual address."""

    def __init__(self, elf: Path) -> None:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            with elf.open("rb") as file:
                self._segments = [
                    (segment["p_vaddr"], segment.data())
                    for segment in ELFFile(file).iter_segments("PT_LOAD")
                    if segment["p_filesz"]
                ]
        except (OSError, ELFError) as error:
            raise ArtifactCorrupt(f"{elf.name}: {error}", hint="is this the kernel that was booted?") from error

    def read(self, address: int, size: int) -> bytes:
        """Give up to ``size`` bytes at a virtual address; empty where the file has none."""
        for start, data in self._segments:
            if start <= address < start + len(data):
                return bytes(data[address - start : address - start + size])
        return b""

    def first_access(self, address: int, size: int, argument: int) -> Access | None:
        """Find the first access through an argument in the function at ``address``, on the path that never jumps.

        Copies of the argument in other registers count; registers a call may overwrite are given up at calls.
        None if the function ends or jumps away first.
        """
        import capstone
        from capstone import x86_const

        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        engine.detail = True
        holders = {_ARGUMENTS[argument]}
        first = address
        for insn in engine.disasm(self.read(address, min(size, _LONGEST)), address):
            if insn.id == x86_const.X86_INS_ENDBR64 and insn.address == first:
                first += insn.size  # CONFIG_X86_KERNEL_IBT
                continue
            operands = insn.operands
            for operand in operands:
                if operand.type == x86_const.X86_OP_MEM and insn.id not in (
                    x86_const.X86_INS_LEA,
                    x86_const.X86_INS_NOP,
                ):
                    memory = operand.mem
                    plain = memory.index == 0 and memory.segment == 0
                    if plain and memory.base and insn.reg_name(memory.base) in holders:
                        return Access(insn.address, memory.disp)
            if insn.group(capstone.CS_GRP_RET) or insn.id == x86_const.X86_INS_JMP:
                return None
            if insn.group(capstone.CS_GRP_CALL):
                if insn.address == first:
                    continue  # __fentry__, which saves everything
                holders -= _CALL_CLOBBERS
                continue
            copied = (
                insn.id == x86_const.X86_INS_MOV
                and operands[0].type == operands[1].type == x86_const.X86_OP_REG
                and insn.reg_name(operands[1].reg) in holders
            )
            written = {insn.reg_name(register) for register in insn.regs_access()[1]}
            holders -= {_whole(name) for name in written}
            if copied:
                holders.add(insn.reg_name(operands[0].reg))
        return None

    def pushes(self, address: int, size: int) -> Iterator[int]:
        """Give the addresses of all push instructions in a table of interrupt stubs."""
        import capstone

        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        engine.skipdata = True  # padding
        for start, _, mnemonic, _ in engine.disasm_lite(self.read(address, size), address):
            if mnemonic.startswith("push"):
                yield start


def _whole(name: str) -> str:
    """Give the 64-bit register that a part of it belongs to: eax, ax, al -> rax."""
    if name.startswith("r") and name[1:2].isdigit():
        return name.rstrip("dwb")
    stem = name[1:] if name[0] in "re" and len(name) == 3 else name
    if stem in ("ax", "al", "ah", "bx", "bl", "bh", "cx", "cl", "ch", "dx", "dl", "dh"):
        return f"r{stem[0]}x"
    return "r" + stem.removesuffix("l")
