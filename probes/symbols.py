"""From addresses to functions: the symbols of one ELF file or of one ``nm`` listing.

Every address belongs to the innermost symbol whose size covers it, or to none.  "The nearest symbol below" is never
the answer: it once charged 18 million instructions of an app to the last symbol of a kernel.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from profiler.errors import ArtifactCorrupt

Addresses = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int32]

_LARGEST_FILE: Final = 1 << 30
_LARGEST_LISTING: Final = 256 << 20
_MOST_SYMBOLS: Final = 4_000_000
_LONGEST_NAME: Final = 8192  # C++ names of two kilobytes exist
_LONGEST_SHOWN: Final = 4000  # bytes; recordings take no names of more than 4096, and may put a word before one
# Linux's longest function has some 30 KiB; what is further from the next symbol is a hole between sections.
_LONGEST_REACH: Final = 1 << 16
_NM_LINE: Final = re.compile(r"^([0-9a-fA-F]{1,16}) (?:([0-9a-fA-F]{1,16}) )?([A-Za-z]) (\S+)", re.MULTILINE)
_NM_TEXT: Final = frozenset("tTwW")
# Where code is in a Linux listing; a listing without such a pair is taken whole.
_TEXT_RANGES: Final = (("_text", "_etext"), ("_sinittext", "_einittext"))
# Labels inside functions and the padding before them (CONFIG_CALL_THUNKS, CFI): they would cut functions in two.
_NOT_FUNCTIONS: Final = re.compile(r"\.L|\$|__pfx_|__cfi_|L\d+$")
# Names that the linker's script gives to the borders of sections: never the name of what stands there.
_BORDER: Final = re.compile(r"_{0,2}[se]?(init|exit)?text|\w+_(start|end|begin|stop)|__?(start|stop|end)_\w+")
_SYMBOL_TYPE: Final = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)  # Elf64_Sym
_LAST: Final = (1 << 64) - 1
_NOTYPE, _FUNC, _GNU_IFUNC = 0, 2, 10
_SHF_EXECINSTR: Final = 4
DAMAGE: Final = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, MemoryError,
    RuntimeError, struct.error,
)  # fmt: skip
"""What readers of binary formats trip over when a file lies about itself."""


class _Raw(NamedTuple):
    address: int
    size: int  # 0: unknown
    name: str
    exported: bool  # global or weak
    limit: int  # no symbol of unknown size goes beyond this


class SymbolTable:
    """Functions sorted by address, one per address; ``address``, ``size`` (bytes) and ``names`` run in parallel.

    A symbol of size 0 is a label inside another one: ``find`` knows it, ``lookup`` never gives it.
    """

    def __init__(
        self, address: Addresses, size: Addresses, names: Sequence[str], aliases: Iterable[tuple[int, str]] = ()
    ) -> None:
        self.address = address
        self.size = size
        self.names = tuple(names)
        self._aliases: dict[int, list[str]] = {}
        self._by_name: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            self._by_name.setdefault(name, []).append(index)
        for index, name in aliases:
            self._aliases.setdefault(index, []).append(name)
            self._by_name.setdefault(name, []).append(index)
        self._start, self._end, self._owner = _segments(address, size)

    def moved(self, base: int) -> SymbolTable:
        """Give the same table for code that was loaded ``base`` bytes above its link addresses."""
        if not base:
            return self
        aliases = [(index, name) for index, names in self._aliases.items() for name in names]
        return SymbolTable(self.address + np.uint64(base), self.size, self.names, aliases)

    def __len__(self) -> int:
        return len(self.names)

    def lookup(self, addresses: npt.ArrayLike) -> Indices:
        """Give the index of the innermost symbol around each address, -1 where there is none."""
        wanted = np.asarray(addresses, dtype=np.uint64)
        if not len(self._start):
            return np.full(wanted.shape, -1, dtype=np.int32)
        at = np.searchsorted(self._start, wanted, side="right") - 1
        inside = (at >= 0) & (wanted < self._end[at])
        return np.where(inside, self._owner[at], np.int32(-1)).astype(np.int32)

    def pieces(self) -> tuple[Addresses, Addresses, Indices]:
        """Give all code as disjoint pieces in order: start, end (one past it), and the index of its symbol."""
        return self._start, self._end, self._owner

    def find(self, name: str) -> tuple[int, ...]:
        """Give the indices of all symbols with this name or alias; static functions may share one."""
        return tuple(self._by_name.get(name, ()))

    def aliases(self, index: int) -> tuple[str, ...]:
        """Give all names of one symbol, the one that is shown first."""
        return (self.names[index], *self._aliases.get(index, ()))

    @classmethod
    def load(cls, path: Path) -> SymbolTable:
        """Read an ELF file or an ``nm`` listing, whichever it is; else ``ArtifactCorrupt``."""
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise _corrupt(path, "it is too large")
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise _corrupt(path, error.strerror or str(error)) from error
        if magic == b"\x7fELF":
            return cls.from_elf(path)
        return cls.from_nm(listing_of(path), source=path)

    @classmethod
    def from_elf(cls, path: Path, image: bytes | None = None, *, may_be_stripped: bool = False) -> SymbolTable:
        """Read the functions of a 64-bit little-endian ELF file (.symtab, else .dynsym), at link addresses.

        Symbols without a size, as assembly has, reach to the next symbol or to the end of their section; those outside
        their section, as physical addresses are, are left out.  Jump stubs go under the name of their section, as in
        ``[.plt]``.  ``image`` is the file's content, where it is not what ``path`` holds.  Raises ``ArtifactCorrupt``,
        for a file without functions too unless it ``may_be_stripped``.
        """
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            with path.open("rb") if image is None else io.BytesIO(image) as file:
                elf = ELFFile(file)
                if elf.elfclass != 64 or not elf.little_endian:
                    raise _corrupt(path, "it is not a 64-bit little-endian ELF file")
                symbols, strings = _elf_symbols(elf)
                sections = [
                    (number, section["sh_addr"], section["sh_size"], section.name)
                    for number, section in enumerate(elf.iter_sections())
                    if section["sh_flags"] & _SHF_EXECINSTR
                ]
        except (*DAMAGE, ELFError) as error:
            raise _corrupt(path, str(error)) from error
        code = {number: (start, min(start + size, _LAST)) for number, start, size, _ in sections}
        kind = symbols["info"] & 15
        wanted = np.isin(symbols["section"], list(code)) & np.isin(kind, (_NOTYPE, _FUNC, _GNU_IFUNC))
        # The linker's jump stubs have no symbols; a static program has them too, for functions with several versions.
        stubs = [(start, size, name) for _, start, size, name in sections if name.startswith((".plt", ".iplt"))]
        raws = [_Raw(at, size, f"[{name}]", False, min(at + size, _LAST)) for at, size, name in stubs if size]
        for entry in symbols[wanted].tolist():
            at, info, _, section, value, size = entry
            end = strings.find(b"\0", at, at + _LONGEST_NAME)
            first, limit = code[section]
            if end > at and first <= value <= limit:
                name = strings[at:end].decode(errors="replace")
                raws.append(_Raw(value, size, name, info >> 4 != 0, limit))
        if may_be_stripped and not raws:
            return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64), ())
        return cls._build(raws, path)

    @classmethod
    def from_nm(cls, listing: str, *, source: Path | None = None) -> SymbolTable:
        """Read lines ``ADDRESS [SIZE] TYPE NAME`` as of nm, System.map or kallsyms; keeps what is code.

        Where no size is given a symbol reaches to the next one of any type.  If the listing has Linux's section
        borders (``_text`` to ``_etext``, ``_sinittext`` to ``_einittext``), only what lies between is kept.
        """
        lines = [(int(digits, 16), size, kind, name) for digits, size, kind, name in _NM_LINE.findall(listing)]
        text = [line for line in lines if line[2] in _NM_TEXT]
        borders = {line[3]: line[0] for line in text if _BORDER.fullmatch(line[3])}
        ranges = [(borders[first], borders[last]) for first, last in _TEXT_RANGES if {first, last} <= borders.keys()]
        raws = []
        if ranges:
            for start, end in ranges:
                raws += [_Raw(at, int(size or "0", 16), name, kind != "t", end)
                         for at, size, kind, name in text if start <= at < end]  # fmt: skip
        else:
            every = sorted({line[0] for line in lines})
            limit = dict(zip(every, [*every[1:], every[-1]] if every else [], strict=True))
            raws = [_Raw(at, int(size or "0", 16), name, kind != "t", limit[at]) for at, size, kind, name in text]
        return cls._build(raws, source)

    @classmethod
    def _build(cls, raws: list[_Raw], source: Path | None) -> SymbolTable:
        kept = [
            raw for raw in raws
            if not _NOT_FUNCTIONS.match(raw.name) and raw.address + raw.size < 1 << 64 and len(raw.name) < _LONGEST_NAME
        ]  # fmt: skip
        if not kept:
            raise _corrupt(source, "it names no functions")
        if len(kept) > _MOST_SYMBOLS:
            raise _corrupt(source, f"it has {len(kept)} symbols")
        kept.sort(key=_preference)
        addresses, first = np.unique(np.array([raw.address for raw in kept], dtype=np.uint64), return_index=True)
        bounds = [*first.tolist(), len(kept)]
        groups = [kept[bounds[i] : bounds[i + 1]] for i in range(len(first))]
        given = np.array([max(raw.size for raw in group) for group in groups], dtype=np.uint64)
        limits = np.array([min(raw.limit for raw in group) for group in groups], dtype=np.uint64)
        following = np.append(addresses[1:], limits[-1:])
        covered = np.maximum.accumulate(np.append(np.uint64(0), addresses + given)[:-1]) > addresses
        reach = np.minimum(np.minimum(following, limits), addresses + np.uint64(_LONGEST_REACH))
        unknown = (given == 0) & ~covered & (reach > addresses)
        sizes = np.where(unknown, reach - addresses, given)
        names = [[_printable(raw.name) for raw in group] for group in groups]
        others = [(i, name) for i, group in enumerate(names) for name in dict.fromkeys(group) if name != group[0]]
        return cls(addresses, sizes, [group[0] for group in names], others)


def listing_of(path: Path) -> str:
    """Give the text of a list of symbols; ``ArtifactCorrupt`` if it is longer than that of any kernel."""
    try:
        if path.stat().st_size <= _LARGEST_LISTING:
            listing = path.read_text(encoding="utf-8", errors="replace")
            if listing.count("\n") <= _MOST_SYMBOLS:
                return listing
    except (OSError, MemoryError) as error:
        raise _corrupt(path, str(error) or "there is not enough memory for it") from error
    raise _corrupt(path, "it is too long")


def find_data(path: Path, name: str) -> tuple[int, int] | None:
    """Give value and size (bytes) of a symbol of an ELF file, whatever it is of; of a variable, say, or a file's label.

    A thread-local variable's value is its offset in its block.  None if the file has no such symbol, or only listings
    of functions; ``ArtifactCorrupt`` if it is damaged.
    """
    symbols, strings = elf_symbols(path)
    places = [match.start() for match in re.finditer(re.escape(name.encode()) + b"\0", strings)]
    found = symbols[np.isin(symbols["name"], places) & (symbols["section"] != 0)]
    return (int(found[0]["value"]), int(found[0]["size"])) if len(found) else None


def elf_symbols(path: Path) -> tuple[npt.NDArray[Any], bytes]:
    """Give the symbols of an ELF file, of ``_SYMBOL_TYPE``, and the strings they are named by; none of other files.

    Raises ``ArtifactCorrupt`` if it is damaged.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                return np.zeros(0, dtype=_SYMBOL_TYPE), b""
            return _elf_symbols(ELFFile(file))
    except (*DAMAGE, ELFError) as error:
        raise _corrupt(path, str(error)) from error


