"""Gives a FreeBSD kernel what a loader would: the frequency of its clock, and a root file system in memory.

Started by PVH, the kernel asks Xen for the time before it has found a clock, and there is no Xen.  It does not ask if
it knows its TSC: how fast it is, and that it never changes.  No tunable says so, and of the CPU it believes it only of
Intel's names.  Under ``-icount shift=0`` the answer is known, 1 GHz, so a few instructions ahead of the kernel's own
first ones write it into the kernel's variables.

QEMU's initial RAM disk is a module to the kernel, which would have to be described as a loader does.  The same
instructions move it to ``IMAGE``, beyond what the tunable hw.physmem lets the kernel have, where hint.md.0.physaddr
makes a disk of it, and take it out of what QEMU tells.  The kernel's code and data in the file stay as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from images.elf import Elf

VALUES: Final[Mapping[str, int]] = {"tsc_freq": 1_000_000_000, "tsc_is_invariant": 1, "tsc_early_calib_exact": 1}
"""Variables of the kernel, at least four bytes each and zero before.

The last one: it does not measure the frequency again, against the HPET, which gives 6 Hz less and differs between runs.
"""

PVH_ENTRY: Final = ("Xen", 18)  # XEN_ELFNOTE_PHYS32_ENTRY: where the kernel is entered, in 32-bit mode without paging
PLACE: Final = 0x100000
"""Physical address of the instructions: memory that QEMU leaves alone, below the kernel, and that it uses later."""

IMAGE: Final = 448 << 20
LARGEST_IMAGE: Final = 60 << 20
"""Physical address and most bytes of the root file system, below the end of the guest's 512 MiB."""

_MOVE_MODULE: Final = b"".join((
    b"\x8b\x53\x10",  # mov edx, [ebx + 16]: the list of modules; ebx points at hvm_start_info
    b"\x8b\x32",  # mov esi, [edx]: the first one's place
    b"\x8b\x4a\x08",  # mov ecx, [edx + 8]: and size
    b"\x83\xc1\x03\xc1\xe9\x02",  # add ecx, 3; shr ecx, 2
    b"\xbf" + struct.pack("<I", IMAGE),  # mov edi, IMAGE
    b"\xfc\xf3\xa5",  # cld; rep movsd: downwards in memory, so that an overlap does no harm
    b"\x31\xc0\x89\x43\x0c\x89\x43\x10",  # xor eax, eax; mov [ebx + 12], eax; mov [ebx + 16], eax: no modules
))  # fmt: skip
_IF_THERE_IS_ONE: Final = b"\x83\x7b\x0c\x00\x74"  # cmp dword ptr [ebx + 12], 0; je

_PROGRAM_HEADER: Final = 56
_LOADED, _READ_EXECUTE, _PAGE = 1, 5, 4096


def code(entry: int, words: Mapping[int, int]) -> bytes:
    """Give the instructions, for ``PLACE``: each word to its physical address, the module, then on to ``entry``."""
    text = _IF_THERE_IS_ONE + bytes((len(_MOVE_MODULE),)) + _MOVE_MODULE
    text += b"".join(b"\xc7\x05" + struct.pack("<II", address, value) for address, value in words.items())
    return text + b"\xe9" + struct.pack("<i", entry - (PLACE + len(text) + 5))


def with_values(kernel: bytes, addresses: Mapping[str, int]) -> bytes:
    """Give a kernel's file with the instructions in it; ``addresses`` are the physical ones of ``VALUES``' names.

    The file gets longer by them and by a copy of its program headers with one more; in it, only the entry point that
    the note names and the place of the program headers are others.
    """
    note = Elf(kernel).note(*PVH_ENTRY)
    entry = int.from_bytes(note[:4], "little")
    program = code(entry, {addresses[name]: value for name, value in VALUES.items()})
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
    """Write ``with_values`` of a file to another."""
    target.write_bytes(with_values(kernel.read_bytes(), addresses))


def _note_content(kernel: bytes, content: bytes) -> int:
    """Give the place in the file of the entry note's content; the note was found, so it is there."""
    owner, kind = PVH_ENTRY
    name = owner.encode() + b"\0"
    head = struct.pack("<III", len(name), len(content), kind) + name
    return kernel.index(head + content) + len(head)
