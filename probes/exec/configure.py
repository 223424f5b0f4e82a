"""Tell the probe what it will see: the functions of kernel and app, and the places where something happens.

The configuration is a text file, one function or hook per line (read by plugin/config.c).  Names are numbers there;
``Hooks`` keeps what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from probes import objects
from probes.exec import names
from probes.exec.disassembly import Code
from probes.exec.finder import NO_SYMBOL, Finder, Kernel, Place
from probes.exec.places import RESULTS, address_range, find, load_rules, signals
from probes.exec.window import Window
from probes.exec.window import lines as lines_of
from probes.objects import Objects
from probes.symbols import SymbolTable, find_data
from profiler.errors import ArtifactCorrupt

# The same in plugin/threads.h.
FIXED_NAMES: Final = ("", "user", "interrupt", "background", "[pending]", "syscall")
# Code in user mode that is in no file: Linux maps its vDSO there; of others nothing is known.
VDSO: Final = ("[vdso]", "vdso", "time")
NOWHERE: Final = ("[unknown]", "user", "unattributed")
_JUMP_STUBS: Final = ("[.plt", "[.iplt")
_OF_DEVICES: Final = frozenset({"driver", "emulation", "irq", "time", "timer"})
"""Layers whose functions touch devices' memory: only there is it looked whether a load or store does."""
_LARGEST_VDSO: Final = 1 << 16
_MOST_VARIABLES: Final = 16  # VARIABLES, plugin/config.h
_THREAD_MAKERS: Final = ("pthread_create",)  # operations; whatever else makes a thread makes a process


@dataclass(frozen=True)
class UserCode:
    """One ELF file whose code runs in user mode, or as an app does: ``base`` is added to its link addresses.

    ``own``: the names of the app's own functions in it; None: every function is the app's own; empty: all are libc's.
    """

    elf: Path
    base: int
    own: frozenset[str] | None


@dataclass
class Hooks:
    """What the configuration's numbers mean, and what could not be hooked."""

    names: list[str] = field(default_factory=lambda: list(FIXED_NAMES))
    functions: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, class, layer) of each function number; class is kernel, app, libc, vdso, or stub (a jump to another)."""
    kinds: list[str] = field(default_factory=list)
    """The kind of each hook, in the order of the probe's ``fired``."""
    not_hooked: list[dict[str, str]] = field(default_factory=list)
    objects: Objects = field(default_factory=Objects)
    """The variables of kernel, app and libraries."""
    outside: tuple[str, str, str] = VDSO
    """As of a function: what code is that lies in no file given."""

    def number(self, name: str) -> int:
        """Give the number of a name, a new one if need be."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def __post_init__(self) -> None:
        """Index the names."""
        self._numbers = {name: number for number, name in enumerate(self.names)}


def write(
    config: Path,
    *,
    kind: str,
    kernel_elf: Path,
    kernel_symbols: Path,
    user: Sequence[UserCode],
    libc_in_kernel: bool,
    operations: Mapping[str, str],
    syscalls: Mapping[str, str],
    results: Mapping[str, str],
    kernel_layers: Callable[[Sequence[str]], Iterable[str]],
    window: Window | None = None,
    program: Path | None = None,
) -> Hooks:
    """Write the probe's configuration for one kernel and what runs on it.

    ``user`` is the app and its libraries.  ``libc_in_kernel``: the app calls functions of the kernel's own, instead of
    those of a libc.  ``operations`` maps exported libc functions, ``syscalls`` system call names, to operations;
    ``results`` the functions to how they say that they failed (``places.RESULTS``); ``kernel_layers`` gives the layers
    of all functions of a kernel, in address order.  ``window`` is that of ``program``, one of ``user``, if it has no
    markers of its own.  Raises ``ArtifactCorrupt`` if a file is not what it should be, if two lie at the same
    addresses, or if nothing can be hooked in the kernel; ``UsageError`` if the window's symbols are nowhere.
    """
    rules, code = load_rules(kind), Code(kernel_elf)
    kernel = Kernel(SymbolTable.load(kernel_symbols), kernel_symbols, code)
    parts = [_user_part(one) for one in user]
    finder = find(rules, kernel, syscalls)
    places = finder.places
    if not places:
        raise ArtifactCorrupt(f"nothing in {kernel_elf.name} could be hooked", hint=f"is it a {kind} kernel?")
    hooks = Hooks(not_hooked=finder.missing, outside=NOWHERE if "vdso" in rules else VDSO)
    layers = kernel_layers(kernel.table.names)
    parts.append(_Part(kernel_elf.name, kernel.table, [("kernel", str(layer)) for layer in layers]))
    for part in parts if libc_in_kernel else parts[:-1]:
        _add_operations(places, part, operations, results)
    if "vdso" in rules:
        parts += _vdso(finder, rules["vdso"])
    hooks.objects = Objects([objects.load(kernel_symbols), *(objects.load(one.elf, one.base) for one in user)])
    lines = _functions(hooks, parts)
    for address, place in sorted(places.items()):
        lines.append(f"h {place.kind} {address:x} {hooks.number(place.name)} {place.disp}")
        if place.source:
            lines.append(f"v {address:x} {' '.join(map(str, place.source))}")
        hooks.kinds.append(place.kind)
    if rules["lock"].get("by_pointer"):
        lines += _variables(user)
    name_at = names.find(finder, rules.get("name", []))
    if name_at is not None:
        lines.append(f"n {name_at}")
    if window is None and rules.get("window", {}).get("processes", False):
        lines += [f"w thread {hooks.number(name)}" for name in _THREAD_MAKERS]
    lines += [f"u {hooks.number(operation)}" for operation in rules["lock"].get("of_app", []) if libc_in_kernel]
    lines += [f"s {what} {address:x}" for what, address in signals(finder, rules)]
    if window is not None:
        lines += _window(hooks, window, kind, parts, next(one for one in user if one.elf == program), user)
    first, last = address_range(rules, code)
    head = f"weaklink-exec 2 {len(hooks.functions)} {len(places)} {first:x} {last:x}"
    config.write_text("\n".join([head, *lines, ""]), encoding="ascii")
    return hooks


def _variables(user: Sequence[UserCode]) -> list[str]:
    """Give the lines that say where the app's own variables are: they may point at its locks."""
    own = [(one.base, Code(one.elf).writable) for one in user if one.own is None or one.own]
    ranges = [(base + start, base + end) for base, writable in own for start, end in writable]
    return [f"o {start:x} {end:x}" for start, end in ranges[:_MOST_VARIABLES]]


