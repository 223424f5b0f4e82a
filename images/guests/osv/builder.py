"""Makes an OSv kernel bootable, with the app and all that it wants on a disk.

In the cache, ``kernels/ID/`` has ``kernel.elf`` and, where symbols were given, ``symbols.elf`` (see ``own``).

What the runtimes are to OSv: a static program is started in place; a dynamic one is linked by the kernel with its own
libc, or, started through Linux's own loader, with the libraries on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from images import kernels
from images.guests import Guest
from images.guests.osv import linked, own, rofs
from images.model import Bootable, Given, GuestSpec, KernelImage, Loaded, Program
from profiler.errors import UsageError

APP: Final = "/app"

_ROOT: Final[Mapping[str, rofs.Content]] = {
    "/dev": None, "/proc": None, "/sys": None, "/tmp": None,
    "/etc/fstab": b"".join(
        b"none %s %s defaults 0 0\n" % mount
        for mount in ((b"/dev", b"devfs"), (b"/proc", b"procfs"), (b"/sys", b"sysfs"), (b"/tmp", b"ramfs"))
    ),
    "/etc/hosts": b"127.0.0.1 localhost\n",
    "/etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
    "/etc/group": b"root:x:0:\n",
}  # fmt: skip

_LONGEST_COMMAND_LINE: Final = 2000


def prepare(
    guest: Guest, spec: GuestSpec, program: Program, arguments: Sequence[str], *,
    cache: Path, work: Path, progress: Callable[[str], None],
) -> Bootable:  # fmt: skip
    """See ``images.catalog.prepare``."""
    kernel = kernels.checked(guest, cache, *own.FILES)
    runtime = guest.runtime(spec.runtime)
    through_loader = bool(program.interpreter) and not runtime.libc_in_kernel
    libraries = program.libraries if through_loader else linked.on_disk(program.libraries)
    disk = work / "disk.img"
    rofs.write(disk, {**_ROOT, **libraries, **program.files, APP: program.elf})
    ours = {} if program.init else guest.program
    words, environment = ours.get("append", "").split(), _environment(program) if through_loader else []
    command = [*([program.interpreter] if through_loader else []), APP, *arguments]
    return Bootable(
        spec, guest.kind, kernel, guest.machine, None, command_line(guest, spec, [*words, *environment], command),
        guest.panics, guest.memory_mib, program=program,
        user=(Loaded(program.libraries[program.interpreter], linked.BASE, frozenset()),) if through_loader
        else linked.placed(program.elf, program.own, libraries),
        disk=disk, libc_in_kernel=runtime.libc_in_kernel,
        locate=command_line(guest, spec, [*words, *environment, "--env=LD_DEBUG=files"], command)
        if through_loader else None,
        starts=ours.get("ready", ""), ends="|".join(filter(None, (ours.get("exit"), runtime.returns if ours else ""))),
    )  # fmt: skip


def ready(guest: Guest, *, cache: Path) -> KernelImage | None:
    """Give the guest's kernel if it was added; its digests are not checked here."""
    return kernels.image(guest, cache, *own.FILES) if guest.added else None


def place(guest: Guest, *, cache: Path) -> Path | None:
    """Give the directory that the guest's kernel is in, or should be; None if none was added."""
    return kernels.place(guest, cache) if guest.added else None


def adopt(given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """See ``images.guests.Builder``."""
    return own.adopt(given, directory, progress)


def sysroot(guest: Guest, *, cache: Path, progress: Callable[[str], None]) -> Path | None:
    """See ``images.guests.Builder``."""
    return None


def command_line(guest: Guest, spec: GuestSpec, environment: Sequence[str], command: Sequence[str]) -> str:
    """Give OSv's command line: the guest's words, the spec's options, the environment, the program and arguments."""
    options = [f"--{option}" for option in spec.options]
    line = " ".join((guest.append, *options, *environment, *map(quoted, command)))
    if len(line) > _LONGEST_COMMAND_LINE:
        raise UsageError(f"the command line of {spec} has {len(line)} characters", hint="give fewer or shorter words")
    return line


def quoted(word: str) -> str:
    """Give one word as OSv reads it; ``UsageError`` for what it cannot be told."""
    if not word.isascii() or not word.isprintable() or "$" in word:  # $NAME is replaced after quotes are taken off
        raise UsageError(
            f"argument {word[:60]!r} cannot be given to an app on OSv", hint="use ASCII that can be printed, without $"
        )
    if word and not set(word) & set(" \"'\\;&!"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _environment(program: Program) -> list[str]:
    """Give what Linux's loader has to be told."""
    folders = sorted({str(PurePosixPath(path).parent) for path in program.libraries})
    return [f"--env=LD_LIBRARY_PATH={':'.join(folders)}", *(f"--env={n}={v}" for n, v in program.for_loader().items())]
