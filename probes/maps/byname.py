"""Maps for kernels without an index of sources: rules on the names of functions alone.

The name of a C++ function is its qualified one, as in ``sched::cpu::schedule`` (``probes.names``).  A pattern may be as
wide as a subsystem; of those that match, the one with the longest beginning before its first wildcard decides.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import Final

from probes import names
from probes.maps.index import fold
from probes.maps.layers import UNATTRIBUTED, Map
from probes.maps.rules import Rules
from profiler.errors import ToolMissing, WeaklinkError

_WILD: Final = re.compile(r"[*?[]")
_LIBRARY: Final = ("std::", "boost::", "__gnu_cxx::")
_NAME: Final = re.compile(r"[A-Za-z_]\w*(?:::~?[A-Za-z_]\w*)*")


class NameMap(Map):
    """A map by rules on names."""

    def __init__(self, rules: Rules, digested: Iterable[bytes]) -> None:
        """Sort the patterns.  Raises WeaklinkError for rules of sources, which could never match."""
        super().__init__(rules, {}, digested)
        if rules.files or rules.directories:
            raise WeaklinkError("rules of files and directories mean nothing without an index of sources")
        self._patterns: dict[str, list[tuple[re.Pattern[str], str, str]]] = {}
        for pattern, layer in rules.patterns.items():
            beginning = _WILD.split(pattern, maxsplit=1)[0]
            matcher = re.compile(fnmatch.translate(pattern))
            self._patterns.setdefault(beginning, []).append((matcher, pattern, layer))
        self._lengths: dict[str, list[int]] = {}  # by the first letter: most patterns are out of the question at once
        for first in {beginning[:1] for beginning in self._patterns}:
            lengths = {len(beginning) for beginning in self._patterns if not beginning or beginning[:1] == first}
            self._lengths[first] = sorted(lengths, reverse=True)

    def _decide(self, name: str) -> tuple[str, str, str]:
        base = name if name.startswith("[") else fold(name)  # [.plt] is a section's stubs
        if base.startswith(names.MANGLED) and not names.can_demangle():
            raise ToolMissing("this machine cannot demangle C++ names", hint="apt-get install libstdc++6")
        shown = names.readable(base)
        for symbol in (name, base, shown):
            if symbol in self.rules.symbols:
                return self.rules.symbols[symbol], f"symbol {symbol}", ""
        tried = [base, shown] if shown != base else [shown]
        if shown.startswith(_LIBRARY):  # a template of a library belongs to whoever made an instance of it
            for argument in _arguments(names.full(base)):
                if argument in self.rules.symbols:
                    return self.rules.symbols[argument], f"symbol {argument} in {shown}", ""
                if (found := self._by_pattern(argument)) is not None:
                    return found[0], f"{found[1]} in {shown}", ""
        for symbol in tried:
            if (found := self._by_pattern(symbol)) is not None:
                return *found, ""
        return UNATTRIBUTED, "no rule", ""

    def _by_pattern(self, symbol: str) -> tuple[str, str] | None:
        """Return (layer, rule) of the most specific pattern; unattributed where two of the same rank disagree."""
        for length in self._lengths.get(symbol[:1], self._lengths.get("", [])):
            if (candidates := self._patterns.get(symbol[:length])) is None:
                continue
            hits = [
                (len(_WILD.sub("", pattern)), pattern, layer)
                for matcher, pattern, layer in candidates
                if matcher.match(symbol)
            ]
            if hits:
                best = [hit for hit in hits if hit[0] == max(hits)[0]]
                if len({layer for _, _, layer in best}) > 1:
                    return UNATTRIBUTED, "patterns disagree: " + " ".join(sorted(pattern for _, pattern, _ in best))
                return best[0][2], f"pattern {best[0][1]}"
        return None


def _arguments(text: str) -> Iterator[str]:
    """Yield the names in a demangled name that are no library's, from the left."""
    return (found for found in _NAME.findall(text) if not found.startswith(_LIBRARY))