def _window(
    hooks: Hooks, window: Window, kind: str, parts: Sequence[_Part], program: UserCode, user: Sequence[UserCode]
) -> list[str]:
    """Give the lines for a window; ``parts`` are those of ``user`` and then the kernel's."""
    tables = [part.table for part in parts[: len(user)]]
    first = user.index(program)
    return list(
        lines_of(
            window, kind=kind, kernel=parts[len(user)].table,
            program=[tables[first], *tables[:first], *tables[first + 1 :]],
            entry=program.base + Code(program.elf).entry, threads=[hooks.number(name) for name in _THREAD_MAKERS],
        )
    )  # fmt: skip


class _Part(NamedTuple):
    """The code of one file: its functions and (class, layer) of each; ``rest`` is what is in none of them."""

    name: str
    table: SymbolTable
    about: Sequence[tuple[str, str]]
    executable: Sequence[tuple[int, int]] = ()
    rest: tuple[str, str] = ("", "")


def _user_part(user: UserCode) -> _Part:
    table = SymbolTable.from_elf(user.elf, may_be_stripped=True).moved(user.base)
    about = []
    for index, name in enumerate(table.names):
        mine = user.own is None or not user.own.isdisjoint(table.aliases(index))
        layer = "user" if mine else "libc"
        about.append(("stub" if name.startswith(_JUMP_STUBS) else "app" if mine else "libc", layer))
    executable = [(start + user.base, end + user.base) for start, end in Code(user.elf).executable]
    rest = ("app", "user") if user.own is None else ("libc", "libc")
    return _Part(user.elf.name, table, about, executable, rest)


def _vdso(finder: Finder, symbol: str) -> list[_Part]:
    """Give the functions of a vDSO that is an ELF file in the kernel's data, used where it lies."""
    kernel = finder.kernel
    place = find_data(kernel.symbols, symbol)
    if place is None:
        finder.lacks(f"vdso {symbol}", NO_SYMBOL)
        return []
    image = kernel.code.read(place[0], _LARGEST_VDSO)
    table = SymbolTable.from_elf(kernel.symbols, image).moved(place[0])
    return [_Part(symbol, table, [("vdso", "time")] * len(table))]


def _add_operations(
    places: dict[int, Place], part: _Part, operations: Mapping[str, str], results: Mapping[str, str]
) -> None:
    """Hook the functions that are operations, unless they are the app's own or there is another hook already."""
    for index in range(len(part.table)):
        name = next((name for name in part.table.aliases(index) if name in operations), None)
        if name and part.about[index][0] != "app":
            place = Place("op", operations[name], RESULTS.index(results.get(name, "nothing")))
            places.setdefault(int(part.table.address[index]), place)


class _Piece(NamedTuple):
    first: int
    end: int
    whole: bool  # begins where its function does
    function: tuple[str, str, str]
    file: str


def _functions(hooks: Hooks, parts: Iterable[_Part]) -> list[str]:
    """Give the lines of all functions in order of address; capitals mark pieces that are not a function's beginning."""
    found: list[_Piece] = []
    for part in parts:
        start, end, owner = part.table.pieces()
        whole = part.table.address[owner] == start
        found += [
            _Piece(first, last, begins, (part.table.names[index], *part.about[index]), part.name)
            for first, last, begins, index in zip(
                start.tolist(), end.tolist(), whole.tolist(), owner.tolist(), strict=True
            )
        ]
        gaps = _gaps(part.executable, start.tolist(), end.tolist())
        found += [_Piece(*gap, False, ("[unknown]", *part.rest), part.name) for gap in gaps]
    found.sort()
    for before, after in pairwise(found):
        if after.first < before.end:
            raise ArtifactCorrupt(
                f"{before.file} and {after.file} lie at the same addresses", hint="is that where they are loaded?"
            )
    hooks.functions = [piece.function for piece in found]
    return [f"f {piece.first:x} {piece.end - piece.first:x} {_letters(piece)}" for piece in found]


def _letters(piece: _Piece) -> str:
    _, kind, layer = piece.function
    return (kind[0] if piece.whole else kind[0].upper()) + ("d" if kind == "kernel" and layer in _OF_DEVICES else "")


def _gaps(ranges: Iterable[tuple[int, int]], start: Sequence[int], end: Sequence[int]) -> list[tuple[int, int]]:
    """Give what pieces, disjoint and in order, leave free of the ranges."""
    gaps = []
    for first, last in ranges:
        at = first
        for piece_start, piece_end in zip(start, end, strict=True):
            if piece_end > first and piece_start < last:
                gaps.append((at, piece_start))
                at = piece_end
        gaps.append((at, last))
    return [(gap_start, gap_end) for gap_start, gap_end in gaps if gap_start < gap_end]
