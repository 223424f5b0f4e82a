"""Where a function touches the object of a thread, found by disassembly.

The probe cannot read registers on every QEMU, but it sees the addresses that instructions access.  An access to
``disp(%reg)`` where ``%reg`` holds the object's address gives that address: address accessed - disp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from probes.exec.dataflow import ARGUMENTS, CALL_CLOBBERS
from probes.exec.disassembly import Code, goes_to, whole

if TYPE_CHECKING:
    from capstone import CsInsn

_LONGEST = 4096  # bytes looked at


class Access(NamedTuple):
    """An instruction that accesses ``disp`` bytes beyond the beginning of the object."""

    address: int
    disp: int


class Source(NamedTuple):
    """How a function comes by the object's address; just one of ``argument`` and ``tls`` is given."""

    argument: int | None = None
    """The number of the argument that is the address (0 is the first)."""
    pointee: int | None = None
    """The argument points at something that has the object's address at this offset."""
    tls: int | None = None
    """The address is loaded from this place, relative to ``%fs``."""


def first_access(code: Code, address: int, size: int, source: Source, *, after: int = 0) -> Access | None:
    """Find the first access to the object in the function at ``address``, on the path of no conditional jump taken.

    Copies of the address in other registers count, and sums with a number; registers that a call may overwrite are
    given up at calls.  Only instructions count that access memory just once, in general registers.  ``after`` leaves
    out those at or below that address.  None if the function ends or jumps away first.
    """
    end = address + min(size, _LONGEST)
    given = {ARGUMENTS[source.argument]: 0} if source.argument is not None else {}
    registers = _Registers(source, given)
    start = entry = address
    while start < end:
        jump = 0
        for insn in code.instructions(start, end - start):
            found = registers.access(insn)
            if found and insn.address > after:
                return found
            if _is_endbr(insn) and insn.address == entry:
                entry += insn.size  # CONFIG_X86_KERNEL_IBT
            elif not registers.follow(insn, fentry=insn.address == entry):
                jump = goes_to(insn)
                break
        if not start < jump < end:  # forwards, so that this ends
            return None
        start = jump
    return None


class _Registers:
    """What is known of the registers along a path: how far beyond the object, or the argument, each one points."""

    def __init__(self, source: Source, given: dict[str, int]) -> None:
        self.source = source
        self.object: dict[str, int] = given if source.pointee is None else {}
        self.holder: dict[str, int] = given if source.pointee is not None else {}

    def access(self, insn: CsInsn) -> Access | None:
        """Give the access to the object that an instruction makes."""
        from capstone import x86_const as x86

        single = insn.id in (x86.X86_INS_MOV, x86.X86_INS_MOVABS, x86.X86_INS_MOVZX, x86.X86_INS_MOVSX,
                             x86.X86_INS_MOVSXD, x86.X86_INS_CMP, x86.X86_INS_TEST)  # fmt: skip
        for operand in insn.operands if single else ():
            if operand.type == x86.X86_OP_MEM and not operand.mem.index and not operand.mem.segment:
                base = insn.reg_name(operand.mem.base) if operand.mem.base else ""
                if base in self.object:
                    return Access(insn.address, self.object[base] + operand.mem.disp)
        return None

    def follow(self, insn: CsInsn, *, fentry: bool) -> bool:
        """Do what an instruction does to the registers; False if the path does not go on behind it."""
        import capstone
        from capstone import x86_const as x86

        if insn.group(capstone.CS_GRP_RET) or insn.id == x86.X86_INS_JMP:
            return False
        if insn.group(capstone.CS_GRP_CALL):
            if not fentry:  # a call at the very beginning is __fentry__, which saves everything
                self._forget(CALL_CLOBBERS)
            return True
        object_at, holder_at = self._result(insn)
        self._forget({whole(insn.reg_name(register)) for register in insn.regs_access()[1]})
        for known, offset in ((self.object, object_at), (self.holder, holder_at)):
            if offset is not None:
                known[insn.reg_name(insn.operands[0].reg)] = offset
        return True

    def _result(self, insn: CsInsn) -> tuple[int | None, int | None]:
        """Give how far beyond the object, and beyond the argument, the instruction's first operand will point."""
        from capstone import x86_const as x86

        if insn.id not in (x86.X86_INS_MOV, x86.X86_INS_LEA) or insn.operands[0].type != x86.X86_OP_REG:
            return None, None
        target, value = insn.operands
        if value.type == x86.X86_OP_REG:
            register = insn.reg_name(value.reg)
            return self.object.get(register), self.holder.get(register)
        if value.type != x86.X86_OP_MEM or value.mem.index or target.size != 8:
            return None, None
        memory = value.mem
        base = insn.reg_name(memory.base) if memory.base else ""
        beyond_object, beyond_argument = (
            known[base] + memory.disp if base in known and not memory.segment else None
            for known in (self.object, self.holder)
        )
        if insn.id == x86.X86_INS_LEA:
            return beyond_object, beyond_argument
        of_thread = memory.segment == x86.X86_REG_FS and not base and memory.disp == self.source.tls
        of_argument = beyond_argument is not None and beyond_argument == self.source.pointee
        return (0 if of_thread or of_argument else None), None

    def _forget(self, registers: frozenset[str] | set[str]) -> None:
        for known in (self.object, self.holder):
            for register in registers:
                known.pop(register, None)


def _is_endbr(insn: CsInsn) -> bool:
    from capstone import x86_const

    return bool(insn.id == x86_const.X86_INS_ENDBR64)
