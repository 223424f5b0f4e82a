"""From a function's name to the layer where its work is done."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from probes.events import LAYERS
from probes.maps.index import NO_SOURCE, Sources, fold
from probes.maps.rules import Rules, expand
from probes.names import readable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNATTRIBUTED: Final = "unattributed"

PSEUDO: Final = {"[vdso]": "time", "[idle]": "idle", "[device-wait]": "device-wait", "[unknown]": UNATTRIBUTED}
"""Functions that are no symbols."""


class Map:
    """The layers of one kind of kernel.  Made by ``probes.maps.load``; a subclass says how a name is decided.

    ``sha256`` is the digest of everything that decides: rules, index, layers, operations, places to look at.
    ``sources`` is empty for kinds that have no index of sources.
    """

    def __init__(self, rules: Rules, sources: Sources, digested: Iterable[bytes]) -> None:
        """Keep what decides, and digest it."""
        self.rules = rules
        self.sources = sources
        self._known: dict[str, str] = {}
        digest = hashlib.sha256()
        for part in (" ".join(LAYERS).encode(), repr(sorted(PSEUDO.items())).encode(), *digested):
            digest.update(hashlib.sha256(part).digest())
        self.sha256 = digest.hexdigest()

    def explain(self, name: str) -> tuple[str, str, str]:
        """Return (layer, the rule that decided, the source file or files) of a kernel function or pseudo-function."""
        if name in PSEUDO:
            return PSEUDO[name], "pseudo-function", ""
        return self._decide(name)

    def _decide(self, name: str) -> tuple[str, str, str]:
        raise NotImplementedError

    def layer(self, name: str) -> str:
        """Return the layer of one kernel function or pseudo-function."""
        if (layer := self._known.get(name)) is None:
            layer = self.explain(name)[0]
            if len(self._known) < 1 << 18:  # names come from guests: do not let them fill memory
                self._known[name] = layer
        return layer

    def layers(self, names: Sequence[str]) -> npt.NDArray[np.str_]:
        """Return the layer of each name: one dictionary look-up per name once it has been seen."""
        import numpy as np

        width = max(map(len, LAYERS))
        return np.fromiter((self.layer(name) for name in names), dtype=f"<U{width}", count=len(names))

    def shared(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of the names whose work is their caller's, where it is known who called them."""
        match = re.compile("|".join(map(fnmatch.translate, self.rules.shared)) or "(?!)").match
        return frozenset(name for name in names if match(fold(name)) or match(readable(name)))

    def layers_by_address(self, names: Sequence[str]) -> npt.NDArray[np.str_]:
        """Return the layer of each name of a whole symbol table in order of address."""
        return self.layers(names)


class SourceMap(Map):
    """A map by rules on source files, with an index that says in which file each function is."""

    def __init__(self, rules: Rules, sources: Sources, digested: Iterable[bytes]) -> None:
        """Join rules and sources.  Raises WeaklinkError where a pattern is too wide or two patterns disagree."""
        super().__init__(rules, sources, digested)
        self._patterns = expand(rules, sources)

    def _decide(self, name: str) -> tuple[str, str, str]:
        base = fold(name)
        candidates = self.sources.get(base, ())
        where = ", ".join(candidates)
        for symbol in (name, base):
            if symbol in self.rules.symbols:
                return self.rules.symbols[symbol], f"symbol {symbol}", where
        if base in self._patterns:
            return *self._patterns[base], where
        decided = [self.rules.of_source(path) for path in candidates]
        layers = {found[0] if found else UNATTRIBUTED for found in decided}
        if len(layers) == 1 and decided[0]:
            return *decided[0], where
        if not candidates or candidates == (NO_SOURCE,):
            return UNATTRIBUTED, "no source", where
        return UNATTRIBUTED, f"sources disagree: {' '.join(sorted(layers))}" if len(layers) > 1 else "no rule", where

    def layers_by_address(self, names: Sequence[str]) -> npt.NDArray[np.str_]:
        """Return the layer of each name of a whole symbol table in order of address.

        Better than ``layers`` for names that several files use for functions of their own: a compilation unit's
        functions lie together, so of the candidates the file of the nearest unmistakable neighbours is taken.
        """
        found = self.layers(names)
        certain = [len(self.sources.get(fold(name), ())) == 1 for name in names]
        for at in (found == UNATTRIBUTED).nonzero()[0].tolist():
            candidates = self.sources.get(fold(names[at]), ())
            if len(candidates) < 2:
                continue
            before = next((names[i] for i in range(at - 1, -1, -1) if certain[i]), "")
            after = next((names[i] for i in range(at + 1, len(names)) if certain[i]), "")
            near = {path for name in (before, after) for path in self.sources.get(fold(name), ())} & set(candidates)
            layers = {decided[0] for path in near if (decided := self.rules.of_source(path))}
            if len(layers) == 1:
                found[at] = layers.pop()
        return found
