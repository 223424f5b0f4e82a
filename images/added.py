"""Guests that the user added: a kernel of one's own under a name of one's own, with all else from its kind.

In the cache::

    added/NAME.json             the registration: kind, digests, version, provenance, file name, time
    kernels/ID/                 as for the guests that come with weaklink; ID is the digest of both files' digests

Both are in the cache, under its one lock, because neither is of use without the other.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from images import guests, kinds, store
from images.intake import plain
from images.model import Given, GuestSpec
from profiler.errors import ArtifactCorrupt, UsageError

BY_THE_USER: Final = "added by the user"
"""What provenance says if nothing else is said."""

_SCHEMA: Final = 1
_LONGEST_PROVENANCE: Final = 120
_STAGE: Final = ".add-"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MOST: Final = 1000


@dataclass(frozen=True)
class Added:
    """A registration.  ``files`` has the SHA-256 of each of the kernel's files, ``file`` is the name it came under."""

    name: str
    kind: str
    home: str
    files: Mapping[str, str]
    version: str
    provenance: str
    symbols: str
    file: str
    time: str


def add(
    name: str, kind: str, given: Given, *, provenance: str = "", release: str = "", replacing: bool = False,
    cache: Path | None = None, progress: Callable[[str], None],
) -> Added:  # fmt: skip
    """Copy a kernel into the cache and register it as guest ``name``; adding the very same again changes nothing.

    ``release`` is what the kernel's own version must begin with.  Raises ``UsageError`` for a name that is taken
    (unless ``replacing``), a file that is no such kernel, or symbols of another; ``ArtifactCorrupt``, ``DiskFull``.
    """
    check_free(name)
    if kind not in kinds():
        raise UsageError(f"there is no kind of guest {kind[:40]!r}", hint=f"kinds: {', '.join(kinds())}")
    if len(provenance) > _LONGEST_PROVENANCE or not provenance.isprintable():
        raise UsageError(
            "the provenance is no line of text", hint=f"at most {_LONGEST_PROVENANCE} characters that can be printed"
        )
    home = store.cache_dir() if cache is None else store.private_directory(cache)
    kernels = home / "kernels"
    with store.locked(kernels / ".lock", lambda: progress("another weaklink is preparing a kernel, waiting for it")):
        for abandoned in kernels.glob(f"{_STAGE}*"):  # of a process that was killed: the lock is ours
            shutil.rmtree(abandoned, ignore_errors=True)
        before = _note(home, name).exists()
        old = _read(name, home) if before else None
        with store.disk_full_named(kernels), tempfile.TemporaryDirectory(prefix=_STAGE, dir=kernels) as stage:
            notes = guests.load_builder(kind).adopt(given, Path(stage), progress)
            if not re.match(rf"{re.escape(release)}(?!\w)" if release else "", str(notes["version"])):
                raise ArtifactCorrupt(
                    f"the kernel says that it is {notes['version']}, not {release}", hint="fetch it from another mirror"
                )
            files = {path.name: store.sha256_file(path) for path in sorted(Path(stage).iterdir())}
            new = Added(
                name=name,
                kind=kind,
                home=hashlib.sha256(" ".join(f"{file}={files[file]}" for file in sorted(files)).encode()).hexdigest(),
                files=files,
                version=str(notes["version"]),
                provenance=provenance or BY_THE_USER,
                symbols=str(notes["symbols"]),
                file=plain(given.kernel),
                time=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            same = old is not None and (old.home, old.provenance) == (new.home, new.provenance)
            if before and not replacing and not same:
                raise UsageError(
                    f"there is a guest {name} already, with another kernel, other symbols or another provenance",
                    hint="choose another name, or say --replace",
                )
            seal = store.read_json(kernels / new.home / store.SEAL) or {}
            if seal.get("files") != files or not store.intact(kernels / new.home):
                store.build_directory(kernels / new.home, lambda directory: _moved(Path(stage), directory, notes))
        if old is None or not same:
            store.write_json(_note(home, name), {"schema": _SCHEMA, **asdict(new)})
        if old is not None and old.home != new.home:
            _drop(old.home, home)
    return old if old is not None and same else new


def remove(name: str, *, cache: Path | None = None, progress: Callable[[str], None]) -> None:
    """Forget a guest that was added, and its kernel if no other guest has the same; ``UsageError`` if there is none."""
    home = store.cache_dir() if cache is None else store.private_directory(cache)
    GuestSpec(name)
    with store.locked(home / "kernels/.lock", lambda: progress("another weaklink is preparing a kernel, waiting")):
        if not _note(home, name).exists():
            if name in guests.names():
                raise UsageError(f"guest {name} comes with weaklink", hint="only what was added can be removed")
            raise _unknown(name, home)
        old = _read(name, home)
        _note(home, name).unlink()
        if old is not None:
            _drop(old.home, home)


def names(cache: Path) -> list[str]:
    """Give the names of the guests that were added, sorted."""
    return sorted(path.stem for path in (cache / "added").glob("[a-z0-9]*.json"))[:_MOST]


def load(name: str, cache: Path) -> guests.Guest:
    """Give a guest by name.  One that was added has its kind's data with its own name and kernel.

    ``UsageError`` names the guests that exist; ``ArtifactCorrupt`` if the registration cannot be read.
    """
    if not _note(cache, name).exists():
        if name in guests.names():
            return guests.load(name)
        raise _unknown(name, cache)
    entry = _read(name, cache)
    if entry is None:
        raise ArtifactCorrupt(
            f"the registration of guest {name} cannot be read", hint=f"run: weaklink guests remove {name}"
        )
    return replace(
        guests.load(entry.kind), name=name, added=True, description=f"{entry.file}, added {entry.time[:10]}",
        source={"home": entry.home, "provenance": entry.provenance, **entry.files},
    )  # fmt: skip


def registered(name: str, cache: Path) -> Added | None:
    """Give the registration of a guest that was added, None if there is none or it cannot be read."""
    return _read(name, cache)


def check_free(name: str) -> None:
    """Raise ``UsageError`` unless a kernel may be added under a name, as far as names go."""
    GuestSpec(name)
    if name in guests.names() and not guests.load(name).kernelless:
        raise UsageError(f"guest {name} comes with weaklink", hint="choose another name")


def _moved(stage: Path, directory: Path, notes: Mapping[str, Any]) -> Mapping[str, Any]:
    for path in stage.iterdir():
        path.rename(directory / path.name)
    return notes


def _drop(kernel: str, cache: Path) -> None:
    """Remove a kernel that no registration names.  Call it with the lock held."""
    others = [_read(name, cache) for name in names(cache)]
    if all(other is None or other.home != kernel for other in others):
        shutil.rmtree(cache / "kernels" / kernel, ignore_errors=True)


def _note(cache: Path, name: str) -> Path:
    return cache / "added" / f"{GuestSpec(name).name}.json"


def _read(name: str, cache: Path) -> Added | None:
    """Read a registration, or None if it is not one that ``add`` has written."""
    data = store.read_json(_note(cache, name)) or {}
    schema, files = data.pop("schema", None), data.get("files")
    try:
        entry = Added(**data)
    except TypeError:
        return None
    texts = [value for key, value in asdict(entry).items() if key != "files"]
    sound = (
        schema == _SCHEMA and entry.name == name and isinstance(files, dict)
        and all(isinstance(text, str) and text.isprintable() and len(text) <= 200 for text in texts)
        and all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (entry.home, *files.values()))
        and entry.kind in kinds()
    )  # fmt: skip
    return entry if sound else None


def _unknown(name: str, cache: Path) -> UsageError:
    known = sorted({*guests.names(), *names(cache)})
    return UsageError(f"there is no guest {name[:60]!r}", hint=f"guests: {', '.join(known)}"[:1000])
