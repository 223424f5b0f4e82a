"""What a file is, in words, so that a refusal can say what was given instead of what was asked for."""

from __future__ import annotations

import re
from typing import Final

from images import elf

HEAD: Final = 40_000
"""Bytes from a file's beginning that ``what`` needs; the mark of an ISO image is at 0x8001."""

_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x02\x21\x4c\x18", "an lz4 archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"!<arch>\ndebian-binary", "a Debian package"),
    (b"!<arch>\n", "a static library"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"PK\x03\x04", "a zip archive"),
    (b"070701", "an initramfs (a cpio archive)"),
    (b"070702", "an initramfs (a cpio archive)"),
    (b"070707", "a cpio archive"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"hsqs", "a squashfs file system"),
    (b"BC\xc0\xde", "LLVM bitcode"),
)
_SYMBOL_LINE: Final = re.compile(rb"^[0-9a-fA-F]{8,16} ([0-9a-fA-F]{8,16} )?[A-Za-z] \S+", re.MULTILINE)
_BZIMAGE: Final = 0x202
_XEN_GUEST_OS: Final = 6
_LONGEST_VERSION: Final = 60


def what(beginning: bytes) -> str:
    """Say what a file is by its first ``HEAD`` bytes; an ELF file by its header alone (see ``system``)."""
    if not beginning:
        return "an empty file"
    if beginning.startswith(elf.MAGIC):
        return _elf(beginning)
    if is_bzimage(beginning):
        return "a compressed Linux kernel (bzImage)"
    for magic, name in _MAGIC:
        if beginning.startswith(magic):
            return name
    if beginning[0x8001:0x8006] == b"CD001":
        return "an ISO image"
    if beginning[257:262] == b"ustar":
        return "a tar archive"
    if beginning[56:60] == b"ARM\x64":
        return "a Linux kernel for 64-bit ARM"
    if beginning.startswith(b"MZ"):
        return "an EFI or Windows program"
    if beginning[510:512] == b"\x55\xaa":
        return "a disk image (with a master boot record)"
    if not any(beginning):
        return "nothing but zeros"
    if b"\0" not in beginning[:4096]:
        if _SYMBOL_LINE.search(beginning):  # nm lists what is undefined first
            return "a list of symbols (System.map)"
        if all(byte >= 0x20 or byte in b"\t\n\r\f\x1b" for byte in beginning[:4096]):
            return "a text file"
    return f"a file of unknown format, beginning with {beginning[:4].hex()}"


def is_bzimage(beginning: bytes) -> bool:
    """Tell whether a file has the header of the x86 boot protocol."""
    return beginning[_BZIMAGE : _BZIMAGE + 4] == b"HdrS"


def system(file: elf.Elf) -> str:
    """Name the operating system whose kernel an ELF file is, if its notes or strings tell: as in ``OSv v0.57.0``."""
    owner = file.note("Xen", _XEN_GUEST_OS).rstrip(b"\0").decode("ascii", errors="replace")
    if owner == "osv" or any(True for _ in file.find(b"_ZN3osv")):
        return _banner(file, rb"OSv v?\d[\w.-]*") or "OSv"
    if owner == "FreeBSD" or file.interpreter.startswith(b"/red/herring"):
        return _banner(file, rb"FreeBSD \d+\.\d+-[\w.-]*") or "FreeBSD"  # not "removed in FreeBSD 16.0."
    for name in ("FreeBSD", "NetBSD", "DragonFly", "OpenBSD"):
        if found := _banner(file, name.encode() + rb" \d+\.\d+[\w.-]*"):
            return found
    return ""


def instead(file: elf.Elf) -> str:
    """Say what an ELF program is that is not the kernel asked for: another system's kernel, or none."""
    other = system(file) or ("Linux" if any(True for _ in file.find(b"Linux version ")) else "")
    return f"a kernel of another system, {other}" if other else "an ELF program, no kernel"


def _banner(file: elf.Elf, pattern: bytes) -> str:
    """Give the first text that ``pattern`` matches; its first word is what is searched for."""
    for count, at in enumerate(file.find(pattern.split(b" ")[0] + b" ")):
        if found := re.match(pattern, file.bytes_at(at, _LONGEST_VERSION)):
            return found[0].decode("ascii")
        if count > 10_000:
            break
    return ""


def _elf(beginning: bytes) -> str:
    bits, _, kind, machine = elf.head(beginning)
    name = elf.MACHINES.get(machine, f"machine {machine}")
    shown = name if "bit" in name or (machine == elf.X86_64 and bits == 64) else f"{bits}-bit {name}"
    return f"an ELF {elf.TYPES.get(kind, f'file of type {kind}')} for {shown}"
