"""Where something happens in a kernel: what ``probes/maps/KIND/hooks.toml`` describes, found in one kernel's code.

What a rule does not find is listed as missing, with the reason; nothing is hooked on a guess.  Names are symbols as the
linker has them, without suffixes of the compiler's; of a list, all that exist are hooked.  The rules:

    syscall = [NAME]            where system calls enter
    syscall_exit = [NAME]       functions that leave them by their one jump through a register; SYSRET and IRET are seen
    handlers = REGEX            one function per call, the group is its name
    handlers_in = NAME          of these only those that a variable of the kernel's, a table, points at
    handlers_switch = NAME      or one function, whose first switch statement goes by the number of Linux's x86-64 ABI
    results = "carry"           a system call that failed sets the carry flag; without it, it returns -4095 to -1
    [results_of]                NAME = "error": calls that return an error number instead
    kernel_range = "elf"        the kernel is where its file is loaded; without it, the upper half of the addresses
    vdso = NAME                 the vDSO is an ELF file in the kernel's data, used in place; without it, one is mapped
    [fault], [trap]             NAME = OPERATION: entries of exceptions that run their instruction again, and of others
    [irq]
      functions, devices        REGEX: entries of interrupts, the group is the name; those of devices
      tables, device_tables     NAME = EVENT: arrays of stubs, each a push and a jump
      timer = [NAME]            handlers of timers, by whatever interrupt they are called
      ipi = REGEX               of the names of ``functions``, those by which one vCPU interrupts another
    [lock], [packet]            see probes/exec/waits.py
    [switch]                    see probes/exec/stops.py
    [access]                    switch-out, switch-in, wake, new, ready = [RULE, ...]: the first that fits is taken
      function = NAME           where the first access to the thread's object is looked for (probes/exec/access.py):
      argument = N              the object is this argument (0 is the first)
      pointee = BYTES           or what it points at has the object's address there
      tls = NAME                or this thread-local variable has it
      after = KIND              only what comes after that kind's place, found before, counts
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any, Final

from probes.events import HOWS
from probes.exec import stops, waits
from probes.exec.access import Source, first_access
from probes.exec.disassembly import Code
from probes.exec.finder import NO_SYMBOL, Finder, Kernel, Place
from probes.maps import vocabulary
from probes.symbols import find_data

_UPPER_HALF: Final = (1 << 63, (1 << 64) - 1)
# How a function of libc, or a system call, says that it failed: enum result of plugin/results.h.
RESULTS: Final = (*vocabulary.RESULTS, "negative", "carry")


def load_rules(kind: str) -> dict[str, Any]:
    """Read ``probes/maps/KIND/hooks.toml``."""
    return tomllib.loads((resources.files("probes.maps") / kind / "hooks.toml").read_text(encoding="utf-8"))


def address_range(rules: Mapping[str, Any], code: Code) -> tuple[int, int]:
    """Give the first and the last address that is the kernel's, whether a function is known there or not."""
    return (code.first, code.last) if rules.get("kernel_range") == "elf" else _UPPER_HALF


def find(rules: Mapping[str, Any], kernel: Kernel, syscalls: Mapping[str, str]) -> Finder:
    """Find the places, and note what is missing; ``syscalls`` maps system call names to operations."""
    finder = _Finder(kernel, syscalls)
    finder.system_calls(rules)
    finder.named("fault", rules["fault"])
    finder.named("trap", rules["trap"])
    finder.interrupts(rules["irq"])
    waits.locks(finder, rules["lock"])
    waits.packets(finder, rules.get("packet", {}))
    stops.find(finder, rules.get("switch", {}))
    finder.threads(rules["access"])
    return finder


