"""A directory for one QEMU's socket and words, that only this user may enter, and that outlives nobody for long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "weaklink-run-"
_LOCK: Final = "lock"
_YOUNG_S: Final = 60.0
"""Between making a directory and locking it a process may be slow."""


@contextmanager
def directory() -> Iterator[Path]:
    """Give a new directory below the system's for temporary files; what killed processes left there goes first.

    Not in a campaign's own directory: the path of a socket has 107 bytes at the most.
    """
    _sweep()
    place = Path(tempfile.mkdtemp(prefix=PREFIX))  # mode 0700
    try:
        lock = os.open(place / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _sweep() -> None:
    """Remove directories of this user's whose owner does not live: the kernel has dropped its lock."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = place.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _YOUNG_S:
                continue
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(lock)
