"""The disk that OSv finds its app on: a partition table, and in its second entry a ROFS file system.

Written without root rights, a file at a time; the same files give the same bytes.  All is little-endian, in blocks of
512 bytes::

    block 0     superblock, 8 u64: magic, version, block size, first block of the tables, their number of blocks,
                number of directory entries, of symbolic links, of inodes
    block 1...  the files' contents, each padded to a block
    tables      packed: entries {u64 inode, u16 length, name}, links {u16 length, target},
                inodes {u64 type, u64 number, u64 data, u64 count}

Inodes count from 1, the root.  ``data`` and ``count`` are a file's first block and bytes; a directory's first entry and
how many; a link's number and 1.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, TypeAlias

from images.store import disk_full_named
from profiler.errors import UsageError

BLOCK: Final = 512
MAGIC: Final = 0xDEADBEAD
FIRST_BLOCK: Final = 128
"""Where the partition begins: any block but the first would do, 64 KiB is usual."""

LARGEST: Final = 1 << 30
"""Most bytes that a disk may have: guests keep in memory what they read of it."""

Content: TypeAlias = Path | bytes | str | None
"""A file here, the bytes of a file, where a link points to, or an empty directory."""

_Tree: TypeAlias = dict[str, "_Tree | Path | bytes | str"]

_VERSION: Final = 1
_DIRECTORY, _FILE, _LINK = 0x4000, 0x8000, 0xA000  # S_IFMT of stat(2); all may be read and executed by all
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 1023
_CHUNK: Final = 1 << 20


def write(target: Path, files: Mapping[str, Content]) -> None:
    """Write a disk that holds ``files``, by their absolute paths in the guest, to ``target``.

    Raises ``UsageError`` for a path or file that cannot go in, ``DiskFull``; leaves no half disk behind.
    """
    tree = _tree(files)
    with disk_full_named(target):
        try:
            with target.open("wb") as disk:
                disk.write(bytes(BLOCK * FIRST_BLOCK))
                blocks = _write_tree(disk, tree)
                disk.seek(0)
                disk.write(_partition_table(blocks))
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _tree(files: Mapping[str, Content]) -> _Tree:
    """Give the files as directories in directories; ``UsageError`` for what cannot be one."""
    root: _Tree = {}
    for path, content in files.items():
        parts = path.split("/")[1:]
        if (
            not path.startswith("/") or any(part in ("", ".", "..") for part in parts)
            or len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts)
            or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in path)
        ):  # fmt: skip
            raise UsageError(f"{path[:80]!r} cannot be a path in the guest", hint="use a plain path such as /data/a")
        at = root
        for part in parts[:-1]:
            inner = at.setdefault(part, {})
            if not isinstance(inner, dict):
                raise _twice(path)
            at = inner
        if content is None:
            if not isinstance(at.setdefault(parts[-1], {}), dict):
                raise _twice(path)
        elif parts[-1] in at:
            raise _twice(path)
        else:
            at[parts[-1]] = content
    return root


def _twice(path: str) -> UsageError:
    return UsageError(f"{path[:80]!r} would be two things in the guest", hint="give each file a path of its own")


def _write_tree(disk: IO[bytes], tree: _Tree) -> int:
    """Write the file system from where ``disk`` is; give its number of blocks."""
    start = disk.tell()
    disk.write(bytes(BLOCK))  # the superblock, once all is known
    entries, links, inodes = bytearray(), bytearray(), [b""]
    entry_count = link_count = 0
    waiting = deque([(1, tree)])
    while waiting:  # level by level: the entries of a directory have to be side by side
        number, folder = waiting.popleft()
        inodes[number - 1] = struct.pack("<4Q", _DIRECTORY, number, entry_count, len(folder))
        for name, content in sorted(folder.items()):
            child = len(inodes) + 1
            inodes.append(b"")
            entries += struct.pack("<QH", child, len(name.encode())) + name.encode()
            entry_count += 1
            if isinstance(content, dict):
                waiting.append((child, content))
            elif isinstance(content, str):
                inodes[child - 1] = struct.pack("<4Q", _LINK, child, link_count, 1)
                links += struct.pack("<H", len(content.encode())) + content.encode()
                link_count += 1
            else:
                first = (disk.tell() - start) // BLOCK
                inodes[child - 1] = struct.pack("<4Q", _FILE, child, first, _write_file(disk, content))
    first = (disk.tell() - start) // BLOCK
    disk.write(entries + links + b"".join(inodes))
    blocks = _padded(disk, start)
    disk.seek(start)
    head = (MAGIC, _VERSION, BLOCK, first, blocks - first, entry_count, link_count, len(inodes))
    disk.write(struct.pack("<8Q", *head))
    return blocks


def _write_file(disk: IO[bytes], content: Path | bytes) -> int:
    """Copy one file, padded to whole blocks; give its size in bytes."""
    if isinstance(content, bytes):
        disk.write(content)
        size = len(content)
    else:
        if not content.is_file():
            raise UsageError(f"{content} is not a file", hint="every file of an app has to be there")
        size = 0
        with content.open("rb") as source:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if disk.tell() + len(chunk) > LARGEST:
                    raise UsageError("the app's files are too large", hint=f"at most {LARGEST >> 20} MiB fit")
                disk.write(chunk)
    _padded(disk, 0)
    return size


def _padded(disk: IO[bytes], start: int) -> int:
    """Fill up to a whole block; give the number of blocks since ``start``."""
    disk.write(bytes(-(disk.tell() - start) % BLOCK))
    return (disk.tell() - start) // BLOCK


def _partition_table(blocks: int) -> bytes:
    """Give the first block, a master boot record whose second entry is the file system.

    OSv takes an entry for one if it has a type and a sector of beginning (the old way, of which the rest may be 0).
    """
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\2\0", FIRST_BLOCK, blocks)
    return bytes(0x1BE) + bytes(16) + entry + bytes(32) + b"\x55\xaa"
