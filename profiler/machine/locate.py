"""Where a guest's loader puts an app's libraries: a boot without the probe in which Linux's ld.so says so itself.

With LD_DEBUG=files in its environment, ld.so (glibc's) writes for every file that it maps::

         2: file=libc.so.6 [0];  generating link map
         2:   dynamic: 0x00002000211d2b60  base: 0x0000200021000000   size: 0x00000000001e1f50

the program first, and ``transferring control:`` when it is done.  The next boot from the same start puts all of it in
the same places, so the answer is kept in the cache.  What stands on the console is untrusted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from profiler.errors import GuestExit, WeaklinkError
from profiler.machine import boot
from profiler.machine.command import Command

if TYPE_CHECKING:
    from images import Bootable, Loaded

LIMITS: Final = boot.Limits(boot_s=60.0, run_s=60.0)
MOST: Final = 256
"""More files than that are no app's."""

_MOST_LINES: Final = 4 * MOST

_FILE: Final = re.compile(r"\bfile=(\S{1,1023}) \[\d+\];  generating link map$")
_BASE: Final = re.compile(r"\bdynamic: 0x[0-9a-f]{1,16}  base: 0x([0-9a-f]{1,16})   size: 0x([0-9a-f]{1,16})$")
_END: Final = re.compile(r"\btransferring control: ")
_PAGE: Final = 0x1000
_USER_END: Final = 1 << 47


class Unlocated(Exception):
    """The boot did not say where the files are: why, and its console."""

    def __init__(self, failure: WeaklinkError, console: bytes) -> None:
        super().__init__(str(failure))
        self.failure, self.console = failure, console


def find(bootable: Bootable, command: Command, cache: Path, step: Callable[[str], None]) -> tuple[Loaded, ...]:
    """Give all that lies in the app's memory: ``bootable.user`` and what the loader adds.

    ``command`` is the run's own, but for the probe; where ``bootable.locate`` is None nothing is booted.  Raises
    ``Unlocated`` if the guest fails or says what cannot be.
    """
    if bootable.locate is None:
        return bootable.user
    dry = replace(command, append=bootable.locate, plugin=None)
    note = cache / "located" / f"{_key(bootable, dry)}.json"
    bases = _noted(note)
    if bases is None:
        step("looking where the libraries are")
        bases = _asked(bootable, dry)
        _note(note, bases)
    return (*bootable.user, *_loaded(bootable, bases))


def parse(lines: Iterable[str]) -> dict[str, int]:
    """Give {file as ld.so names it: base in bytes}, the program first; ``ValueError`` says what is wrong with it."""
    found: dict[str, tuple[int, int]] = {}
    name = ""
    for line in lines:
        if match := _FILE.search(line):
            name = match[1]
        elif name and (match := _BASE.search(line)):
            base, size = (int(number, 16) for number in match.groups())
            if base % _PAGE or not 0 < size < _USER_END - base:
                raise ValueError(f"it puts {name[:80]} where nothing can be: {base:#x}")
            if name in found or len(found) >= MOST:
                raise ValueError(f"it loads {name[:80]} twice, or more than {MOST} files")
            found[name] = base, size
            name = ""
    places = sorted(found.values())
    if any(base + size > following for (base, size), (following, _) in pairwise(places)):
        raise ValueError("it puts two files in one place")
    if not found:
        raise ValueError("it names no file")
    return {name: base for name, (base, _) in found.items()}


def _asked(bootable: Bootable, command: Command) -> dict[str, int]:
    lines: list[str] = []
    ended: list[str] = []

    def over(line: str) -> bool:
        if _FILE.search(line) or _BASE.search(line):
            lines.append(line)
        ended.extend(_END.findall(line))
        return bool(ended) or len(lines) > _MOST_LINES

    outcome = boot.run(
        lambda socket: replace(command, qmp_socket=socket), panics=bootable.panics, limits=LIMITS, until=over
    )
    if not ended and len(lines) <= _MOST_LINES:
        said = outcome.failure or GuestExit("the app was done before its loader had said where it put the libraries")
        raise Unlocated(said, outcome.console)
    try:
        if not ended:
            raise ValueError(f"it names more than {MOST} files")
        bases = parse(lines)
        list(_loaded(bootable, bases))
    except ValueError as error:
        failure = GuestExit(f"what the guest's loader says cannot be used: {error}", hint="look at the console")
        raise Unlocated(failure, outcome.console) from error
    return bases


def _loaded(bootable: Bootable, bases: Mapping[str, int]) -> Iterable[Loaded]:
    """Give the files here that ld.so means, the program being the first; ``ValueError`` for one that was not given."""
    from images import Loaded
    from images.libraries import of_libc

    program = bootable.program
    assert program is not None
    by_name = {PurePosixPath(path).name: file for path, file in program.libraries.items()}
    for number, (name, base) in enumerate(bases.items()):
        file = program.elf if number == 0 else by_name.get(PurePosixPath(name).name)
        if file is None:
            raise ValueError(f"it loads {name[:80]}, which is none of the app's libraries")
        libc = number > 0 and of_libc(PurePosixPath(name).name)
        yield Loaded(file, base, frozenset() if libc else program.own if number == 0 else None)


def _key(bootable: Bootable, command: Command) -> str:
    """Hash what decides where things are: the files, and the words for kernel and QEMU (the clock among them)."""
    from images import store

    key = hashlib.sha256(json.dumps([1, bootable.kernel.sha256, command.shown()]).encode())
    for image in (bootable.disk, bootable.initrd):
        key.update(b"" if image is None else bytes.fromhex(store.sha256_file(image)))
    return key.hexdigest()


def _noted(note: Path) -> dict[str, int] | None:
    from images import store

    match (store.read_json(note) or {}).get("bases"):
        case [_, *_] as pairs if all(isinstance(name, str) and isinstance(base, int) for name, base in pairs):
            return dict(pairs)
    return None


def _note(note: Path, bases: Mapping[str, int]) -> None:
    from images import store

    store.write_json(note, {"bases": [*bases.items()]})
