"""Tell the probe what it will see: the functions of kernel and app, and the places where something happens.

The configuration is a text file, one function or hook per line (read by plugin/config.c).  Names are numbers there;
``Hooks`` keeps what they mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from probes.exec.disassembly import Code
from probes.symbols import SymbolTable
from profiler.errors import ArtifactCorrupt

# The same in plugin/threads.h.
FIXED_NAMES: Final = ("", "user", "interrupt", "background", "[pending]", "syscall")
_SUFFIX: Final = re.compile(r"\.(constprop|isra|part|cold|lto_priv)(\.\d+)?")


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
    """(name, class, layer) of each function number; class is kernel, app or libc."""
    kinds: list[str] = field(default_factory=list)
    """The kind of each hook, in the order of the probe's ``fired``."""
    not_hooked: list[dict[str, str]] = field(default_factory=list)

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
    kernel_layers: Callable[[Sequence[str]], Iterable[str]],
) -> Hooks:
    """Write the probe's configuration for one kernel and what runs on it.

    ``user`` is the app and its libraries.  ``libc_in_kernel``: the app calls functions of the kernel's own, instead of
    those of a libc.  ``operations`` maps exported libc functions, ``syscalls`` system call names, to operations;
    ``kernel_layers`` gives the layers of all functions of a kernel, in address order.  Raises ``ArtifactCorrupt`` if a
    file is not what it should be, or if nothing at all can be hooked in the kernel.
    """
    kernel = SymbolTable.load(kernel_symbols)
    objects = [(code, SymbolTable.from_elf(code.elf).moved(code.base)) for code in user]
    hooks = Hooks()
    places: dict[int, tuple[str, int, int]] = {}
    _hook_kernel(hooks, places, kind, kernel, Code(kernel_elf), syscalls)
    if not places:
        raise ArtifactCorrupt(f"nothing in {kernel_elf.name} could be hooked", hint=f"is it a {kind} kernel?")
    tables = [(kernel, [("kernel", str(layer)) for layer in kernel_layers(kernel.names)])]
    for code, table in objects:
        own = [code.own is None or not code.own.isdisjoint(table.aliases(index)) for index in range(len(table))]
        tables.append((table, [("app", "user") if mine else ("libc", "libc") for mine in own]))
        _hook_operations(hooks, places, table, operations, {index for index, mine in enumerate(own) if mine})
    if libc_in_kernel:
        _hook_operations(hooks, places, kernel, operations, frozenset())
    lines = _functions(hooks, tables)
    lines += [f"h {kind} {address:x} {name} {disp}" for address, (kind, name, disp) in sorted(places.items())]
    hooks.kinds = [place[0] for _, place in sorted(places.items())]
    head = f"weaklink-exec 1 {len(hooks.functions)} {len(places)}"
    config.write_text("\n".join([head, *lines, ""]), encoding="ascii")
    return hooks


def _hook_operations(
    hooks: Hooks,
    places: dict[int, tuple[str, int, int]],
    table: SymbolTable,
    operations: Mapping[str, str],
    not_these: AbstractSet[int],
) -> None:
    """Hook the functions of a table that are operations, unless there is another hook already."""
    for index in range(len(table)):
        operation = next((operations[name] for name in table.aliases(index) if name in operations), None)
        if operation and index not in not_these:
            places.setdefault(int(table.address[index]), ("op", hooks.number(operation), 0))


def _functions(hooks: Hooks, tables: Iterable[tuple[SymbolTable, Sequence[tuple[str, str]]]]) -> list[str]:
    """Give the lines of all functions in order of address; capitals mark pieces that are not a function's beginning."""
    found = []
    for table, about in tables:
        start, end, owner = table.pieces()
        entry = table.address[owner] == start
        for first, size, index, whole in zip(
            start.tolist(), (end - start).tolist(), owner.tolist(), entry.tolist(), strict=True
        ):
            where, layer = about[index]
            letter = where[0] if whole else where[0].upper()
            found.append((first, f"f {first:x} {size:x} {letter}", (table.names[index], where, layer)))
    found.sort()
    hooks.functions = [function for _, _, function in found]
    return [line for _, line, _ in found]


def load_rules(kind: str) -> dict[str, Any]:
    """Read ``probes/maps/KIND/hooks.toml``."""
    return tomllib.loads((resources.files("probes.maps") / kind / "hooks.toml").read_text(encoding="utf-8"))


def _hook_kernel(
    hooks: Hooks,
    places: dict[int, tuple[str, int, int]],
    kind: str,
    kernel: SymbolTable,
    code: Code,
    syscalls: Mapping[str, str],
) -> None:
    rules = load_rules(kind)
    folded: dict[str, list[int]] = {}
    for index in range(len(kernel)):
        for alias in kernel.aliases(index):
            folded.setdefault(_SUFFIX.sub("", alias), []).append(index)

    def at(index: int) -> int:
        return int(kernel.address[index])

    def missing(what: str, reason: str) -> None:
        hooks.not_hooked.append({"what": what, "reason": reason})

    def hook_named(hook: str, names: Mapping[str, str]) -> None:
        for symbol, name in names.items():
            found = folded.get(symbol, [])
            if not found:
                missing(f"{hook} {symbol}", "no such symbol in this kernel")
            for index in found:
                if not kernel.names[index].endswith(".cold"):
                    places[at(index)] = (hook, hooks.number(name), 0)

    hook_named("syscall", dict.fromkeys(rules["syscall"], "syscall"))
    hook_named("fault", rules["fault"])
    hook_named("trap", rules["trap"])
    hook_named("timer", dict.fromkeys(rules["irq"]["timer"], "timer"))
    hook_named("lock", {symbol: symbol for symbol in rules["lock"]["functions"]})
    for hook, pattern in (("handler", rules["handlers"]), ("irq", rules["irq"]["functions"])):
        matches = [(match[1], indices) for name, indices in folded.items() if (match := re.fullmatch(pattern, name))]
        if not matches:
            missing(hook, f"no symbol matches {pattern}")
        for name, indices in matches:
            for index in indices:
                places[at(index)] = (hook, hooks.number(syscalls.get(name, name) if hook == "handler" else name), 0)
    for hook, tables in (("irq", rules["irq"]["tables"]), ("device", rules["irq"]["device_tables"])):
        for symbol, name in tables.items():
            for index in folded.get(symbol, []):
                for address in code.pushes(at(index), int(kernel.size[index])):
                    places[address] = (hook, hooks.number(name), 0)
            if symbol not in folded:
                missing(f"{hook} {symbol}", "no such symbol in this kernel")
    for hook, candidates in rules["access"].items():
        for candidate in candidates:
            access = None
            for index in folded.get(candidate["function"], []):
                access = access or code.first_access(at(index), int(kernel.size[index]), candidate["argument"])
            if access:
                places[access.address] = (hook, 0, access.disp)
                break
        else:
            tried = ", ".join(candidate["function"] for candidate in candidates)
            missing(hook, f"no access through the task in {tried}")
