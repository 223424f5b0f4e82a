"""What a kernel's machine code says of itself: where its interrupt stubs, calls and jumps are, and its jump tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from probes.symbols import DAMAGE
from profiler.errors import ArtifactCorrupt

if TYPE_CHECKING:
    from capstone import CsInsn

_LONGEST = 4096  # bytes of a function looked at for its switch statement
_MOST_CASES = 4096


class Code:
    """The loadable bytes of an ELF file by virtual address.

    ``first`` and ``last`` are the lowest and the highest address that the file takes in memory, ``entry`` is that of
    its first instruction, ``executable`` and ``writable`` are ranges of addresses, ``tls_size`` is the size in bytes of
    its thread-local block, 0 if it has none.
    """

    def __init__(self, elf: Path) -> None:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            with elf.open("rb") as file:
                parsed = ELFFile(file)
                segments = list(parsed.iter_segments())
                self.entry = int(parsed["e_entry"])
                loaded = [segment for segment in segments if segment["p_type"] == "PT_LOAD" and segment["p_memsz"]]
                self._segments = [(segment["p_vaddr"], segment.data()) for segment in loaded if segment["p_filesz"]]
                ranges = [(s["p_vaddr"], s["p_vaddr"] + s["p_memsz"], s["p_flags"]) for s in loaded]
                tls = [segment for segment in segments if segment["p_type"] == "PT_TLS"]
        except (*DAMAGE, ELFError) as error:
            raise ArtifactCorrupt(f"{elf.name}: {error}"[:500], hint="is this the kernel that was booted?") from error
        self.executable = [(start, end) for start, end, flags in ranges if flags & 1]  # PF_X
        self.writable = [(start, end) for start, end, flags in ranges if flags & 2]  # PF_W
        self.first = min((start for start, _, _ in ranges), default=0)
        self.last = max((end for _, end, _ in ranges), default=1) - 1
        self.tls_size = sum(-(-segment["p_memsz"] // max(segment["p_align"], 1)) * max(segment["p_align"], 1)
                            for segment in tls)  # fmt: skip

    def read(self, address: int, size: int) -> bytes:
        """Give up to ``size`` bytes at a virtual address; empty where the file has none."""
        for start, data in self._segments:
            if start <= address < start + len(data):
                return bytes(data[address - start : address - start + size])
        return b""

    def words(self, address: int, size: int) -> list[int]:
        """Give the 8-byte words from an address on, those that lie in ``size`` bytes as a whole."""
        data = self.read(address, size)
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)]

    def instructions(self, address: int, size: int) -> Iterator[CsInsn]:
        """Disassemble, with operands, until the size or something that is no instruction."""
        import capstone

        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        engine.detail = True
        yield from engine.disasm(self.read(address, size), address)

    def stubs(self, address: int, size: int) -> Iterator[int]:
        """Give the addresses of all stubs in a table of them, each of which pushes a vector and jumps.

        One begins with its push, or where the kernel is compiled for indirect branch tracking (Linux 6.12) with the
        ENDBR64 before it: that is what an interrupt executes first.
        """
        landing = None
        for start, mnemonic, _ in self.listing(address, size):
            if mnemonic.startswith("push"):
                yield start if landing is None else landing
            landing = start if mnemonic == "endbr64" else None

    def calls(self, address: int, size: int, targets: Collection[int], *, jumps: bool = False) -> list[int]:
        """Give the addresses of the instructions in a function that call one of ``targets``, or jump to one as well."""
        wanted, mnemonics = {f"{target:#x}" for target in targets}, ("call", "jmp") if jumps else ("call",)
        listing = self.listing(address, size)
        return [start for start, mnemonic, operands in listing if mnemonic in mnemonics and operands in wanted]

    def register_jumps(self, address: int, size: int) -> list[int]:
        """Give the addresses of the jumps in a function whose target is in a register."""
        return [
            start
            for start, mnemonic, operands in self.listing(address, size)
            if mnemonic.split()[-1] == "jmp" and operands.isalnum() and not operands.startswith("0x")
        ]

    def listing(self, address: int, size: int) -> Iterator[tuple[int, str, str]]:
        """Disassemble all of it, whatever is in it: address, mnemonic and operands of each instruction."""
        import capstone

        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        engine.skipdata = True  # padding
        for start, _, mnemonic, operands in engine.disasm_lite(self.read(address, size), address):
            yield start, mnemonic, operands

    def cases(self, address: int, size: int) -> dict[int, int]:
        """Give number -> address of the first switch statement of a function; its default is left out.

        That is ``cmp $LAST, REG; ja DEFAULT; jmp *TABLE(,REG,8)`` with a table of absolute addresses, all of which
        are in the function.  Empty if there is no such thing.
        """
        from capstone import x86_const

        compared: tuple[str, int] | None = None
        bounds: dict[str, tuple[int, int]] = {}  # register -> its last number, where others go
        for insn in self.instructions(address, min(size, _LONGEST)):
            operands = insn.operands
            if insn.id == x86_const.X86_INS_CMP:
                to_number = operands[0].type == x86_const.X86_OP_REG and operands[1].type == x86_const.X86_OP_IMM
                compared = (whole(insn.reg_name(operands[0].reg)), operands[1].imm) if to_number else None
            elif insn.id == x86_const.X86_INS_JA and compared:
                bounds[compared[0]] = compared[1], unsigned(operands[0].imm)
            elif insn.id == x86_const.X86_INS_JMP and operands[0].type == x86_const.X86_OP_MEM:
                memory = operands[0].mem
                last, default = bounds.get(whole(insn.reg_name(memory.index)) if memory.index else "", (-1, 0))
                if memory.base or memory.segment or memory.scale != 8 or not 0 <= last < _MOST_CASES:
                    return {}
                targets = self.words(unsigned(memory.disp), 8 * (last + 1))
                inside = all(target == default or address <= target < address + size for target in targets)
                if len(targets) != last + 1 or not inside:
                    return {}
                return {number: target for number, target in enumerate(targets) if target != default}
        return {}


def goes_to(insn: CsInsn) -> int:
    """Give where a jump, call or return goes, 0 if that is not known beforehand."""
    import capstone

    direct = not insn.group(capstone.CS_GRP_RET) and insn.operands[0].type == capstone.CS_OP_IMM
    return unsigned(insn.operands[0].imm) if direct else 0


def unsigned(number: int) -> int:
    """Give an address as it is, where capstone gives a signed number."""
    return number & (1 << 64) - 1


def whole(name: str) -> str:
    """Give the 64-bit register that a part of it belongs to: eax, ax, al -> rax."""
    if name.startswith("r") and name[1:2].isdigit():
        return name.rstrip("dwb")
    stem = name[1:] if name[0] in "re" and len(name) == 3 else name
    if stem in ("ax", "al", "ah", "bx", "bl", "bh", "cx", "cl", "ch", "dx", "dl", "dh"):
        return f"r{stem[0]}x"
    return "r" + stem.removesuffix("l")
