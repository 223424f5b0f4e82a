"""Gives a FreeBSD kernel what a loader would: the frequency of its clock, and a root file system in memory.

Started by PVH, the kernel asks Xen for the time before it has found a clock, and there is no Xen.  It does not ask if
it knows its TSC: how fast it is, and that it never changes.  No tunable says so, and of the CPU it believes it only of
Intel's names.  Under ``-icount shift=0`` the answer is known, 1 GHz, so a few instructions ahead of the kernel's own
first ones (``entry.S``) write it into the kernel's variables.

QEMU's initial RAM disk is a module to the kernel, which would have to be described as a loader does.  The same
instructions say where it lies in the tunable that makes a disk of such a place, and end the kernel's memory there.
The kernel's code and data in the file stay as they are.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Final

from images import compiler
from images.elf import Elf

TSC_HZ: Final = 1_000_000_000
VARIABLES: Final = ("tsc_freq", "tsc_is_invariant", "tsc_early_calib_exact")
"""Variables of the kernel that are set.  The last one: the frequency is not measured again, against the HPET, which
gives 6 Hz less and differs between runs."""

IMAGE: Final = "hint.md.0.physaddr=0x"
DIGITS: Final = 8
"""What the kernel's command line begins with, and the number of digits that come behind it."""

PVH_ENTRY: Final = ("Xen", 18)  # XEN_ELFNOTE_PHYS32_ENTRY: where the kernel is entered, in 32-bit mode without paging
PLACE: Final = 0x100000
"""Physical address of the instructions: memory that QEMU leaves alone, below the kernel, and that it uses later."""

_PROGRAM_HEADER: Final = 56
_LOADED, _READ_EXECUTE, _PAGE = 1, 5, 4096


def code(entry: int, addresses: Mapping[str, int]) -> bytes:
    """Give the instructions, for ``PLACE``: ``addresses`` are the physical ones of ``VARIABLES``, ``entry`` is next.

    Raises ``ToolMissing`` without a compiler, ``AppBuild`` if it is none for x86.
    """
    names = {name.upper(): addresses[name] for name in VARIABLES}
    names |= {"TSC_FREQ_VALUE": TSC_HZ, "DIGITS_AT": len(IMAGE), "ENTRY": entry}
    with tempfile.TemporaryDirectory(prefix="weaklink-") as folder:
        source = Path(folder, "entry.S")
        source.write_text((resources("images.guests.freebsd") / "entry.S").read_text(encoding="utf-8"))
        command = [compiler.COMPILER, "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,--oformat=binary"]
        command += [f"-Wl,-Ttext={PLACE:#x}", *(f"-D{name}={value:#x}" for name, value in names.items())]
        compiler.run([*command, source.name, "-o", "entry"], Path(folder), source.name, hint="is gcc one for x86?")
        return Path(folder, "entry").read_bytes()


def with_entry(kernel: bytes, addresses: Mapping[str, int]) -> bytes:
    """Give a kernel's file with the instructions in it; ``addresses`` as for ``code``.

    The file gets longer by them and by a copy of its program headers with one more; in it, only the entry point that
    the note names and the place of the program headers are others.
    """
    note = Elf(kernel).note(*PVH_ENTRY)
    program = code(int.from_bytes(note[:4], "little"), addresses)
    file = bytearray(kernel)
    at = _note_content(kernel, note)
    file[at : at + 4] = struct.pack("<I", PLACE)
    (headers,) = struct.unpack_from("<Q", kernel, 32)
    (count,) = struct.unpack_from("<H", kernel, 56)
    table = kernel[headers : headers + _PROGRAM_HEADER * count]
    file += bytes(-len(file) % _PAGE)
    offset = len(file)
    file += program + bytes(-len(program) % 8)
    struct.pack_into("<Q", file, 32, len(file))
    struct.pack_into("<H", file, 56, count + 1)
    size = len(program)
    file += table + struct.pack("<IIQQQQQQ", _LOADED, _READ_EXECUTE, offset, PLACE, PLACE, size, size, _PAGE)
    return bytes(file)


def write(kernel: Path, target: Path, addresses: Mapping[str, int]) -> None:
    """Write ``with_entry`` of a file to another."""
    target.write_bytes(with_entry(kernel.read_bytes(), addresses))


def _note_content(kernel: bytes, content: bytes) -> int:
    """Give the place in the file of the entry note's content; the note was found, so it is there."""
    owner, kind = PVH_ENTRY
    name = owner.encode() + b"\0"
    head = struct.pack("<III", len(name), len(content), kind) + name
    return kernel.index(head + content) + len(head)
