"""The cache on disk: where it is, how things get into it whole, and how damage is noticed.

A directory of the cache is filled under a temporary name and renamed into place, so it is there whole or not at all.
``seal`` writes down the SHA-256 of each file in it; ``intact`` reads them back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from profiler.errors import CacheUnusable, DiskFull, no_room

SEAL: Final = "seal.json"
_TEMPORARY: Final = ".new-"
_LARGEST_JSON: Final = 1 << 20  # bytes; what is larger was not written by us


def cache_dir() -> Path:
    """Give the cache's directory, made with mode 0700: $WEAKLINK_CACHE, $XDG_CACHE_HOME/weaklink, ~/.cache/weaklink.

    Raises ``CacheUnusable`` when it belongs to somebody else: plugins that QEMU loads are built in there.
    """
    named = os.environ.get("WEAKLINK_CACHE", "")
    if named:
        path = Path(named).absolute()
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification: a relative path there is invalid and to be ignored.
        path = (Path(base) if base.startswith("/") else Path.home() / ".cache") / "weaklink"
    return private_directory(path)


def private_directory(path: Path) -> Path:
    """Make ``path`` a directory that only this user can enter; ``CacheUnusable`` when it cannot be one."""
    try:
        with disk_full_named(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise CacheUnusable(f"the cache {path} belongs to user {owner}, not to you")
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
        if not os.access(path, os.W_OK):  # a file system that is mounted read-only, for root too
            raise CacheUnusable(f"the cache {path} cannot be written")
    except OSError as error:
        raise CacheUnusable(f"the cache {path} cannot be used: {error.strerror}") from error
    return path


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Turn "no space left" inside the block into ``DiskFull`` naming ``path``; other failures pass unchanged."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise disk_full(path) from error
        raise


def disk_full(path: Path) -> DiskFull:
    """Give the failure for a full disk under ``path``."""
    return DiskFull(
        f"no room left on the disk of {path}",
        hint="free some space, or point WEAKLINK_CACHE at a directory on another disk",
    )


def sha256_file(path: Path) -> str:
    """Give the SHA-256 of a file as 64 hexadecimal digits; ``OSError`` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; calls ``waiting`` once if another process has it.

    The kernel drops the lock when its holder dies, so a stale one cannot exist.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with disk_full_named(path), path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_directory(final: Path, fill: Callable[[Path], Mapping[str, Any]]) -> None:
    """Put the directory ``final`` in place in one rename, replacing what was there.  Call it with the lock held.

    ``fill(directory)`` writes the files and gives what else to write down beside their digests.  If it raises,
    nothing is left behind; ``DiskFull`` stands for a full disk.
    """
    with disk_full_named(final):
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for abandoned in final.parent.glob(f"{_TEMPORARY}*"):  # of a process that was killed: the lock is ours
            shutil.rmtree(abandoned, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=final.parent))
        try:
            seal(temporary, fill(temporary))
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def seal(directory: Path, notes: Mapping[str, Any]) -> None:
    """Write the digest of every file of ``directory``, and ``notes``, into its ``seal.json``."""
    files = {path.name: sha256_file(path) for path in sorted(directory.iterdir())}
    write_json(directory / SEAL, {"files": files, "notes": dict(notes)})


def intact(directory: Path) -> bool:
    """Tell whether every file that was sealed in ``directory`` is still there with the same content."""
    files = (read_json(directory / SEAL) or {}).get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        return all(
            Path(name).name == name and sha256_file(directory / name) == digest for name, digest in files.items()
        )
    except OSError:
        return False


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` to ``path`` in one rename; ``DiskFull`` when there is no room."""
    with disk_full_named(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
        try:
            temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, or None if there is no such file or it holds anything else."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            return None
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
