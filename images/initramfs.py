"""A Linux initramfs: a cpio archive (format newc), written without root and the same bytes for the same input.

Format: Documentation/driver-api/early-userspace/buffer-format.rst in Linux.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from images.store import disk_full_named
from profiler.errors import UsageError

LARGEST: Final = 256 << 20
"""Most bytes an initramfs may have: guests have 512 MiB, and the archive is in memory twice while it is unpacked."""

_DIRECTORY: Final = 0o040755
_FILE: Final = 0o100755
_CONSOLE: Final = 0o020600  # character device 5:1; without it the kernel cannot give the app its stdout
_LONGEST_NAME: Final = 1024


def write(target: Path, files: Mapping[str, Path]) -> None:
    """Write an initramfs with /dev/console and ``files`` (path in the guest -> file here, mode 0755) to ``target``.

    Raises ``UsageError`` for a path or file that cannot go in, ``DiskFull``; leaves no half file behind.
    """
    plan = [(_plain(path), source) for path, source in sorted(files.items())]
    if len({path for path, _ in plan}) != len(plan):
        raise UsageError("two files would have the same path in the guest", hint="give each file its own path")
    total = 0
    for path, source in plan:
        if not source.is_file():
            raise UsageError(f"{source} is not a file", hint=f"it was to become /{path} in the guest")
        total += source.stat().st_size
    if total > LARGEST:
        raise UsageError(f"the app has {total >> 20} MiB of files", hint=f"at most {LARGEST >> 20} MiB fit")
    parents = {"/".join(path.split("/")[:depth]) for path, _ in plan for depth in range(1, path.count("/") + 1)}
    if parents & {path for path, _ in plan}:
        raise UsageError("a file's path in the guest is another file's directory", hint="rename one of them")
    with disk_full_named(target):
        try:
            with target.open("wb") as archive:
                inode = 1
                for directory in sorted(parents | {"dev"}):
                    _header(archive, inode, directory, _DIRECTORY, 0)
                    inode += 1
                _header(archive, inode, "dev/console", _CONSOLE, 0, device=(5, 1))
                for path, source in plan:
                    inode += 1
                    _file(archive, inode, path, source)
                _header(archive, 0, "TRAILER!!!", 0, 0)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _plain(path: str) -> str:
    """Give a path without its leading slash, or refuse what is not a plain path below the root."""
    relative = path.removeprefix("/")
    parts = relative.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in relative)
        or len(relative.encode()) > _LONGEST_NAME
        or relative in ("TRAILER!!!", "dev", "dev/console")
    ):
        raise UsageError(f"{path[:80]!r} cannot be a path in the guest", hint="use a plain path such as data/a.txt")
    return relative


def _file(archive: IO[bytes], inode: int, path: str, source: Path) -> None:
    with source.open("rb") as content:
        size = source.stat().st_size
        _header(archive, inode, path, _FILE, size)
        before = archive.tell()
        shutil.copyfileobj(content, archive)
        if archive.tell() - before != size:
            raise UsageError(f"{source} changed while it was read", hint="run again once it is complete")
        archive.write(b"\0" * (-size % 4))


def _header(
    archive: IO[bytes], inode: int, path: str, mode: int, size: int, *, device: tuple[int, int] = (0, 0)
) -> None:
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device of the archive (2), device of the node (2), name, checksum
    fields = (inode, mode, 0, 0, 1, 0, size, 0, 0, *device, len(name), 0)
    entry = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    archive.write(entry + b"\0" * (-len(entry) % 4))
