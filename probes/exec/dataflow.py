"""What a function does with its arguments, found by disassembly: where it puts them, and which fields it looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from probes.exec.disassembly import Code, goes_to, whole

if TYPE_CHECKING:
    from capstone import CsInsn

# System V ABI, AMD64 supplement, figure 3.4: integer arguments in order; and what a call may overwrite.
ARGUMENTS: Final = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
CALL_CLOBBERS: Final = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
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
                target = goes_to(insn)
                if address <= target < end:
                    todo.append((target, dict(known)))
                if insn.mnemonic == "jmp":
                    break
            elif insn.group(capstone.CS_GRP_RET):
                break
            elif insn.group(capstone.CS_GRP_CALL):
                # a call at the very beginning is __fentry__, which saves everything
                for register in CALL_CLOBBERS if insn.address != entry else ():
                    known.pop(register, None)
            else:
                _follow(insn, known)


def passed(code: Code, address: int, size: int, targets: Collection[int], argument: int) -> Value | None:
    """Give what the function hands to one of ``targets`` as that argument, where it calls it or jumps there."""
    for insn, known in walk(code, address, size):
        if insn.mnemonic in ("call", "jmp") and goes_to(insn) in targets:
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
    fields = _fields(code, address, size, argument, _Shape("mov", 0, 8))
    return {offset for insn, known, offset in fields if _second(insn, known) == Value(value)}


def added(code: Code, address: int, size: int, argument: int, value: int) -> set[int]:
    """Give the offsets in what ``argument`` points at to whose 4 bytes the argument ``value`` is added."""
    fields = _fields(code, address, size, argument, _Shape("add", 0, 4))
    return {offset for insn, known, offset in fields if _second(insn, known) == Value(value)}


def widened(code: Code, address: int, size: int, argument: int) -> set[int]:
    """Give the offsets in what ``argument`` points at whose 4 bytes are read as a signed number."""
    return {offset for _, _, offset in _fields(code, address, size, argument, _Shape("movsxd", 1, 4))}


def read(code: Code, address: int, size: int, argument: int, offset: int) -> list[int]:
    """Give the instructions that do no more than read 4 bytes at that offset in what ``argument`` points at."""
    fields = _fields(code, address, size, argument, _Shape("mov", 1, 4))
    return [insn.address for insn, _, found in fields if found == offset]


class _Shape(NamedTuple):
    """Instructions: their name, which of their operands is in memory, and of how many bytes."""

    mnemonic: str
    operand: int
    bytes: int


def _fields(
    code: Code, address: int, size: int, argument: int, shape: _Shape
) -> Iterator[tuple[CsInsn, Mapping[str, Value], int]]:
    """Give the instructions of a function that access what ``argument`` points at so, and at which offset."""
    for insn, known in walk(code, address, size):
        field = _field(insn, known, shape.operand, shape.bytes) if insn.mnemonic == shape.mnemonic else None
        if field and field.argument == argument and len(field.offsets) == 1:
            yield insn, known, field.offsets[0]


def _second(insn: CsInsn, known: Mapping[str, Value]) -> Value | None:
    """Give what is known of an instruction's second operand, if that is a register or a part of one."""
    from capstone import x86_const as x86

    operand = insn.operands[1]  # of a number capstone gives a register, too: the one of that number
    return known.get(whole(insn.reg_name(operand.reg))) if operand.type == x86.X86_OP_REG else None


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
