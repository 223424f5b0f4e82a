"""Guests: a folder with a ``guest.toml`` for each, and a ``builder.py`` in the folder of each kind.

``guest.toml`` is data: ``kind`` names the folder whose builder makes it bootable, ``like`` another guest whose keys
hold where they are not given.  The folder of a kind has what holds for every kernel of that kind, those that the user
adds (``images.added``) included.  A builder module has these functions::

    prepare(guest, spec, program, arguments, *, cache, work, progress) -> Bootable
    ready(guest, *, cache) -> KernelImage | None        what is in the cache already, without fetching anything
    place(guest, *, cache) -> Path | None               the directory that its kernel is or should be in
    sysroot(guest, *, cache, progress) -> Path | None   what programs are built against; None: this machine's own
    adopt(given, directory, progress)                   take a kernel of the user's, or say what the file is instead
    fetch(guest, version, *, cache, replacing, progress) -> KernelImage     where guest.toml has a ``source``
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Final, Protocol, cast

from images.model import Bootable, Given, GuestSpec, KernelImage, Program
from profiler.errors import UsageError

_FILE: Final = "guest.toml"


_CALLS: Final = ("system call", "function")
_KINDS: Final = {
    "linux-static": "a static program for Linux", "linux-pie": "a dynamic program for Linux",
    "freebsd-static": "a static program for FreeBSD",
}  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """One way in which a guest runs an app: how the app is built, and what a comparison with it is fair for.

    ``app`` is a target of ``images.apps``, ``programs`` are others that a user's program may have.  ``libc_in_kernel``:
    libc's functions are the kernel's own, and calls of them are no system calls.  ``returns`` is the pattern of a line
    that means that a program's main() returned 0, where the kernel does not say so.
    """

    name: str
    app: str
    fair: str
    libc_in_kernel: bool
    programs: tuple[str, ...] = ()
    returns: str = ""


@dataclass(frozen=True)
class Guest:
    """A ``guest.toml``, checked.  ``source`` is for the kind's builder alone; ``added``: by the user.

    ``settle_s``: how long after power-on, in seconds of the guest's, an app of ours begins, so that it finds a kernel
    that does not remember how long its boot waited for the host.

    ``reserved`` are the names of options that are not the user's to set, ``passed_on`` of those that reach the app
    too although the kernel knows them; ``unknown_option`` is the pattern of a line with which the kernel refuses one
    that it does not know (the group), "" where it says nothing. ``reports`` is what an app cannot find out there, for
    the recording; the first of ``runtimes`` is the default. ``program`` is what holds for programs that are not written
    for weaklink: ``append``, more words for the command line; ``ready`` and ``exit``, patterns of the lines with which
    the kernel itself says that it starts the program, and, as a group, with which status that ended.
    """

    name: str
    kind: str
    description: str
    runtimes: Mapping[str, Runtime] = field(hash=False)
    machine: str
    machine_of_several: str
    memory_mib: int
    settle_s: int
    append: str
    panics: tuple[str, ...]
    reserved: tuple[str, ...]
    passed_on: tuple[str, ...]
    reports: Mapping[str, str] = field(hash=False)
    source: Mapping[str, str] = field(hash=False)
    program: Mapping[str, str] = field(default_factory=dict, hash=False)
    unknown_option: str = ""
    added: bool = False

    @property
    def kernelless(self) -> bool:
        """Whether there is no kernel that weaklink could fetch: it has to be added."""
        return not self.added and not self.source

    def machine_with(self, vcpus: int) -> str:
        """Give QEMU's machine for so many vCPUs: not every one tells a kernel of more than one."""
        return self.machine if vcpus == 1 else self.machine_of_several

    def runtime(self, name: str) -> Runtime:
        """Give a runtime by name, the default for ""; ``UsageError`` names those that there are."""
        if name and name not in self.runtimes:
            known = ", ".join(self.runtimes)
            raise UsageError(f"guest {self.name} has no runtime {name!r}", hint=f"runtimes: {known}")
        return self.runtimes[name] if name else next(iter(self.runtimes.values()))

    def unknown_options(self, spec: GuestSpec, console: bytes) -> list[str]:
        """Give those of the spec's options of which the kernel says on its console, by name, that it knows none."""
        if not self.unknown_option:
            return []
        lines = console.decode("utf-8", errors="replace").splitlines()
        names = {found[1] for line in lines if (found := re.search(self.unknown_option, line))}
        return [option for option in spec.options if option.partition("=")[0] in names]

    def check_program(self, runtime: Runtime, program: Program) -> None:
        """Refuse a program that a runtime cannot run; ``UsageError`` says in which it can be run."""
        if program.target in (runtime.app, *runtime.programs) and not (program.preload and runtime.libc_in_kernel):
            return
        what = _KINDS.get(program.target, program.target) + (" with a client" if program.preload else "")
        able = [one for one in self.runtimes.values() if program.target in (one.app, *one.programs)]
        names = [f"{self.name}:{one.name}" for one in able if not (program.preload and one.libc_in_kernel)]
        raise UsageError(
            f"{self.name}:{runtime.name} cannot run {what}",
            hint=f"use {' or '.join(names)}" if names else f"no runtime of {self.name} can",
        )

    def named(self, spec: GuestSpec) -> GuestSpec:
        """Give a spec with its runtime where there are several to choose from, and without where there is one."""
        return replace(spec, runtime=self.runtime(spec.runtime).name if len(self.runtimes) > 1 else "")


