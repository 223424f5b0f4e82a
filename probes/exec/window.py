"""The window of a program that has no markers of its own: what opens it, what closes it, and how the probe is told.

As text it is ``START[..END]``: START is ``exec`` (the program's first instruction), ``console:REGEX`` (a line that the
guest writes) or ``symbol:NAME`` (a function's first execution); END is ``exit``, the default, or one of the latter two.
``marker`` alone leaves it to the program, which includes ``probes/marker.h``.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.exec import files
from probes.exec.places import load_rules
from probes.symbols import SymbolTable
from profiler.errors import UsageError, WindowMissed

GRAMMAR: Final = "write START[..END], as in exec..exit, console:Ready..console:done or symbol:work; or marker"
_START: Final = r"exec|console:.+?|symbol:.+?"  # as little as can be: the first `..` before an END ends it
_END: Final = r"exit|console:.+|symbol:.+"
_WINDOW: Final = re.compile(rf"({_START})(?:\.\.({_END}))?")
_SYMBOL: Final = re.compile(r"[A-Za-z_.$][A-Za-z0-9_.$@]{0,199}")
_LONGEST_PATTERN: Final = 200
_MOST_PLACES: Final = 12  # of one end; both and what arms the probe have to be among TRIGGERS, plugin/config.h
_SECONDS: Final = 10
_HINTS: Final = {
    "exec": "the console says how far the guest came",
    "exit": "a server that does not end by itself wants a client (--with) that ends it",
    "console": "look at the console for the line: it must be whole, and after the program began",
    "symbol": "perhaps it is inlined, or not called with these arguments",
}


@dataclass(frozen=True)
class Trigger:
    """What opens or closes a window: ``kind`` is exec, exit, console or symbol, ``what`` the regex or name."""

    kind: str
    what: str = ""

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.kind}:{self.what}" if self.what else self.kind


@dataclass(frozen=True)
class Window:
    """When counting begins and when it ends."""

    opens: Trigger = Trigger("exec")
    closes: Trigger = Trigger("exit")

    @classmethod
    def parse(cls, text: str) -> Window | None:
        """Read it as text, None for ``marker``; ``UsageError`` says what is wrong with it."""
        if text == "marker":
            return None
        found = _WINDOW.fullmatch(text)
        if found is None:
            raise UsageError(f"{text[:80]!r} is no window", hint=GRAMMAR)
        return cls(_trigger(found[1]), _trigger(found[2] or "exit"))

    @property
    def listens(self) -> bool:
        """Whether the probe has to read what the guest writes on its console."""
        return "console" in (self.opens.kind, self.closes.kind)

    def __str__(self) -> str:
        """As it is written, both ends."""
        return f"{self.opens}..{self.closes}"


def _trigger(text: str) -> Trigger:
    kind, _, what = text.partition(":")
    if kind == "symbol" and not _SYMBOL.fullmatch(what):
        raise UsageError(f"{what[:80]!r} is no name of a function", hint=GRAMMAR)
    if kind == "console":
        _check_pattern(what)
    return Trigger(kind, what)


def _check_pattern(pattern: str) -> None:
    """Hold a regular expression against the C library's, which the probe uses, through ``grep -E``."""
    if not pattern.isascii() or not pattern.isprintable() or len(pattern) > _LONGEST_PATTERN:
        raise UsageError(
            f"{pattern[:60]!r} cannot be looked for on the console",
            hint=f"use at most {_LONGEST_PATTERN} printable ASCII characters",
        )
    try:
        done = subprocess.run(
            ["grep", "-E", "-e", pattern, "/dev/null"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # the probe says so itself, later and less clearly
    if done.returncode > 1:
        said = done.stderr.strip().removeprefix("grep: ")[:200]
        raise UsageError(
            f"{pattern!r} is no regular expression: {said}", hint="write it as for grep -E (POSIX extended)"
        )


def lines(
    window: Window, *, kind: str, kernel: SymbolTable, program: Sequence[SymbolTable], entry: int,
    threads: Sequence[int],
) -> Iterator[str]:  # fmt: skip
    """Give the lines of the probe's configuration for a window.

    ``program``: the functions of the program and then of its libraries, where they are loaded; ``entry``: the address
    of its first instruction; ``threads``: the numbers of the operations that make a thread of the same process.
    Raises ``UsageError`` for a symbol that is nowhere, or at more places than the probe can watch.
    """
    begins = sorted({entry, *_addresses("main", program[:1])})  # a kernel that is the loader may begin with main()
    for address in begins:
        yield f"w arm {address:x}"
    for verb, trigger in (("open", window.opens), ("close", window.closes)):
        if trigger.kind == "console":
            yield f"w {verb} line {trigger.what}"
        elif trigger.kind == "exec":
            yield from (f"w {verb} at {address:x}" for address in begins)
        elif trigger.kind == "symbol":
            found = _addresses(trigger.what, [*program, kernel])
            if not found:
                raise UsageError(
                    f"no function {trigger.what} in the program, its libraries or the kernel",
                    hint="is the program stripped? `nm -D PROGRAM` lists what is left",
                )
            if len(found) > _MOST_PLACES:
                raise UsageError(
                    f"there are {len(found)} functions {trigger.what}", hint="name a function that is there once"
                )
            yield from (f"w {verb} at {address:x}" for address in found)
        else:
            yield from _exits(kind, kernel, threads)


def _exits(kind: str, kernel: SymbolTable, threads: Sequence[int]) -> Iterator[str]:
    """Give the places where a program ends, which the kind's hooks.toml names, and how its threads are told."""
    rules = load_rules(kind).get("window", {})
    for name in rules.get("exit", []):
        yield from (f"w close exit {address:x}" for address in _addresses(name, [kernel]))
    if rules.get("processes", False):
        yield from (f"w thread {number}" for number in threads)


def _addresses(name: str, tables: Sequence[SymbolTable]) -> list[int]:
    """Give where the functions of a name begin, in the first table that has any."""
    found = next((indices for table in tables if (indices := [(table, at) for at in table.find(name)])), [])
    return sorted({int(table.address[index]) for table, index in found})


def missed(window: Window | None, out: Path) -> WindowMissed | None:
    """Give the failure, if the window did not open or close in the run whose probe wrote to ``out``."""
    if window is None:
        return None
    try:
        state = files.summary(out)["window"]
        armed, opened, closed = (state[name] is True for name in ("armed", "opened", "closed"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # the decoder says what is wrong with it
    if not armed:
        return WindowMissed(
            "the program's first instruction was never executed", hint="the console says how far it came"
        )
    if not opened:
        return WindowMissed(f"the window never opened: {window.opens} did not happen", hint=_HINTS[window.opens.kind])
    if not closed:
        return WindowMissed(f"the window never closed: {window.closes} did not happen", hint=_HINTS[window.closes.kind])
    return None
