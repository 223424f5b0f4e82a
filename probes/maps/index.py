"""The index of a kernel's functions: symbol -> the source files that define a function of that name.

On disk it is a deterministic gzip of lines ``path<TAB>symbol symbol ...``, sorted; lines that begin with ``#`` say
which kernels it was made from.  ``python -m probes.maps.sources`` makes it from DWARF.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from typing import Final

Sources = dict[str, tuple[str, ...]]
"""Folded symbol -> its source files, sorted.  More than one: statics of one name, or a function that has moved."""

NO_SOURCE: Final = "[no-source]"
"""The "file" of symbols that DWARF says nothing of, such as static calls' trampolines."""

_PREFIXES: Final = ("__pfx_", "__cfi_")
_LSM: Final = re.compile(r"lsm_static_call_(\w+)_[0-9]+")
_LIMIT: Final = 16 << 20  # bytes of unpacked index; ours has about 2 MB


def fold(name: str) -> str:
    """Return the function that a symbol belongs to.

    GCC's clones (``.constprop.0``, ``.isra.0``, ``.part.0``, ``.cold``), the padding before a function (``__pfx_``,
    ``__cfi_``) and static-call trampolines (``__SCT__``) are that function's.  A static call of a tracepoint is folded
    to the tracepoint's iterator, which is compiled where the tracepoint is defined, and a security module's hook to
    the function that calls it.
    """
    base = name.partition(".")[0] or name
    for prefix in _PREFIXES:
        base = base.removeprefix(prefix)
    if base.startswith("__SCT__tp_func_"):
        return "__traceiter_" + base.removeprefix("__SCT__tp_func_")
    base = base.removeprefix("__SCT__")
    return _LSM.sub(r"security_\1", base)


def invert(files: Mapping[str, Iterable[str]]) -> Sources:
    """Turn path -> symbols into symbol -> paths, both sorted."""
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        for symbol in files[path]:
            found.setdefault(symbol, []).append(path)
    return {symbol: tuple(found[symbol]) for symbol in sorted(found)}


def pack(files: Mapping[str, Iterable[str]], origins: Iterable[str]) -> bytes:
    """Return the index as bytes: the same bytes for the same content, whenever and wherever it is made."""
    lines = [f"# {origin}" for origin in sorted(set(origins))]
    lines += [f"{path}\t{' '.join(sorted(set(files[path])))}" for path in sorted(files)]
    return gzip.compress("\n".join([*lines, ""]).encode(), compresslevel=9, mtime=0)


def unpack(data: bytes) -> tuple[dict[str, list[str]], list[str]]:
    """Return (path -> symbols, origins) of a packed index.

    Raises ValueError where the data is not an index.
    """
    try:
        text = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise ValueError(f"the index of sources is not gzip: {error}") from error
    if len(text) > _LIMIT:
        raise ValueError(f"the index of sources has {len(text)} bytes, more than {_LIMIT}")
    files: dict[str, list[str]] = {}
    origins: list[str] = []
    for line in text.decode().splitlines():
        if line.startswith("# "):
            origins.append(line[2:])
            continue
        path, tab, symbols = line.partition("\t")
        if not tab or not path or path in files:
            raise ValueError(f"the index of sources has a bad line: {line[:80]!r}")
        files[path] = symbols.split()
    if not files:
        raise ValueError("the index of sources is empty")
    return files, origins
