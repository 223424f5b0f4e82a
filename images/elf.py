"""What is needed of an ELF file that somebody gave: its headers, notes and symbols, with every offset held to the file.

Small and by hand, because the file is untrusted and may have half a gigabyte: nothing is read that is not asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Final

from profiler.errors import ArtifactCorrupt

MAGIC: Final = b"\x7fELF"
X86_64: Final = 62
EXECUTABLE: Final = 2
SHARED: Final = 3
DAMAGE: Final = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, MemoryError,
    RuntimeError, struct.error,
)  # fmt: skip
"""What pyelftools trips over when a file lies about itself."""
MACHINES: Final = {
    2: "SPARC", 3: "32-bit x86", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S/390", 40: "32-bit ARM",
    43: "64-bit SPARC", X86_64: "x86-64", 183: "64-bit ARM", 243: "RISC-V", 258: "LoongArch",
}  # fmt: skip
TYPES: Final = {0: "file without a type", 1: "object file", 2: "program", 3: "shared object", 4: "core dump"}

_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4
_SHT_NULL, _SHT_SYMTAB, _SHT_NOTE, _SHT_NOBITS, _SHT_DYNSYM = 0, 2, 7, 8, 11
_SHF_EXECINSTR, _PF_X = 4, 1
_SHN_ABS: Final = 0xFFF1
_NOTYPE, _OBJECT, _FUNC, _IFUNC, _WEAK = 0, 1, 2, 10, 2
_MOST_NOTES: Final = 1000
_LARGEST_NOTES: Final = 1 << 20
_MOST_SYMBOLS: Final = 4_000_000
_LONGEST_NAME: Final = 512


@dataclass(frozen=True)
class Segment:
    """A loaded part: where it is in the file, in memory (virtual and physical), its bytes in the file."""

    offset: int
    virtual: int
    physical: int
    size: int
    executable: bool


@dataclass(frozen=True)
class Note:
    """One note, as in owner Xen, type 18: the entry point of PVH."""

    owner: str
    type: int
    content: bytes


@dataclass(frozen=True)
class Symbol:
    """One symbol; ``letter`` as ``nm`` has it (t and T: code), ``size`` in bytes or 0."""

    address: int
    size: int
    letter: str
    name: str


def head(data: bytes | mmap) -> tuple[int, int, int, int]:
    """Give (32 or 64, 1 for little-endian, e_type, e_machine) of what begins with ``MAGIC``; ``ArtifactCorrupt``."""
    if len(data) < 20 or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise _damaged("its header is cut short or holds nonsense")
    kind, machine = struct.unpack_from("<HH" if data[5] == 1 else ">HH", data, 16)
    return 32 * data[4], data[5], kind, machine


def movable(path: Path) -> bool:
    """Tell whether a program can lie anywhere (it is a shared object by type); ``ArtifactCorrupt`` if it is no ELF."""
    with path.open("rb") as file:
        beginning = file.read(64)
    if not beginning.startswith(MAGIC):
        raise _damaged("it is none")
    return head(beginning)[2] == SHARED


class Elf:
    """A 64-bit little-endian ELF file in memory or mapped.  Every method raises ``ArtifactCorrupt`` if it lies."""

    def __init__(self, data: bytes | mmap) -> None:
        self._data = data
        if len(data) < 64 or head(data)[:2] != (64, 1):
            raise _damaged("it is not 64-bit and little-endian")
        _, _, self.type, self.machine, _, _, programs, sections, _, _, size, count, section_size, section_count, _ = (
            struct.unpack_from("<4s12sHHIQQQIHHHHHH", data)
        )
        if count and size != 56:
            raise _damaged("its program headers have another size than ELF's")
        rows = [struct.unpack_from("<IIQQQQQQ", self._at(programs + 56 * i, 56)) for i in range(count)]
        self.segments = [
            Segment(offset, virtual, physical, size, bool(flags & _PF_X))
            for kind, flags, offset, virtual, physical, size, _, _ in rows
            if kind == _PT_LOAD
        ]
        for segment in self.segments:
            if segment.offset + segment.size > len(data):
                raise _damaged("it is cut short: a part that is to be loaded is not there")
        self.interpreter = b"".join(bytes(self._at(row[2], min(row[5], 256))) for row in rows if row[0] == _PT_INTERP)
        self._sections = []
        if sections and section_size == 64 and sections + 64 * section_count <= len(data):
            self._sections = [struct.unpack_from("<IIQQQQIIQQ", data, sections + 64 * i) for i in range(section_count)]
        if section_count and section_size != 64:
            raise _damaged("its section headers have another size than ELF's")
        for section in self._sections:
            if section[1] not in (_SHT_NULL, _SHT_NOBITS) and section[4] + section[5] > len(data):
                raise _damaged("it is cut short: a section is not there")
        self.notes = [note for row in rows if row[0] == _PT_NOTE for note in self._notes(row[2], row[5])]

    def _at(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._data):
            raise _damaged("it is cut short")
        return self._data[offset : offset + size]

    def _notes(self, offset: int, size: int) -> Iterator[Note]:
        block = self._at(offset, min(size, _LARGEST_NOTES))
        at = 0
        for _ in range(_MOST_NOTES):
            if at + 12 > len(block):
                return
            owner, content, kind = struct.unpack_from("<III", block, at)
            begin = at + 12 + (owner + 3 & ~3)
            at = begin + (content + 3 & ~3)
            if begin + content > len(block):
                return
            name = block[begin - (owner + 3 & ~3) :][:owner].rstrip(b"\0")
            yield Note(name.decode("ascii", errors="replace"), kind, block[begin : begin + content])

    def note(self, owner: str, kind: int) -> bytes:
        """Give the content of the first such note that is loaded, or nothing."""
        return next((note.content for note in self.notes if (note.owner, note.type) == (owner, kind)), b"")

    @property
    def build_id(self) -> str:
        """The linker's digest of what it linked, in hexadecimal, or nothing; debug files have it as well."""
        found = self.note("GNU", 3)
        for section in self._sections:
            if not found and section[1] == _SHT_NOTE:
                notes = self._notes(section[4], section[5])
                found = next((note.content for note in notes if (note.owner, note.type) == ("GNU", 3)), b"")
        return found.hex()

    def find(self, text: bytes) -> Iterator[int]:
        """Give the places in the file, within loaded parts, where ``text`` stands."""
        for segment in self.segments:
            at = self._data.find(text, segment.offset, segment.offset + segment.size)
            while at >= 0:
                yield at
                at = self._data.find(text, at + 1, segment.offset + segment.size)

    def bytes_at(self, offset: int, most: int) -> bytes:
        """Give up to ``most`` bytes from a place in the file."""
        return self._data[offset : offset + most]

    def memory(self, address: int, most: int) -> bytes:
        """Give up to ``most`` bytes from a virtual address, or nothing where nothing is loaded."""
        for segment in self.segments:
            if segment.virtual <= address < segment.virtual + segment.size:
                begin = address - segment.virtual
                return self._data[segment.offset + begin : segment.offset + min(begin + most, segment.size)]
        return b""

    def loaded(self, segment: Segment, skip: int) -> bytes:
        """Give a segment's bytes, but for those among the first ``skip`` of the file."""
        return self._data[max(segment.offset, skip) : segment.offset + segment.size]

    @property
    def entries(self) -> int:
        """How many symbols of any kind its tables have, without looking at them."""
        return sum(int(section[5]) // 24 for section in self._sections if section[1] in (_SHT_SYMTAB, _SHT_DYNSYM))

    def symbols(self) -> list[Symbol]:
        """Give the code and data of ``.symtab``, in its order; nothing if there is none."""
        table = next((section for section in self._sections if section[1] == _SHT_SYMTAB), None)
        if table is None or table[6] >= len(self._sections):
            return []
        strings = self._sections[table[6]]
        if table[5] // 24 > _MOST_SYMBOLS:
            raise _damaged(f"it has {table[5] // 24} symbols")
        names = self._at(strings[4], strings[5])
        found = []
        for name_at, info, _, section, address, size in struct.iter_unpack(
            "<IBBHQQ", self._at(table[4], table[5] // 24 * 24)
        ):
            if info & 15 not in (_NOTYPE, _OBJECT, _FUNC, _IFUNC) or not section:
                continue
            end = names.find(b"\0", name_at, name_at + _LONGEST_NAME)
            if end <= name_at:
                continue
            code = section < len(self._sections) and self._sections[section][2] & _SHF_EXECINSTR
            letter = ("W" if info >> 4 == _WEAK else "T") if code else "A" if section == _SHN_ABS else "D"
            found.append(
                Symbol(
                    address, size, letter if info >> 4 else letter.lower(), names[name_at:end].decode(errors="replace")
                )
            )
        return found


def _damaged(why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"the ELF file is damaged: {why}", hint="copy or build it again")
