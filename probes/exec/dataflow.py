"""What a function does with its arguments, found by disassembly: where it puts them, and which fields it looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from probes.exec.disassembly import Code, unsigned, whole

if TYPE_CHECKING:
    from capstone import CsInsn

# System V ABI, AMD64 supplement, figure 3.4: integer arguments in order; and what a call may overwrite.
ARGUMENTS: Final = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_CALL_CLOBBERS: Final = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
_LONGEST: Final = 8192  # bytes looked at
_DEEPEST: Final = 2  # loads behind one another


class Value(NamedTuple):
    """An argument's value (0 is the first) plus the first offset; for each further one, what lies there plus that."""

    argument: int
    offsets: tuple[int, ...] = (0,)

    def plus(self, displacement: int) -> Value:
        """Give the value that many bytes beyond."""
        return Value(self.argument, (*self.offsets[:-1], self.offsets[-1] + displacement))


def walk(code: Code, address: int, size: int) -> Iterator[tuple[CsInsn, Mapping[str, Value]]]:
    """Give each instruction that can be reached in a function, with what is known of the registers before it.

    Each is given once, by the first path found to it; copies, sums with a number and loads of 8 bytes are followed.
    """
    import capstone

    end = address + min(size, _LONGEST)
    todo: list[tuple[int, dict[str, Value]]] = [(address, {name: Value(n) for n, name in enumerate(ARGUMENTS)})]
    seen: set[int] = set()
    entry = address
    while todo:
        start, known = todo.pop(0)
        for insn in code.instructions(start, end - start):
            if insn.address in seen:
                break
            seen.add(insn.address)
            yield insn, known
            if insn.mnemonic == "endbr64" and insn.address == entry:
                entry += insn.size
                continue
            if insn.group(capstone.CS_GRP_JUMP):
                target = _target(insn)
                if address <= target < end:
                    todo.append((target, dict(known)))
                if insn.mnemonic == "jmp":
                    break
            elif insn.group(capstone.CS_GRP_RET):
                break
            elif insn.group(capstone.CS_GRP_CALL):
                # a call at the very beginning is __fentry__, which saves everything
                for register in _CALL_CLOBBERS if insn.address != entry else ():
                    known.pop(register, None)
            else:
                _follow(insn, known)


def passed(code: Code, address: int, size: int, targets: Collection[int], argument: int) -> Value | None:
    """Give what the function hands to one of ``targets`` as that argument, where it calls it or jumps there."""
    for insn, known in walk(code, address, size):
        if insn.mnemonic in ("call", "jmp") and _target(insn) in targets:
            return known.get(ARGUMENTS[argument])
    return None


def returned(code: Code, address: int, size: int) -> Value | None:
    """Give what the function returns, at the first return found."""
    for insn, known in walk(code, address, size):
        if insn.mnemonic == "ret":
            return known.get("rax")
    return None


def stored(code: Code, address: int, size: int, argument: int, value: int) -> set[int]:
    """Give the offsets in what ``argument`` points at where 8 bytes are stored that are the argument ``value``."""
    found = set()
    for insn, known in walk(code, address, size):
        field = _field(insn, known, 0, 8)
        if insn.mnemonic == "mov" and field and field.argument == argument and len(field.offsets) == 1:
            from_register = insn.operands[1]
            if known.get(insn.reg_name(from_register.reg) if from_register.reg else "") == Value(value):
                found.add(field.offsets[0])
    return found


def added(code: Code, address: int, size: int, argument: int, value: int) -> set[int]:
    """Give the offsets in what ``argument`` points at to whose 4 bytes the argument ``value`` is added."""
    found = set()
    for insn, known in walk(code, address, size):
        field = _field(insn, known, 0, 4)
        if insn.mnemonic == "add" and field and field.argument == argument and len(field.offsets) == 1:
            operand = insn.operands[1]
            if operand.reg and known.get(whole(insn.reg_name(operand.reg))) == Value(value):
                found.add(field.offsets[0])
    return found


def widened(code: Code, address: int, size: int, argument: int) -> set[int]:
    """Give the offsets in what ``argument`` points at whose 4 bytes are read as a signed number."""
    found = set()
    for insn, known in walk(code, address, size):
        field = _field(insn, known, 1, 4) if insn.mnemonic == "movsxd" else None
        if field and field.argument == argument and len(field.offsets) == 1:
            found.add(field.offsets[0])
    return found


def read(code: Code, address: int, size: int, argument: int, offset: int) -> list[int]:
    """Give the instructions that do no more than read 4 bytes at that offset in what ``argument`` points at."""
    wanted = Value(argument, (offset,))
    return [insn.address for insn, known in walk(code, address, size)
            if insn.mnemonic == "mov" and _field(insn, known, 1, 4) == wanted]  # fmt: skip


def _follow(insn: CsInsn, known: dict[str, Value]) -> None:
    from capstone import x86_const as x86

    value: Value | None = None
    if insn.id in (x86.X86_INS_MOV, x86.X86_INS_LEA) and insn.operands[0].type == x86.X86_OP_REG:
        source = insn.operands[1]
        if source.type == x86.X86_OP_REG and source.size == 8:
            value = known.get(insn.reg_name(source.reg))
        elif insn.operands[0].size == 8:
            value = _field(insn, known, 1)
            if value and insn.id == x86.X86_INS_MOV:
                value = Value(value.argument, (*value.offsets, 0)) if len(value.offsets) <= _DEEPEST else None
    elif insn.id == x86.X86_INS_ADD and insn.operands[0].size == 8 and insn.operands[1].type == x86.X86_OP_IMM:
        summand = known.get(insn.reg_name(insn.operands[0].reg)) if insn.operands[0].type == x86.X86_OP_REG else None
        value = summand.plus(insn.operands[1].imm) if summand else None
    for register in insn.regs_access()[1]:
        known.pop(whole(insn.reg_name(register)), None)
    if value:
        known[insn.reg_name(insn.operands[0].reg)] = value


def _field(insn: CsInsn, known: Mapping[str, Value], operand: int, size: int = 0) -> Value | None:
    """Give the address of an operand in memory (of that size), if it is known."""
    from capstone import x86_const as x86

    if len(insn.operands) <= operand:
        return None
    place = insn.operands[operand]
    if place.type != x86.X86_OP_MEM or place.mem.index or place.mem.segment or not place.mem.base:
        return None
    base = known.get(insn.reg_name(place.mem.base))
    return base.plus(place.mem.disp) if base and size in (0, place.size) else None


def _target(insn: CsInsn) -> int:
    """Where a jump or call goes, 0 if that is not known beforehand."""
    from capstone import x86_const

    return unsigned(insn.operands[0].imm) if insn.operands[0].type == x86_const.X86_OP_IMM else 0
