"""From a compressed Linux kernel (bzImage) to the ELF inside it."""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import Final

from profiler.errors import ArtifactCorrupt

# Offsets of the x86 boot protocol, Documentation/arch/x86/boot.rst in Linux.
_SETUP_SECTORS: Final = 0x1F1
_HEADER_MAGIC: Final = 0x202
_PAYLOAD: Final = 0x248  # offset and length, 32 bits each, since protocol 2.08 (Linux 2.6.26)
_LZ4_LEGACY: Final = b"\x02\x21\x4c\x18"
_LZ4_CHUNK: Final = 8 << 20  # the legacy format's fixed chunk
_LARGEST_ELF: Final = 512 << 20


def elf_of_bzimage(image: bytes) -> bytes:
    """Give the ELF that a bzImage holds, by LZ4, gzip, xz or zstd; ``ArtifactCorrupt`` if there is none."""
    if len(image) < 0x250 or image[_HEADER_MAGIC : _HEADER_MAGIC + 4] != b"HdrS":
        raise _corrupt("it has no x86 boot header")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + offset
    payload = image[start : start + length]
    if len(payload) < 16 or len(payload) != length:
        raise _corrupt("it is cut short")
    elf = _decompress(payload)
    if not elf.startswith(b"\x7fELF"):
        raise _corrupt("its payload is not an ELF file")
    return elf


def _decompress(payload: bytes) -> bytes:
    # The kernel's build appends the unpacked size to the compressed stream, so each reader must tolerate a tail.
    import lz4.block
    import zstandard

    try:
        if payload.startswith(_LZ4_LEGACY):
            return _lz4_legacy(payload)
        if payload.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(payload, _LARGEST_ELF)
        if payload.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor(memlimit=1 << 30).decompress(payload, _LARGEST_ELF)
        if payload.startswith(b"\x28\xb5\x2f\xfd"):
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(payload)
            return bytes(reader.read(_LARGEST_ELF))
    except (zlib.error, lzma.LZMAError, lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise _corrupt(f"its payload does not unpack ({error})") from error
    raise _corrupt(f"its payload starts with {payload[:4].hex()}, which is no known compression")


def _lz4_legacy(payload: bytes) -> bytes:
    import lz4.block

    chunks: list[bytes] = []
    at = len(_LZ4_LEGACY)
    while at + 4 <= len(payload) and len(chunks) * _LZ4_CHUNK < _LARGEST_ELF:
        size = int.from_bytes(payload[at : at + 4], "little")
        if size == 0 or at + 4 + size > len(payload):
            break  # the appended unpacked size, not a chunk
        chunks.append(lz4.block.decompress(payload[at + 4 : at + 4 + size], uncompressed_size=_LZ4_CHUNK))
        at += 4 + size
    return b"".join(chunks)


def _corrupt(why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"the kernel image is not usable: {why}", hint="run again: the package is fetched anew")
