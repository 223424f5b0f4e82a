"""Rules as data: which layer a symbol, a source file or a source directory belongs to.

A rule file is TOML with one table per layer, holding the lists ``symbols``, ``patterns`` (shell patterns of symbols),
``files`` and ``directories``.  The most specific kind wins, in that order; of directories the longest.  A line
``include = ["FILE", ...]`` before the tables adds the rules of other files in the folder of maps.
"""

from __future__ import annotations

import fnmatch
import glob
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final, cast

from probes.events import LAYERS
from probes.maps.index import Sources
from profiler.errors import WeaklinkError

PATTERN_LIMIT: Final = 200
"""No pattern may match more symbols than this: a rule that wide is a guess about names, not knowledge of sources."""

_HEAD: Final = ("include", "top", "elsewhere", "several", "shared")  # what is no layer
_KINDS: Final = ("symbols", "patterns", "files", "directories")


@dataclass(frozen=True)
class Rules:
    """Each kind of rule: what it matches -> layer."""

    symbols: dict[str, str]
    patterns: dict[str, str]
    files: dict[str, str]
    directories: dict[str, str]
    shared: tuple[str, ...] = ()
    """Shell patterns of functions that many share: see docs/stacks.md."""

    def of_source(self, path: str) -> tuple[str, str] | None:
        """Return (layer, rule) of a source file, or None where no rule knows it."""
        if path in self.files:
            return self.files[path], f"file {path}"
        folder = path
        while "/" in folder:
            folder = folder[: folder.rindex("/")]
            if (layer := self.directories.get(folder + "/")) is not None:
                return layer, f"directory {folder}/"
        return None


def included(text: str) -> list[str]:
    """Return the names of the files that a rule file includes.  Raises WeaklinkError where it is not a list of text."""
    names = _toml(text).get("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise WeaklinkError("what the rules include is not a list of text")
    return cast(list[str], names)


def _shared(*texts: str) -> tuple[str, ...]:
    """Return the shell patterns of the functions that many share: lists ``symbols`` and ``patterns`` of ``[shared]``.

    Raises WeaklinkError for anything but lists of text.
    """
    found: list[str] = []
    for text in texts:
        table = _toml(text).get("shared", {})
        for kind, entries in table.items() if isinstance(table, dict) else [("", None)]:
            if kind not in ("symbols", "patterns") or not isinstance(entries, list):
                raise WeaklinkError("[shared] is not lists of symbols and patterns")
            for entry in entries:
                if not isinstance(entry, str) or not entry:
                    raise WeaklinkError(f"{kind} of [shared] is not a list of text")
                found.append(glob.escape(entry) if kind == "symbols" else entry)
    return tuple(found)


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WeaklinkError(f"the rules of layers are not TOML: {error}") from error


def parse(*texts: str) -> Rules:
    """Read one rule file, or several as if they were one.

    Raises WeaklinkError for an unknown layer or kind of rule, for anything but lists of text, and where something is
    said twice.
    """
    kinds: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
    tables = [item for text in texts for item in _toml(text).items() if item[0] not in _HEAD]
    for layer, table in tables:
        if layer not in LAYERS or layer == "unattributed":
            raise WeaklinkError(f"the rules name a layer that does not exist: {layer!r}")
        if not isinstance(table, dict):
            raise WeaklinkError(f"the rules of {layer} are not a table")
        for kind, entries in table.items():
            if kind not in kinds:
                raise WeaklinkError(f"the rules of {layer} have a kind that does not exist: {kind!r}")
            if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
                raise WeaklinkError(f"{kind} of {layer} is not a list of text")
            for entry in cast(list[str], entries):
                if entry in kinds[kind]:
                    raise WeaklinkError(f"{kind}: {entry!r} is in {kinds[kind][entry]} and again in {layer}")
                if (kind == "directories") != entry.endswith("/"):
                    raise WeaklinkError(f"{kind} of {layer}: {entry!r}: a directory, and nothing else, ends with /")
                kinds[kind][entry] = layer
    return Rules(**kinds, shared=_shared(*texts))


def expand(rules: Rules, sources: Sources) -> dict[str, tuple[str, str]]:
    """Return symbol -> (layer, rule) of everything that patterns match.

    Raises WeaklinkError for a pattern that matches more than PATTERN_LIMIT symbols, and where two patterns disagree.
    """
    found: dict[str, tuple[str, str]] = {}
    for pattern, layer in rules.patterns.items():
        matches = re.compile(fnmatch.translate(pattern)).match
        hits = [symbol for symbol in sources if matches(symbol)]
        if len(hits) > PATTERN_LIMIT:
            raise WeaklinkError(f"pattern {pattern!r} matches {len(hits)} symbols, more than {PATTERN_LIMIT}")
        for symbol in hits:
            if symbol in found and found[symbol][0] != layer:
                raise WeaklinkError(f"{symbol}: {found[symbol][1]} and pattern {pattern!r} disagree")
            found[symbol] = layer, f"pattern {pattern}"
    return found


def dead(rules: Rules, sources: Sources) -> list[str]:
    """Return the rules that match nothing in the index, as text."""
    paths = {path for candidates in sources.values() for path in candidates}
    folders = {path[: at + 1] for path in paths for at in range(len(path)) if path[at] == "/"}
    return [
        *(f"symbol {symbol}" for symbol in rules.symbols if symbol not in sources),
        *(f"pattern {pattern}" for pattern in rules.patterns if not fnmatch.filter(sources, pattern)),
        *(f"file {path}" for path in rules.files if path not in paths),
        *(f"directory {folder}" for folder in rules.directories if folder not in folders),
    ]
