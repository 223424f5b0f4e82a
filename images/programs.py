"""A program of the user's as something that guests run: what it is, what it needs, and which of its functions are its.

Nothing of it is executed here.  What it is not is said in words, so that a wrong file is recognised at once.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from images import client, elf, identify
from images.libraries import libraries
from images.model import Program
from images.store import sha256_file
from profiler.errors import UsageError

CLIENT: Final = "weaklink-client.so"
"""The client's name in a guest, where it lies beside the C library."""

_HEADER: Final = struct.Struct("<4sBBBB8sHHIQ")  # e_ident: magic, class, data, version, system, padding; ... e_entry
_SYSTEMS: Final[Mapping[int, str]] = {2: "NetBSD", 6: "Solaris", 9: "FreeBSD", 12: "OpenBSD"}  # EI_OSABI
_SECONDS: Final = 30
_WANTED: Final = "give a program for 64-bit x86 Linux: an ELF file, static or dynamic"


def program(
    path: Path, cache_directory: Path, *, with_client: Path | None = None, files: Mapping[str, Path] | None = None
) -> Program:
    """Describe the program at ``path``, with a client (a C source or a shared object) to be loaded into it.

    ``files`` are what it wants beside its libraries: absolute path in the guest -> file here.
    Its ``target`` is ``linux-static`` or ``linux-pie``, the latter for everything that a loader starts.  Raises
    ``UsageError`` for a file that is no program for x86-64 Linux, or whose libraries are not on this machine, and what
    ``client.build`` raises.
    """
    _header(path)
    digest = source = sha256_file(path)
    interpreter, needed = libraries(path)
    preload = ""
    if with_client is not None:
        if not interpreter:
            raise UsageError(
                f"{path} is static: no client can be loaded into it", hint="leave --with out, or give a dynamic program"
            )
        shared = client.build(with_client, cache_directory)
        source = hashlib.sha256(f"{digest} {sha256_file(shared)}".encode()).hexdigest()
        _, needed = libraries(path, [shared])
        preload = str(_home(needed) / CLIENT)
        needed = {**needed, preload: shared}
    given = _checked(files or {}, needed)
    source = _with(source, given)
    return Program(
        elf=path, sha256=digest, target="linux-pie" if interpreter else "linux-static", source_sha256=source,
        own=None if interpreter else _own(path), libraries=needed, interpreter=interpreter, files=given,
        preload=preload, init=False,
    )  # fmt: skip


def _checked(files: Mapping[str, Path], taken: Mapping[str, Path]) -> Mapping[str, Path]:
    for place, file in files.items():
        if not place.startswith("/") or place in taken or not PurePosixPath(place).name:
            raise UsageError(
                f"{place[:80]!r} is no place for a file in a guest", hint="give an absolute path of its own"
            )
        if not file.is_file():
            raise UsageError(f"{file} is not a file", hint=f"it was to become {place} in the guest")
    return dict(sorted(files.items()))


def _with(source: str, files: Mapping[str, Path]) -> str:
    """Give the digest of an app that has these files as well."""
    if not files:
        return source
    parts = [source, *(f"{place} {sha256_file(file)}" for place, file in files.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _home(needed: Mapping[str, Path]) -> PurePosixPath:
    """Where the libraries are."""
    return next((PurePosixPath(path).parent for path in needed if path.endswith("/libc.so.6")), PurePosixPath("/lib"))


def _header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(identify.HEAD)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_WANTED) from error
    if beginning.startswith(b"#!"):
        first = beginning[2:80].split(b"\n")[0].decode("ascii", errors="replace").strip()
        raise UsageError(
            f"{path} is a script for {first}, not a program",
            hint="give the interpreter itself as the program; a guest has no files but the program's own",
        )
    if not beginning.startswith(elf.MAGIC) or len(beginning) < _HEADER.size:
        raise UsageError(f"{path} is {identify.what(beginning)}, not a program", hint=_WANTED)
    bits, order, kind, machine = elf.head(beginning)
    if (bits, order, machine) != (64, 1, elf.X86_64) or kind not in (elf.EXECUTABLE, elf.SHARED):
        raise UsageError(f"{path} is {identify.what(beginning)}", hint=_WANTED)
    fields = _HEADER.unpack_from(beginning)
    if fields[4] in _SYSTEMS:
        raise UsageError(f"{path} is a program for {_SYSTEMS[fields[4]]}", hint=_WANTED)
    if not fields[9]:
        raise UsageError(f"{path} is a library, not a program: it has no entry point", hint=_WANTED)


def _own(path: Path) -> frozenset[str] | None:
    """Tell a static program's own functions from libc's: those whose names the libc of this machine does not define.

    None, all of them, if this machine has no static libc to ask, or the program no symbols.
    """
    theirs = _libc()
    names = _functions(path)
    return frozenset(names - theirs) if names and theirs else None


def _functions(path: Path) -> frozenset[str]:
    return _listed(["nm", "--defined-only", "--format=posix", str(path)])


@cache
def _libc() -> frozenset[str]:
    """Every function that the compiler would link in from its static libc."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        return frozenset()
    names: frozenset[str] = frozenset()
    for archive in ("libc.a", "libpthread.a", "libm.a", "libgcc.a", "libgcc_eh.a"):
        found = subprocess.run(
            ["gcc", f"-print-file-name={archive}"], capture_output=True, text=True, timeout=_SECONDS, check=False
        ).stdout.strip()
        if Path(found).is_absolute() and Path(found).is_file():
            names |= _listed(["nm", "--defined-only", "--format=posix", found])
    return names


def _listed(command: list[str]) -> frozenset[str]:
    """The functions among what ``nm`` prints: NAME LETTER VALUE SIZE."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    rows = (line.split(" ") for line in done.stdout.splitlines())
    return frozenset(row[0] for row in rows if len(row) >= 2 and row[1] in "tTwWiI")
