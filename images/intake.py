"""Files that the user names: opened without being believed, copied no larger than allowed."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from images import elf, identify
from profiler.errors import ArtifactCorrupt, UsageError

_CHUNK: Final = 1 << 20


def plain(path: Path) -> str:
    """Give a file's name without its directory, fit to be shown: one line, at most 100 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in path.name)[:100]


@contextmanager
def opened(path: Path, what: str, hint: str) -> Iterator[IO[bytes]]:
    """Open a plain file for reading; ``UsageError`` says what it is if it is none, or why it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer would block
    except OSError as error:
        raise UsageError(f"{what} {str(path)!r:.300} cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"{what} {str(path)!r:.300} cannot be a path", hint=hint) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        os.close(descriptor)
        plain_file = "an empty file" if stat.S_ISREG(status.st_mode) else "a device or a pipe, not a file"
        kind = "a directory, not a file" if stat.S_ISDIR(status.st_mode) else plain_file
        raise UsageError(f"{what} {str(path)!r:.300} is {kind}", hint=hint)
    with open(descriptor, "rb") as file:
        yield file


def copy(source: IO[bytes], target: Path, most: int, name: str) -> None:
    """Copy the rest of ``source`` to the new file ``target``; ``UsageError`` if there are more than ``most`` bytes."""
    left = most
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise UsageError(f"{name} has more than {most >> 20} MiB", hint="a kernel is smaller")
            file.write(chunk)
    if left == most:
        raise ArtifactCorrupt(f"{name} became empty while it was read", hint="try again once it is complete")


def taken(stack: ExitStack, path: Path, what: str, target: Path, *, most: int, kernel: str, wanted: str) -> elf.Elf:
    """Copy a file, if it is an ELF program for x86-64, and map the copy: what is tested is then what is kept.

    ``kernel`` is what it should be, for the refusal.  Raises ``UsageError`` that says what it is instead, and what
    ``opened`` and ``copy`` raise.
    """
    with opened(path, what, wanted) as source:
        beginning = source.read(identify.HEAD)
        if not beginning.startswith(elf.MAGIC) or elf.head(beginning) != (64, 1, elf.EXECUTABLE, elf.X86_64):
            raise UsageError(f"{plain(path)} is {identify.what(beginning)}, no {kernel}", hint=wanted)
        source.seek(0)
        copy(source, target, most, plain(path))
    return elf.Elf(mapped(stack, target))


def mapped(stack: ExitStack, path: Path) -> mmap.mmap:
    """Give the bytes of a file for as long as ``stack`` is open."""
    file = stack.enter_context(path.open("rb"))
    return stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
