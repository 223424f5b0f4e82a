"""What a kernel's functions belong to, as data: symbol -> layer, and the vocabulary of operations.

A kind of kernel is a folder here with ``layers.toml`` (rules), for Linux also ``sources.tsv.gz`` (symbol -> source
file).  Nothing extracted from OSv or FreeBSD is kept here: their rules are on the names of functions alone.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from probes.maps.byname import NameMap
from probes.maps.index import invert, unpack
from probes.maps.layers import Map, SourceMap
from probes.maps.rules import included, parse
from probes.maps.vocabulary import Operations, operations
from profiler.errors import UsageError, WeaklinkError

__all__ = ["Map", "Operations", "kinds", "load", "operations"]


def kinds() -> list[str]:
    """Return the kinds of kernels that there are maps for."""
    return sorted(entry.name for entry in files(__package__).iterdir() if (entry / "layers.toml").is_file())


@lru_cache(maxsize=4)
def load(kind: str) -> Map:
    """Return the map of a kind of kernel, such as ``linux``.  Takes about 0.1 s the first time.

    Raises UsageError where there is no such kind, WeaklinkError where its rules are wrong.
    """
    if kind not in kinds():
        raise UsageError(f"no map for kernels of kind {kind!r}", hint=f"there are maps for: {', '.join(kinds())}")
    folder = files(__package__) / kind
    rules = (folder / "layers.toml").read_bytes()
    shared = [_shared(name) for name in included(rules.decode())]
    known = parse(*(text.decode() for text in (rules, *shared)))
    # Where the probe looks decides as much as what it calls what it finds there.
    seen = [(folder / "hooks.toml").read_bytes(), *map(_shared, ("operations.toml", "syscalls-x86_64.toml"))]
    if not (folder / "sources.tsv.gz").is_file():
        return NameMap(known, (rules, *shared, *seen))
    index = (folder / "sources.tsv.gz").read_bytes()
    try:
        sources = invert(unpack(index)[0])
    except ValueError as error:
        raise WeaklinkError(f"{kind}: {error}") from error
    return SourceMap(known, sources, (rules, *shared, index, *seen))


def _shared(name: str) -> bytes:
    try:
        return (files(__package__) / name).read_bytes()
    except OSError as error:
        raise WeaklinkError(f"the rules include {name!r}, which is not there") from error
