"""Makes a FreeBSD kernel bootable, with the app on an ISO image in its memory.

In the cache, ``kernels/ID/`` has what ``own`` and ``base`` describe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from images import kernels
from images.guests import Guest
from images.guests.freebsd import base, entry, iso, own
from images.model import Bootable, Given, GuestSpec, KernelImage, Loaded, Program
from profiler.errors import UsageError

APP: Final = "/app"
INIT: Final = "/weaklink.init"
ARGUMENTS: Final = "/weaklink.argv"
OPTIONS: Final = "/weaklink.options"
FOLDERS: Final = ("/dev", "/tmp")

_LONGEST_COMMAND_LINE: Final = 2000  # the kernel has a page for all tunables together
_LARGEST_DISK: Final = 128 << 20  # bytes; it lies in the guest's memory
_LONGEST_VALUE: Final = 128  # KENV_MVALLEN
_MOST_ARGUMENTS: Final = 250
_MOST_BYTES: Final = 60_000


def prepare(
    guest: Guest, spec: GuestSpec, program: Program, arguments: Sequence[str], *,
    cache: Path, work: Path, progress: Callable[[str], None],
) -> Bootable:  # fmt: skip
    """See ``images.catalog.prepare``."""
    kernel = _kernel(kernels.checked(guest, cache, own.KERNEL, own.SYMBOLS))
    words = work / "weaklink.argv"
    words.write_bytes(_words([APP, *arguments]))
    options = work / "weaklink.options"
    options.write_bytes(_words(spec.options))
    disk = work / "disk.iso"
    system = base.system(kernels.place(guest, cache), progress)
    iso.write(
        disk,
        {
            **program.libraries, **program.files, APP: program.elf,
            INIT: system / base.INIT, ARGUMENTS: words, OPTIONS: options,
        },
        FOLDERS,
    )  # fmt: skip
    append = command_line(guest, spec, disk.stat().st_size)
    return Bootable(
        spec, guest.kind, kernel, guest.machine, disk, append, guest.panics, guest.memory_mib, program=program,
        user=(Loaded(program.elf, 0, program.own),),
    )  # fmt: skip


def ready(guest: Guest, *, cache: Path) -> KernelImage | None:
    """Give the guest's kernel if it was added; its digests are not checked here."""
    found = kernels.image(guest, cache, own.KERNEL, own.SYMBOLS) if guest.added else None
    return _kernel(found) if found else None


def place(guest: Guest, *, cache: Path) -> Path | None:
    """Give the directory that the guest's kernel is in, or should be; None if none was added."""
    return kernels.place(guest, cache) if guest.added else None


def adopt(given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """See ``images.guests.Builder``."""
    return own.adopt(given, directory, progress)


def sysroot(guest: Guest, *, cache: Path, progress: Callable[[str], None]) -> Path | None:
    """See ``images.guests.Builder``."""
    kernels.checked(guest, cache, own.KERNEL, own.SYMBOLS)
    return base.system(kernels.place(guest, cache), progress)


def command_line(guest: Guest, spec: GuestSpec, size: int) -> str:
    """Give the tunables, each NAME=VALUE: of the disk (``size`` in bytes), the guest's, the spec's options."""
    if size > _LARGEST_DISK:
        raise UsageError("the app's files are too large", hint=f"at most {_LARGEST_DISK >> 20} MiB fit")
    for option in spec.options:
        _, equals, value = option.partition("=")
        if not equals or not value or len(value) >= _LONGEST_VALUE or "," in option:
            raise UsageError(
                f"option {option} of {spec} is no tunable of FreeBSD", hint="write NAME=VALUE, without commas"
            )
    line = " ".join((entry.IMAGE + "0" * entry.DIGITS, f"hint.md.0.len={size}", guest.append, *spec.options))
    if len(line) > _LONGEST_COMMAND_LINE:
        raise UsageError(f"the command line of {spec} has {len(line)} characters", hint="give fewer or shorter words")
    return line


def _kernel(added: KernelImage) -> KernelImage:
    """Give the kernel as it is started; its digest is the one of the file that the user gave."""
    return replace(added, elf=added.elf.with_name(own.BOOT))


def _words(words: Sequence[str]) -> bytes:
    content = b"".join(word.encode() + b"\0" for word in words)
    if len(words) > _MOST_ARGUMENTS or len(content) > _MOST_BYTES or any("\0" in word for word in words):
        raise UsageError("these are more arguments than an app on FreeBSD is given", hint="give fewer or shorter ones")
    return content
