"""Where in a TOML document each key stands, which ``tomllib`` does not keep.

The document must be one that ``tomllib`` reads: what is left to do is to tell strings, comments and brackets apart.
Names of keys, with their quotes and escapes, are read by ``tomllib`` itself.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Any, Final

Path = tuple[str | int, ...]
"""The way to a value: names of keys, and indices from 0 into arrays."""

_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'  # up to two quotes more belong to what it says
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_NAME: Final = r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_KEY: Final = re.compile(rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*")
_SPACE: Final = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_EQUALS: Final = re.compile(r"[ \t]*=[ \t]*")
_BARE: Final = re.compile(r"[^,\]}#\n]+")  # a number, a date (which may hold a space), true, false
_HEADER: Final = re.compile(r"(\[\[?)[ \t]*")


class Places:
    """The lines of a document's keys, tables and elements."""

    def __init__(self, text: str) -> None:
        """Look through ``text``, which ``tomllib.loads`` must have read; ``ValueError`` if that was not so."""
        self._text = text.replace("\r\n", "\n")
        self._starts = [0, *(found.end() for found in re.finditer("\n", self._text))]
        self._lines: dict[Path, int] = {}
        self._last: dict[Path, int] = {}  # of arrays of tables: the index of the last one so far
        self._document()

    def line(self, path: Path) -> int:
        """Give the line, from 1, of the key or element at ``path``, else of the nearest that it would be in."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def paths(self) -> frozenset[Path]:
        """Give all that was found."""
        return frozenset(self._lines)

    def _document(self) -> None:
        table: Path = ()
        at = self._space(0)
        while at < len(self._text):
            header = _HEADER.match(self._text, at)
            if header:
                names, end = self._key(header.end())
                table = self._table(names, at, several=header[1] == "[[")
                at = self._text.index("]" * len(header[1]), end) + len(header[1])
            else:
                at = self._pair(table, at)
            at = self._space(at)

    def _table(self, names: Path, at: int, *, several: bool) -> Path:
        """Give the path of the table that a header opens: ``[[...]]`` another one of an array."""
        path: Path = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self._last:
                path = (*path, self._last[path])
        path = (*path, names[-1])
        if several:
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
        for length in range(1, len(path) + 1):
            self._mark(path[:length], at)
        return path

    def _pair(self, table: Path, at: int) -> int:
        names, end = self._key(at)
        for length in range(1, len(names) + 1):
            self._mark((*table, *names[:length]), at)
        equals = _EQUALS.match(self._text, end)
        if equals is None:
            raise ValueError("not a document that tomllib reads")
        return self._value((*table, *names), equals.end())

    def _value(self, path: Path, at: int) -> int:
        """Pass over a value, marking what is in it; where it ends."""
        self._mark(path, at)
        first = self._text[at : at + 1]
        if first in ("[", "{"):
            close, at, index = "]}"["[{".index(first)], self._space(at + 1), 0
            while self._text[at] != close:
                at = self._value((*path, index), at) if first == "[" else self._pair(path, at)
                at, index = self._space(at), index + 1
                if self._text[at] == ",":
                    at = self._space(at + 1)
            return at + 1
        found = (_STRING if first in ('"', "'") else _BARE).match(self._text, at)
        if found is None:
            raise ValueError("not a document that tomllib reads")
        return found.end()

    def _key(self, at: int) -> tuple[Path, int]:
        found = _KEY.match(self._text, at)
        if found is None:
            raise ValueError("not a document that tomllib reads")
        table: Any = tomllib.loads(f"{found[0]} = 0")
        names: list[str] = []
        while isinstance(table, dict):
            ((name, table),) = table.items()
            names.append(name)
        return tuple(names), found.end()

    def _mark(self, path: Path, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._starts, at))

    def _space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at
