"""Guests: a folder with a ``guest.toml`` for each, and a ``builder.py`` in the folder of each kind.

``guest.toml`` is data: ``kind`` names the folder whose builder makes it bootable, ``like`` another guest whose keys
hold where they are not given.  The folder of a kind has what holds for every kernel of that kind, those that the user
adds (``images.added``) included.  A builder module has four functions::

    prepare(guest, spec, files, init_args, *, cache, work, progress) -> Bootable
    ready(guest, *, cache) -> KernelImage | None        what is in the cache already, without fetching anything
    place(guest, *, cache) -> Path | None               the directory that its kernel is or should be in
    adopt(kernel, symbols, directory, progress)         take a kernel of the user's, or say what the file is instead
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Final, Protocol, cast

from images.model import Bootable, GuestSpec, KernelImage
from profiler.errors import UsageError

_FILE: Final = "guest.toml"


@dataclass(frozen=True)
class Guest:
    """A ``guest.toml``, checked.  ``source`` is for the kind's builder alone; ``added``: by the user."""

    name: str
    kind: str
    description: str
    runtimes: tuple[str, ...]
    machine: str
    memory_mib: int
    append: str
    panics: tuple[str, ...]
    reserved: tuple[str, ...]
    source: Mapping[str, str] = field(hash=False)
    added: bool = False


class Builder(Protocol):
    """What a ``builder.py`` provides."""

    def prepare(
        self, guest: Guest, spec: GuestSpec, files: Mapping[str, Path], init_args: Sequence[str], *,
        cache: Path, work: Path, progress: Callable[[str], None],
    ) -> Bootable:  # fmt: skip
        """Make ``guest`` bootable with an app; see ``images.catalog.prepare``."""

    def ready(self, guest: Guest, *, cache: Path) -> KernelImage | None:
        """Give the guest's kernel if it can be had without fetching anything."""

    def place(self, guest: Guest, *, cache: Path) -> Path | None:
        """Give the directory that the guest's kernel is in, or should be; None before it was ever fetched."""

    def adopt(
        self, kernel: Path, symbols: Path | None, directory: Path, progress: Callable[[str], None]
    ) -> Mapping[str, Any]:
        """Put the files of a user's kernel into ``directory``; ``version`` and more to write down beside them.

        Raises ``UsageError`` for a file that is something else, saying what, and ``ArtifactCorrupt``.
        """


def builder_of(guest: Guest) -> Builder:
    """Give the builder of a guest's kind."""
    return load_builder(guest.kind)


def load_builder(kind: str) -> Builder:
    """Give the builder of one of ``images.kinds()``."""
    return cast(Builder, import_module(f"images.guests.{kind}.builder"))


def names() -> list[str]:
    """Give the names of the guests that come with weaklink, sorted."""
    return sorted(entry.name for entry in resources("images.guests").iterdir() if (entry / _FILE).is_file())


@cache
def load(name: str) -> Guest:
    """Read one guest's data; ``UsageError`` names the guests that exist."""
    if name not in names():
        raise UsageError(f"there is no guest {name!r}", hint=f"guests: {', '.join(names())}")
    data = _read(name)
    guest = Guest(
        name=name,
        kind=data["kind"],
        description=data["description"],
        runtimes=tuple(data["runtimes"]),
        machine=data["machine"],
        memory_mib=data["memory_mib"],
        append=" ".join(data["append"].split()),
        panics=tuple(data["panics"]),
        reserved=tuple(data["reserved"]),
        source=dict(data["source"]),
    )
    for pattern in guest.panics:
        re.compile(pattern)
    return guest


def _read(name: str) -> dict[str, Any]:
    data = tomllib.loads((resources("images.guests") / name / _FILE).read_text(encoding="utf-8"))
    return {**_read(data["like"]), **data} if "like" in data else data
