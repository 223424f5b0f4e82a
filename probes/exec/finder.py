"""What is found in one kernel: places where something happens, and what is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from probes.exec.disassembly import Code
from probes.symbols import SymbolTable

NO_SYMBOL: Final = "no such symbol in this kernel"
_SUFFIX: Final = re.compile(r"\.(constprop|isra|part|cold|lto_priv)(\.\d+)?")


class Place(NamedTuple):
    """What happens at an address: a kind of plugin/config.h, an operation's or event's name, a displacement.

    Of operations, system calls and handlers the displacement is an index into ``probes.exec.places.RESULTS``.
    ``source``: where something is found in the guest's registers and memory, see ``probes.exec.waits``.
    """

    kind: str
    name: str = ""
    disp: int = 0
    source: tuple[int, ...] = ()


class Kernel(NamedTuple):
    """One kernel, as files and as what was read of them; ``symbols`` is the file that ``table`` was read from."""

    table: SymbolTable
    symbols: Path
    code: Code


class Finder:
    """What has been found in one kernel, by address, and what is missing."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.code = kernel, kernel.code
        self.places: dict[int, Place] = {}
        self.missing: list[dict[str, str]] = []
        self.folded: dict[str, list[int]] = {}
        for index in range(len(kernel.table)):
            for alias in kernel.table.aliases(index):
                self.folded.setdefault(_SUFFIX.sub("", alias), []).append(index)

    def lacks(self, what: str, reason: str) -> None:
        """Note that something cannot be hooked."""
        self.missing.append({"what": what, "reason": reason})

    def functions(self, symbol: str) -> list[tuple[int, int]]:
        """Give address and size of all functions of a name, and of the pieces that compilers cut off them."""
        table = self.kernel.table
        return [(int(table.address[index]), int(table.size[index])) for index in self.folded.get(symbol, [])]

    def entries(self, symbol: str) -> list[int]:
        """Give the addresses where functions of a name are entered."""
        table = self.kernel.table
        whole = [index for index in self.folded.get(symbol, []) if not table.names[index].endswith(".cold")]
        return [int(table.address[index]) for index in whole]
