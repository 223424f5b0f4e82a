"""An OSv kernel that the user has: is it one, and do the symbols belong to it?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from images import identify
from images.elf import Elf
from images.fitting import unfit
from images.intake import plain, taken
from images.model import Given
from profiler.errors import UsageError

FILES: Final = ("kernel.elf", "symbols.elf")
"""The kernel and, where they were given, its symbols."""

_LARGEST: Final = 512 << 20  # a loader.elf with its debug information has 69 MB
_OPERATING_SYSTEM: Final = ("Xen", 6)  # XEN_ELFNOTE_GUEST_OS, xen/include/public/elfnote.h
_VERSION: Final = re.compile(r"OSv (v?\d[\w.-]*)")
_HEADER: Final = 64
"""Bytes of the ELF header, which OSv loads too; stripping changes where it says that the sections are."""

_KERNEL_WANTED: Final = "give OSv's loader.elf or loader-stripped.elf for x86-64, as its build or a release has it"
_SYMBOLS_WANTED: Final = "give the loader.elf (not stripped) of the very build that the kernel comes from"

_take: Final = partial(taken, most=_LARGEST, kernel="OSv kernel")


def adopt(given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """Put ``FILES`` into ``directory``; give ``version`` and where the symbols are from.

    Raises ``UsageError`` for what is something else, ``ArtifactCorrupt`` for what is damaged.
    """
    given.without_base("OSv")
    with ExitStack() as stack:
        kernel = _take(stack, given.kernel, "the kernel", wanted=_KERNEL_WANTED, target=directory / FILES[0])
        version = _version(kernel, given.kernel)
        if given.symbols is None:
            if not kernel.symbols():
                raise UsageError(
                    f"{plain(given.kernel)} has no symbols: it was stripped",
                    hint="say --symbols FILE with the loader.elf of the same build",
                )
            return {"version": version, "symbols": "the ELF file's own"}
        progress("comparing the symbols with the kernel")
        symbols = _take(stack, given.symbols, "--symbols", wanted=_SYMBOLS_WANTED, target=directory / FILES[1])
        name = plain(given.symbols)
        theirs = _version(symbols, given.symbols)
        if not symbols.symbols():
            raise UsageError(f"{name} has no symbols: it was stripped", hint=_SYMBOLS_WANTED)
        if not _same_build(kernel, symbols):
            other = f"OSv {theirs}, the kernel is OSv {version}" if theirs != version else f"another OSv {version}"
            raise unfit(name, f"they are of {other}", _SYMBOLS_WANTED)
    return {"version": version, "symbols": "given"}


def _version(file: Elf, path: Path) -> str:
    """Give the version of an OSv kernel, as in ``v0.57.0``; ``UsageError`` says what else the file is."""
    is_osv = file.note(*_OPERATING_SYSTEM).rstrip(b"\0") == b"osv"
    found = _VERSION.fullmatch(identify.system(file))
    if not is_osv or not found:
        kind = "an OSv kernel that does not say its version" if is_osv else identify.instead(file)
        raise UsageError(f"{plain(path)} is {kind}", hint=_KERNEL_WANTED)
    return found[1][:64]


def _same_build(kernel: Elf, symbols: Elf) -> bool:
    """Tell whether two files load the same bytes in the same places: then one is the other without its symbols."""
    return kernel.segments == symbols.segments and all(
        kernel.loaded(segment, _HEADER) == symbols.loaded(segment, _HEADER) for segment in kernel.segments
    )