class Builder(Protocol):
    """What a ``builder.py`` provides."""

    def prepare(
        self, guest: Guest, spec: GuestSpec, program: Program, arguments: Sequence[str], *,
        cache: Path, work: Path, progress: Callable[[str], None],
    ) -> Bootable:  # fmt: skip
        """Make ``guest`` bootable with an app; see ``images.catalog.prepare``."""

    def ready(self, guest: Guest, *, cache: Path) -> KernelImage | None:
        """Give the guest's kernel if it can be had without fetching anything."""

    def place(self, guest: Guest, *, cache: Path) -> Path | None:
        """Give the directory that the guest's kernel is in, or should be; None before it was ever fetched."""

    def adopt(self, given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
        """Put the files of a user's kernel into ``directory``; ``version`` and more to write down beside them.

        Raises ``UsageError`` for a file that is something else, saying what, and ``ArtifactCorrupt``.
        """

    def fetch(
        self, guest: Guest, version: str, *, cache: Path, replacing: bool, progress: Callable[[str], None]
    ) -> KernelImage:
        """Fetch the kernel of a guest that has a ``source`` (the others have no such function), unless it is here.

        ``version`` is one that the source has, "" for the one of before or the newest.  ``UsageError`` if the guest has
        another one already and it is not to be ``replacing`` that; ``ArtifactUnavailable``, ``ArtifactCorrupt``.
        """

    def sysroot(self, guest: Guest, *, cache: Path, progress: Callable[[str], None]) -> Path | None:
        """Give the directory with the system that programs are built against; None: this machine's own."""


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
        runtimes={key: _runtime(key, table) for key, table in data["runtimes"].items()},
        machine=data["machine"],
        machine_of_several=data.get("machine_of_several", data["machine"]),
        memory_mib=data["memory_mib"],
        settle_s=data.get("settle_s", 0),
        append=" ".join(data["append"].split()),
        panics=tuple(data["panics"]),
        reserved=tuple(data["reserved"]),
        passed_on=tuple(data.get("passed_on", ())),
        reports=dict(data.get("reports", {})),
        source=dict(data.get("source", {})),
        program=dict(data.get("program", {})),
        unknown_option=data.get("unknown_option", ""),
    )
    for pattern in (*guest.panics, guest.unknown_option, *(guest.program.get(key, "") for key in ("ready", "exit"))):
        re.compile(pattern)
    return guest


def _runtime(name: str, table: Mapping[str, Any]) -> Runtime:
    calls = table.get("calls", _CALLS[0])
    assert calls in _CALLS
    return Runtime(
        name,
        table["app"],
        table["fair"],
        calls == _CALLS[1],
        tuple(table.get("programs", ())),
        table.get("returns", ""),
    )


def _read(name: str) -> dict[str, Any]:
    data = tomllib.loads((resources("images.guests") / name / _FILE).read_text(encoding="utf-8"))
    return {**_read(data["like"]), **data} if "like" in data else data
