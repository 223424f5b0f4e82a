"""Where OSv's own linker puts an app and its libraries, and under which names it looks for them.

It loads what a file needs in the order in which that names it, each with all that it needs itself before the next, and
puts one behind the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from images.elf import DAMAGE
from images.model import Loaded
from profiler.errors import UsageError

BASE: Final = 0x100000000000
"""Where the first file goes that can lie anywhere: the app, or the loader that is started with it."""

FOLDER: Final = "/usr/lib"
"""It knows no LD_LIBRARY_PATH: apart from what a file says itself, it looks in the root and in here."""

IN_KERNEL: Final = frozenset({
    "ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2",
    "libstdc++.so.6", "libaio.so.1", "libxenstore.so.3.0", "libcrypt.so.1", "libutil.so",
})  # fmt: skip
"""The libraries that the kernel is itself: it takes none of these names from the disk."""


@dataclass(frozen=True)
class _File:
    """What decides where a file goes: its first and last address, that of the first's alignment, what it needs."""

    movable: bool
    low: int
    high: int
    alignment: int
    needed: tuple[str, ...]


def on_disk(libraries: Mapping[str, Path]) -> dict[str, Path]:
    """Give the libraries that the kernel is not, by the paths in the guest where it finds them."""
    names = {PurePosixPath(path).name: file for path, file in libraries.items()}
    return {f"{FOLDER}/{name}": file for name, file in names.items() if name not in IN_KERNEL}


def placed(program: Path, own: frozenset[str] | None, libraries: Mapping[str, Path]) -> tuple[Loaded, ...]:
    """Give an app and its libraries (``on_disk``) where they will lie; all functions of the latter are the app's own.

    Raises ``UsageError`` for a file that is no program or library.
    """
    loaded: dict[str, Loaded] = {}
    end = BASE

    def load(name: str, file: Path, mine: frozenset[str] | None) -> None:
        nonlocal end
        about = _read(file)
        base = -((about.low - end) // about.alignment) * about.alignment if about.movable else 0
        loaded[name] = Loaded(file, base, mine)
        end = base + about.high if about.movable else end
        for wanted in about.needed:
            if wanted not in loaded and f"{FOLDER}/{wanted}" in libraries:
                load(wanted, libraries[f"{FOLDER}/{wanted}"], None)

    load("", program, own)
    return tuple(loaded.values())


def _read(path: Path) -> _File:
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            parts = sorted((part.header for part in elf.iter_segments("PT_LOAD")), key=lambda part: part.p_vaddr)
            needed = [
                str(getattr(tag, "needed", ""))  # pyelftools names it after the tag
                for segment in elf.iter_segments("PT_DYNAMIC")
                if isinstance(segment, DynamicSegment)
                for tag in segment.iter_tags("DT_NEEDED")
            ]
            return _File(
                elf["e_type"] == "ET_DYN", parts[0].p_vaddr, parts[-1].p_vaddr + parts[-1].p_memsz,
                max(parts[0].p_align, 1), tuple(needed),
            )  # fmt: skip
    except (*DAMAGE, ELFError) as error:
        raise UsageError(f"{path} is no program or library that can be loaded", hint="give another") from error