def _elf_symbols(elf: Any) -> tuple[npt.NDArray[Any], bytes]:
    """Give the symbols (.symtab, else .dynsym, else none) of an open ELF file, and the strings they are named by."""
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    if table is None:
        return np.zeros(0, dtype=_SYMBOL_TYPE), b""
    return np.frombuffer(table.data(), dtype=_SYMBOL_TYPE), elf.get_section(table["sh_link"]).data()


def _preference(raw: _Raw) -> tuple[Any, ...]:
    """Sort by address; of the names of one address the one to show comes first, by rules that any build repeats."""
    bare = raw.name.lstrip("_")
    border = _BORDER.fullmatch(raw.name) is not None
    return raw.address, border, not raw.exported, len(raw.name) - len(bare), len(bare), raw.name


def _segments(address: Addresses, size: Addresses) -> tuple[Addresses, Addresses, Indices]:
    """Cut overlapping symbols into disjoint pieces (start, end, owner), each owned by the innermost symbol."""
    owner = np.flatnonzero(size).astype(np.int32)
    start, end = address[owner], address[owner] + size[owner]
    if len(owner) < 2 or not bool(np.any(end[:-1] > start[1:])):
        return start, end, owner
    pieces: list[tuple[int, int, int]] = []
    around: list[tuple[int, int]] = []  # (end, owner), innermost last
    at = 0

    def close(until: int) -> None:
        nonlocal at
        while around and at < until:
            piece_end, piece_owner = around[-1]
            if min(piece_end, until) > at:
                pieces.append((at, min(piece_end, until), piece_owner))
                at = min(piece_end, until)
            if piece_end > until:
                return
            around.pop()

    for piece_start, piece_end, piece_owner in zip(start.tolist(), end.tolist(), owner.tolist(), strict=True):
        close(piece_start)
        at = piece_start
        around.append((piece_end, piece_owner))
    close(1 << 64)
    flat = np.array([piece[:2] for piece in pieces], dtype=np.uint64)
    return flat[:, 0].copy(), flat[:, 1].copy(), np.array([piece[2] for piece in pieces], dtype=np.int32)


def _printable(name: str) -> str:
    """Give a name that is safe to show: no control or bidirectional characters, and a digest for what is too long."""
    if not (name.isascii() and name.isprintable()):
        name = "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in name)
    if len(name.encode()) <= _LONGEST_SHOWN:
        return name
    other = "~" + hashlib.sha256(name.encode()).hexdigest()[:16]  # two that begin alike are two
    return name.encode()[: _LONGEST_SHOWN - len(other)].decode(errors="ignore") + other


def _corrupt(path: Path | None, why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"no symbols from {path or 'the listing'}: {why}", hint="is this the file that was booted?")
