"""What others have packed: read once, forwards, and no further than allowed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from images.intake import plain
from profiler.errors import ArtifactCorrupt, UsageError

_CHUNK: Final = 1 << 18
_AT_ONCE: Final = 8 << 20  # bytes; a tar file's headers could ask for any length
_MEMORY: Final = 256 << 20  # bytes; xz's largest preset needs 65 MiB
_MOST_MEMBERS: Final = 200_000
_AGAIN: Final = "fetch or copy it again"


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Xz:
    """The content of an xz file, unpacked in no more than ``_MEMORY``, which lzma's own reader cannot be told."""

    def __init__(self, packed: _Source) -> None:
        self._packed, self._unpacker = packed, lzma.LZMADecompressor(memlimit=_MEMORY)

    def read(self, size: int) -> bytes:
        """Give at most ``size`` bytes, b"" at the end; EOFError if the file ends earlier than it should."""
        while True:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data.lstrip(b"\0") or self._packed.read(_CHUNK).lstrip(b"\0")
                if not rest:
                    return b""
                self._unpacker = lzma.LZMADecompressor(memlimit=_MEMORY)  # one stream after the other
                content = self._unpacker.decompress(rest, size)
            else:
                more = self._packed.read(_CHUNK) if self._unpacker.needs_input else b""
                if not more and self._unpacker.needs_input:
                    raise EOFError("it is cut short")
                content = self._unpacker.decompress(more, size)
            if content:
                return content


class Forward:
    """What tarfile needs of a file, without ever going back; ArtifactCorrupt past ``most`` bytes."""

    def __init__(self, source: _Source, most: int, name: str) -> None:
        self._source, self._most, self._name, self._at = source, most, name, 0

    def tell(self) -> int:
        """Give how many bytes were read."""
        return self._at

    def seek(self, position: int) -> None:
        """Read on to a position."""
        while self._at < position and self.read(min(_CHUNK, position - self._at)):
            pass
        if position < self._at:
            raise ArtifactCorrupt(f"{self._name} cannot be read in order", hint=_AGAIN)

    def read(self, size: int) -> bytes:
        """Give the next ``size`` bytes, fewer at the end."""
        if not 0 <= size <= _AT_ONCE:
            raise ArtifactCorrupt(f"{self._name} asks for {size:,} bytes at once", hint=_AGAIN)
        pieces: list[bytes] = []
        left = size
        while left and (piece := self._source.read(left)):
            pieces.append(piece)
            left -= len(piece)
        self._at += size - left
        if self._at > self._most:
            raise ArtifactCorrupt(f"{self._name} unpacks to more than {self._most >> 20} MiB", hint=_AGAIN)
        return b"".join(pieces)


@contextmanager
def content(path: Path, most: int) -> Iterator[Forward]:
    """Read a file, unpacked if it is packed (xz, gzip, bzip2); ``ArtifactCorrupt`` for damage or too much of it."""
    name = plain(path)
    with path.open("rb") as file:
        beginning = file.read(6)
        file.seek(0)
        source: _Source = file
        if beginning.startswith(b"\xfd7zXZ\0"):
            source = _Xz(file)
        elif beginning.startswith(b"\x1f\x8b"):
            source = gzip.GzipFile(fileobj=file)
        elif beginning.startswith(b"BZh"):
            source = bz2.BZ2File(file)
        try:
            yield Forward(source, most, name)
        except (EOFError, lzma.LZMAError, zlib.error, OSError, tarfile.TarError) as error:
            if getattr(error, "errno", None) is not None:  # not gzip's and bzip2's, whose errors are an OSError too
                raise
            raise ArtifactCorrupt(f"{name} is damaged: {error}", hint=_AGAIN) from error


def members(file: Forward, name: str, wanted: str = "") -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
    """Give path, description and, of a plain file, content of each member of a tar archive, in its order.

    The content can be read until the next member is asked for.  A path that is absolute or has ``..`` in it refuses the
    whole archive: ``ArtifactCorrupt``.  ``UsageError``, with ``wanted`` as its hint, if it is no archive.
    """
    try:
        archive = tarfile.TarFile(fileobj=file)  # type: ignore[arg-type]
    except tarfile.ReadError as error:
        raise UsageError(f"{name} is no archive: {error}", hint=wanted) from error
    for _ in range(_MOST_MEMBERS):
        member = archive.next()
        if member is None:
            return
        archive.members.clear()  # type: ignore[attr-defined]  # of one that is passed nothing is wanted any more
        path = member.name.removeprefix("./")
        if path.startswith("/") or ".." in path.split("/"):
            raise ArtifactCorrupt(f"{name} is refused: it holds the path {member.name[:80]!r}", hint=_AGAIN)
        yield path, member, archive.extractfile(member) if member.isreg() and not member.issparse() else None
    raise ArtifactCorrupt(f"{name} is refused: it holds more than {_MOST_MEMBERS:,} files", hint=_AGAIN)


def take(path: Path, member: str, target: Path, most: int) -> None:
    """Write one plain file to ``target``: the content of a packed file, or, with ``member``, one of an archive.

    Raises ``ArtifactCorrupt`` if it is not there, no plain file, or has more than ``most`` bytes.
    """
    with content(path, most) as file, target.open("wb") as out:
        if not member:
            while piece := file.read(_CHUNK):
                out.write(piece)
            return
        for name, _, inside in members(file, plain(path)):
            if name == member and inside is not None:
                while piece := inside.read(_CHUNK):
                    out.write(piece)
                return
    raise ArtifactCorrupt(f"{plain(path)} has no file {member}", hint=_AGAIN)
