"""Which variable lies at an address: the data symbols of a kernel and of what runs on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from probes.symbols import SymbolTable, elf_symbols, listing_of

_OBJECT: Final = 1  # STT_OBJECT
_NM_LINE: Final = re.compile(r"^([0-9a-fA-F]{1,16}) ([A-Za-z]) (\S+)", re.MULTILINE)
_NM_DATA: Final = frozenset("bBdDgGrRsSvV")
_NM_TEXT: Final = frozenset("tT")
_LONGEST_REACH: Final = 1 << 16  # what is further from the next symbol of a listing is a hole
_LONGEST_NAME: Final = 1024


class Objects(NamedTuple):
    """Variables of several files, where those are loaded."""

    tables: Sequence[SymbolTable] = ()

    def names(self, addresses: npt.ArrayLike) -> list[str]:
        """Give ``name``, or ``name+0x10`` in an array or a structure, of what lies at each address; "" if nothing."""
        wanted = np.asarray(addresses, dtype=np.uint64)
        found = [""] * len(wanted)
        for table in self.tables:
            for number, index in enumerate(table.lookup(wanted).tolist()):
                if index >= 0 and not found[number]:
                    beyond = int(wanted[number] - table.address[index])
                    found[number] = table.names[index] + (f"+{beyond:#x}" if beyond else "")
        return found


def load(path: Path, base: int = 0) -> SymbolTable:
    """Read the variables of an ELF file, loaded ``base`` bytes above its link addresses, or of an ``nm`` listing.

    In a listing one reaches to the next symbol; those below its code, as the variables of each CPU, are left out.
    Empty if there are none; ``ArtifactCorrupt`` if an ELF file is damaged.
    """
    with path.open("rb") as file:
        is_elf = file.read(4) == b"\x7fELF"
    found = _of_elf(path) if is_elf else _of_listing(listing_of(path))
    first = {address: (size, name) for address, size, name in reversed(found)}  # of several at one address the first
    order = sorted(first)
    table = SymbolTable(
        np.array(order, dtype=np.uint64), np.array([first[at][0] for at in order], dtype=np.uint64),
        [first[at][1] for at in order],
    )  # fmt: skip
    return table.moved(base)


def _of_elf(path: Path) -> list[tuple[int, int, str]]:
    symbols, strings = elf_symbols(path)
    wanted = symbols[(symbols["info"] & 15 == _OBJECT) & (symbols["section"] != 0) & (symbols["size"] != 0)]
    found = []
    for entry in wanted.tolist():
        at, _, _, _, address, size = entry
        end = strings.find(b"\0", at, at + _LONGEST_NAME)
        if end > at and address + size < 1 << 64:
            found.append((address, size, _printable(strings[at:end].decode(errors="replace"))))
    return found


def _of_listing(listing: str) -> list[tuple[int, int, str]]:
    lines = [(int(digits, 16), kind, name) for digits, kind, name in _NM_LINE.findall(listing)]
    code = min((address for address, kind, _ in lines if kind in _NM_TEXT and address), default=0)
    every = np.unique(np.array([line[0] for line in lines], dtype=np.uint64))
    data = [line for line in lines if line[1] in _NM_DATA and line[0] >= code and len(line[2]) < _LONGEST_NAME]
    places = np.searchsorted(every, np.array([line[0] for line in data], dtype=np.uint64), side="right").tolist()
    found = []
    for (address, _, name), place in zip(data, places, strict=True):
        reach = int(every[place]) - address if place < len(every) else 1
        if reach <= _LONGEST_REACH:
            found.append((address, reach, _printable(name)))
    return found


def _printable(name: str) -> str:
    return "".join(letter if " " < letter < "\x7f" else "?" for letter in name)
