"""A FreeBSD kernel that the user has: is it one, can it start here, do symbols and base belong to it?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from images import identify
from images.elf import Elf, Symbol
from images.fitting import check_places, unfit
from images.guests.freebsd import base, entry
from images.intake import plain, taken
from images.model import Given
from profiler.errors import ArtifactCorrupt, UsageError

KERNEL, BOOT, SYMBOLS = "kernel.elf", "boot.elf", "symbols.elf"
"""The kernel as it was given, as it is started (``entry``), and its symbols where they were given."""

_LARGEST: Final = 1 << 30  # a kernel.full with its debug information has 134 MB
_OPERATING_SYSTEM: Final = ("Xen", 6)  # XEN_ELFNOTE_GUEST_OS
_BANNER: Final = re.compile(rb"@\(#\)FreeBSD (\d+\.\d+[\w.-]{0,40} [\w.-]{1,40})")
_NO_PROGRAM: Final = b"/red/herring"  # the interpreter that FreeBSD's kernels name
_NEEDED: Final = ("osreldate", *entry.VARIABLES)

_KERNEL_WANTED: Final = "give boot/kernel/kernel of a release's kernel.txz, or the kernel of a build, for amd64"
_SYMBOLS_WANTED: Final = "give the kernel.debug of the very build that the kernel comes from"

_take: Final = partial(taken, most=_LARGEST, kernel="FreeBSD kernel for amd64")


def adopt(given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """Put kernel, symbols and base into ``directory``; give ``version`` and where the symbols are from.

    Raises ``UsageError`` for what is something else, ``ArtifactCorrupt`` for what is damaged.
    """
    with ExitStack() as stack:
        kernel = _take(stack, given.kernel, "the kernel", wanted=_KERNEL_WANTED, target=directory / KERNEL)
        version = _version(kernel, given.kernel)
        symbols, source = kernel.symbols(), "the ELF file's own"
        if given.symbols is not None:
            progress("comparing the symbols with the kernel")
            other = _take(stack, given.symbols, "--symbols", wanted=_SYMBOLS_WANTED, target=directory / SYMBOLS)
            symbols, source = _held(kernel, symbols, other, plain(given.symbols)), "given"
        places = {symbol.name: symbol.address for symbol in symbols if symbol.name in _NEEDED}
        missing = [name for name in _NEEDED if name not in places]
        if not symbols:
            raise UsageError(
                f"{plain(given.kernel)} has no symbols: it was stripped",
                hint="say --symbols FILE with the kernel.debug of the same build",
            )
        if missing:
            raise UsageError(
                f"the kernel {plain(given.kernel)} (FreeBSD {version}) has no {', '.join(missing)}:"
                " it cannot be told its clock, without which it does not start here",
                hint="FreeBSD 15.1 has been tried",
            )
        entry.write(directory / KERNEL, directory / BOOT, {name: _physical(kernel, places[name]) for name in places})
        progress("copying the base")
        built_for = base.adopt(given.base, directory / base.FILE)
        runs = int.from_bytes(kernel.memory(places["osreldate"], 4), "little")
        if runs and built_for > runs:
            raise UsageError(
                f"the base is newer ({built_for}) than the kernel ({runs}): programs of it do not run there",
                hint="give the base.txz of the kernel's own release",
            )
    return {"version": version, "symbols": source, "base": built_for}


def _version(file: Elf, path: Path) -> str:
    """Give what a FreeBSD kernel says that it is, as in ``15.1-RELEASE GENERIC``; ``UsageError`` for anything else."""
    found = next((match for at in file.find(b"@(#)FreeBSD ") if (match := _BANNER.match(file.bytes_at(at, 120)))), None)
    is_freebsd = file.note(*_OPERATING_SYSTEM).rstrip(b"\0") == b"FreeBSD" or file.interpreter.startswith(_NO_PROGRAM)
    if not found or not is_freebsd:
        kind = "an ELF program, no kernel" if found else identify.instead(file)
        kind = "a FreeBSD kernel that does not say its version" if is_freebsd else kind
        raise UsageError(f"{plain(path)} is {kind}", hint=_KERNEL_WANTED)
    version = found[1].decode("ascii")
    if not file.note(*entry.PVH_ENTRY):
        raise UsageError(
            f"{plain(path)} (FreeBSD {version}) has no entry point that QEMU's -kernel could use",
            hint="build it with `options XENHVM`, as GENERIC is",
        )
    return version


def _held(kernel: Elf, own: Sequence[Symbol], other: Elf, name: str) -> list[Symbol]:
    """Give the symbols of a file if they are of this kernel's build."""
    found = other.symbols()
    if not found:
        raise UsageError(f"{name} has no symbols: it was stripped", hint=_SYMBOLS_WANTED)
    if kernel.build_id and other.build_id:
        if kernel.build_id == other.build_id:
            return found
        raise unfit(name, f"its build id is {other.build_id}, the kernel's {kernel.build_id}", _SYMBOLS_WANTED)
    if not own:
        raise unfit(name, "neither build ids nor symbols of the kernel are there to tell", _SYMBOLS_WANTED)
    check_places(found, own, name, _SYMBOLS_WANTED)
    return found


def _physical(kernel: Elf, address: int) -> int:
    """Give the physical address of a variable: it may lie behind what the file has of its segment."""
    below = [segment for segment in kernel.segments if segment.virtual <= address]
    if not below:
        raise ArtifactCorrupt("a variable of the kernel is in none of its parts", hint="copy or build it again")
    last = max(below, key=lambda segment: segment.virtual)
    return address - last.virtual + last.physical