def signals(finder: Finder, rules: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Give where user code is interrupted by a signal ("begin"), and goes on behind it ("end")."""
    found = []
    for what, symbols in rules.get("signals", {}).items():
        there = [(what, address) for symbol in symbols for address in finder.entries(symbol)]
        if not there:
            finder.lacks(f"signals {what}", f"no symbol is {' or '.join(symbols)}")
        found += there
    return found


class _Finder(Finder):
    def __init__(self, kernel: Kernel, syscalls: Mapping[str, str]) -> None:
        super().__init__(kernel)
        self.syscalls = syscalls
        self.result, self.results, self.ipi = "negative", dict[str, str](), ""

    def named(self, kind: str, names: Mapping[str, str], disp: int = 0) -> None:
        for symbol, name in names.items():
            if symbol not in self.folded:
                self.lacks(f"{kind} {symbol}", NO_SYMBOL)
            for address in self.entries(symbol):
                self.places[address] = Place(kind, name, disp)

    def matching(self, kind: str, pattern: str, name_of: Callable[[str], str], only: frozenset[int] | None) -> None:
        """Hook the functions whose name matches, and of them only those at the addresses given."""
        matches = [(match[1], symbol) for symbol in self.folded if (match := re.fullmatch(pattern, symbol))]
        found = [
            (name, at) for name, symbol in matches for at, _ in self.functions(symbol) if only is None or at in only
        ]
        if not found:
            self.lacks(kind, f"no symbol matches {pattern}")
        for name, address in found:
            self.places[address] = Place(kind, name_of(name), self._class(kind, name))

    def _class(self, kind: str, name: str) -> int:
        if kind == "handler":
            return self._result(name)
        return HOWS.index("device" if kind == "device" else "ipi" if re.fullmatch(self.ipi, name) else "")

    def system_calls(self, rules: Mapping[str, Any]) -> None:
        self.results = rules.get("results_of", {})
        self.result = rules.get("results", "negative")
        self.named("syscall", dict.fromkeys(rules["syscall"], "syscall"), self._result(""))
        for symbol in rules.get("syscall_exit", []):
            jumps = [jump for at, size in self.functions(symbol) for jump in self.code.register_jumps(at, size)]
            if len(jumps) == 1:
                self.places[jumps[0]] = Place("syscall-exit")
            else:
                self.lacks(f"syscall-exit {symbol}", f"{len(jumps)} jumps through a register in it, not one")
        if pattern := rules.get("handlers"):
            self.matching("handler", pattern, self._operation, self._table(rules.get("handlers_in")))
        if symbol := rules.get("handlers_switch"):
            self._switch(symbol)

    def _operation(self, syscall: str) -> str:
        return self.syscalls.get(syscall, syscall)

    def _result(self, syscall: str) -> int:
        return RESULTS.index(self.results.get(syscall, self.result))

    def _table(self, symbol: str | None) -> frozenset[int] | None:
        """Give the addresses that a variable of the kernel's holds; None if there is no such rule."""
        if not symbol:
            return None
        table = find_data(self.kernel.symbols, symbol)
        if table is None:
            self.lacks(f"handler {symbol}", NO_SYMBOL)
        return frozenset(self.code.words(*table) if table else ())

    def _switch(self, symbol: str) -> None:
        """Hook the cases of the switch statement that all system calls go through, by the ABI's numbers."""
        cases = next((found for at, size in self.functions(symbol) if (found := self.code.cases(at, size))), {})
        if not cases:
            self.lacks("handler", f"{symbol} has no jump table" if symbol in self.folded else NO_SYMBOL)
        names = _syscall_names()
        targets = list(cases.values())
        for number, address in cases.items():
            if number in names and targets.count(address) == 1:
                self.places[address] = Place("handler", self._operation(names[number]), self._result(names[number]))
            else:
                self.lacks(f"handler of system call {number}", "its place is another's too, or it has no name")

    def interrupts(self, rules: Mapping[str, Any]) -> None:
        self.named("timer", dict.fromkeys(rules["timer"], "timer"))
        self.ipi = rules.get("ipi", "")
        for kind, key in (("irq", "functions"), ("device", "devices")):
            if pattern := rules.get(key):
                self.matching(kind, pattern, str, None)
        for kind, key in (("irq", "tables"), ("device", "device_tables")):
            for symbol, name in rules.get(key, {}).items():
                if symbol not in self.folded:
                    self.lacks(f"{kind} {symbol}", NO_SYMBOL)
                for address, size in self.functions(symbol):
                    place = Place(kind, name, self._class(kind, name))
                    self.places |= dict.fromkeys(self.code.stubs(address, size), place)

    def threads(self, rules: Mapping[str, Any]) -> None:
        found: dict[str, tuple[int, Place]] = {}
        for kind, candidates in rules.items():
            place = next((place for rule in candidates if (place := self._access(kind, rule, found))), None)
            if place:
                found[kind] = place
            else:
                self.lacks(kind, f"no access through the task in {_functions_of(candidates)}")
        one = {"switch-out", "switch-in"} & found.keys()
        if len(one) == 1:  # half of a switch would give threads other threads' work
            half = one.pop()
            del found[half]
            self.lacks(half, "the other half of the switch was not found")
        self.places |= dict(found.values())

    def _access(
        self, kind: str, rule: Mapping[str, Any], found: Mapping[str, tuple[int, Place]]
    ) -> tuple[int, Place] | None:
        after = 0
        if "after" in rule:
            if rule["after"] not in found:
                return None
            after = found[rule["after"]][0]
        tls = None
        if "tls" in rule:
            variable = find_data(self.kernel.symbols, rule["tls"])
            if variable is None:
                return None
            tls = variable[0] - self.code.tls_size  # ELF TLS, variant II: the block ends where %fs points
        source = Source(rule.get("argument"), rule.get("pointee"), tls)
        for address, size in self.functions(rule["function"]):
            if access := first_access(self.code, address, size, source, after=after):
                return access.address, Place(kind, "", access.disp)
        return None


def _functions_of(candidates: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(rule["function"] for rule in candidates)


def _syscall_names() -> dict[int, str]:
    """Give number -> name of the x86-64 Linux ABI's system calls."""
    text = (resources.files("probes.maps") / "syscalls-x86_64.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(text).items()
    return {number: name for first, names in lists for number, name in enumerate(names, start=int(first))}
