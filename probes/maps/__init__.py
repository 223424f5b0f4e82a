"""What a kernel's functions belong to, as data: symbol -> layer, and the vocabulary of operations.

A kind of kernel is a folder here with ``layers.toml`` (rules) and ``sources.tsv.gz`` (symbol -> source file).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from probes.maps.index import invert, unpack
from probes.maps.layers import Map
from probes.maps.rules import parse
from probes.maps.vocabulary import Operations, operations
from profiler.errors import WeaklinkError

__all__ = ["Map", "Operations", "kinds", "load", "operations"]


def kinds() -> list[str]:
    """Return the kinds of kernels that there are maps for."""
    return sorted(entry.name for entry in files(__package__).iterdir() if (entry / "layers.toml").is_file())


@lru_cache(maxsize=4)
def load(kind: str) -> Map:
    """Return the map of a kind of kernel, such as ``linux``.  Takes about 0.1 s the first time.

    Raises WeaklinkError where there is no such kind, or its rules are wrong.
    """
    if kind not in kinds():
        raise WeaklinkError(f"no map for kernels of kind {kind!r}", hint=f"there are maps for: {', '.join(kinds())}")
    folder = files(__package__) / kind
    rules, index = (folder / "layers.toml").read_bytes(), (folder / "sources.tsv.gz").read_bytes()
    try:
        sources = invert(unpack(index)[0])
    except ValueError as error:
        raise WeaklinkError(f"{kind}: {error}") from error
    vocabulary = (files(__package__) / "operations.toml").read_bytes()
    return Map(parse(rules.decode()), sources, (rules, index, vocabulary))
