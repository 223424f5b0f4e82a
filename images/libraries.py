"""Which files a dynamic program needs to run: its loader, and the libraries that it and they name.

Found as the loader of this machine would find them, without running anything of the program's: names from the ELF
files, places from run paths, LD_LIBRARY_PATH, ``ldconfig -p`` (the loader's own index) and the standard directories.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from images.elf import DAMAGE
from images.store import sha256_file
from profiler.errors import UsageError

_STANDARD: Final = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_INDEX_LINE: Final = re.compile(r"\s*(\S+) \((libc6,x86-64[^)]*)\) => (/.*)")
_LIBC: Final = "libc.so.6"
_MOST: Final = 1000
_SECONDS: Final = 30

_OF_LIBC: Final = re.compile(
    r"ld-(linux-x86-64|musl-x86_64)\.so\.\d+|libc\.musl-.*"
    r"|lib(c|m|mvec|pthread|dl|rt|resolv|util|anl|crypt|nsl|nss_\w+|BrokenLocale)\.so\.\d+"
)


def of_libc(name: str) -> bool:
    """Tell whether a library, by the name it is asked for, is the C library's: all others are the program's own."""
    return _OF_LIBC.fullmatch(name) is not None


@dataclass(frozen=True)
class _Dynamic:
    """What the dynamic part of an ELF file says; ``runpath`` replaces ``rpath`` where it is not None."""

    interpreter: str
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...] | None


def libraries(elf: Path, also: Sequence[Path] = ()) -> tuple[str, Mapping[str, Path]]:
    """Give the loader that ``elf`` names ("" for a static program) and {path in a guest: file here}, loader included.

    ``also`` are shared objects that will be loaded with it: what they need is in it too.
    In a guest all libraries lie in one directory, where a loader looks without index or variables: that of this
    machine's libc, whichever is taken.
    What the program opens while it runs (plug-ins, name services) cannot be known and is not there.
    Raises ``UsageError`` when the file is no 64-bit x86 program, or when something it needs is not on this machine.
    """
    program = _read(elf)
    if not program.interpreter:
        if program.needed:
            raise UsageError(f"{elf} is a library, not a program: it names no loader", hint="give a program")
        return "", {}
    loader = Path(program.interpreter)
    if not loader.is_absolute() or not loader.is_file():
        raise _missing(program.interpreter, elf)
    own_name = _read(loader).soname  # glibc's libraries name their loader; musl's is the libc as well
    found: dict[str, Path] = {}
    waiting = [(elf, program, program.rpath), *((path, of_it := _read(path), of_it.rpath) for path in also)]
    while waiting:
        wanting, dynamic, inherited = waiting.pop(0)
        for name in dynamic.needed:
            if name in found or name == own_name:
                continue
            path = _find(name, wanting, dynamic, inherited)
            if path is None:
                raise _missing(name, wanting)
            if len(found) >= _MOST:
                raise UsageError(f"{elf} needs more than {_MOST} libraries", hint="that many are not supported")
            found[name] = path
            of_it = _read(path)
            waiting.append((path, of_it, (*of_it.rpath, *inherited)))
    home = _home(found.get(_LIBC), loader)
    placed = {name if name.startswith("/") else f"{home}/{name}": path for name, path in sorted(found.items())}
    return program.interpreter, {program.interpreter: loader, **placed}


def digests(placed: Mapping[str, Path], *, libc_in_kernel: bool) -> dict[str, str]:
    """Give the SHA-256 of each of a program's libraries by its name, but for the C library's where the kernel is it."""
    names = {PurePosixPath(path).name: file for path, file in sorted(placed.items())}
    return {name: sha256_file(file) for name, file in names.items() if not (libc_in_kernel and of_libc(name))}


def _home(libc: Path | None, loader: Path) -> str:
    """Give the directory of a guest's libraries; ``libc`` is the file here, None where the loader is the libc too."""
    if libc is None:
        return str(loader.parent)
    system = [Path(_index()[_LIBC])] if _LIBC in _index() else []
    system += [path for folder in _STANDARD if (path := Path(folder, _LIBC)).is_file()]
    return str(libc.parent if libc in system or not system else system[0].parent)


def _find(name: str, wanting: Path, dynamic: _Dynamic, inherited: Sequence[str]) -> Path | None:
    """Give the file that the loader takes for ``name``: the first in its order that is of the right kind."""
    return next((path for path in _candidates(name, wanting, dynamic, inherited) if _fits(path)), None)


def _candidates(name: str, wanting: Path, dynamic: _Dynamic, inherited: Sequence[str]) -> Iterator[Path]:
    if "/" in name:
        yield Path(name)
        return
    origin = str(wanting.resolve().parent)
    folders = [*(inherited if dynamic.runpath is None else ())]
    folders += [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    folders += dynamic.runpath or ()
    for folder in folders:
        yield Path(folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)) / name
    if name in _index():
        yield Path(_index()[name])
    for folder in _STANDARD:
        yield Path(folder) / name


def _fits(path: Path) -> bool:
    if not path.is_absolute() or not path.is_file():
        return False
    try:
        _read(path)
    except UsageError:  # of another kind of machine: the loader looks further too
        return False
    return True


@cache
def _index() -> Mapping[str, str]:
    """Read the loader's index: name -> path, without those that want a newer CPU than the guest's may be."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            done = subprocess.run(
                [program, "-p"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
                env={**os.environ, "LC_ALL": "C"}, timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        rows = [found for line in done.stdout.splitlines() if (found := _INDEX_LINE.fullmatch(line))]
        return {row[1]: row[3] for row in reversed(rows) if "hwcap" not in row[2]}
    return {}


def _read(path: Path) -> _Dynamic:
    """Read the dynamic part of an ELF file; ``UsageError`` when it is none for this kind of machine."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    interpreter, soname = "", ""
    needed: list[str] = []
    paths: dict[str, tuple[str, ...]] = {}
    tag: Any  # pyelftools gives it an attribute by the tag's own name
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf.elfclass != 64 or elf["e_machine"] != "EM_X86_64" or elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
                raise UsageError(f"{path} is not a 64-bit x86 program or library", hint="give one for x86-64")
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                elif isinstance(segment, DynamicSegment):
                    for tag in segment.iter_tags():
                        if tag.entry.d_tag == "DT_NEEDED":
                            needed.append(tag.needed)
                        elif tag.entry.d_tag == "DT_SONAME":
                            soname = tag.soname
                        elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                            text = tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath
                            paths[tag.entry.d_tag] = tuple(entry for entry in text.split(":") if entry)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="give a program of this machine") from error
    except (*DAMAGE, ELFError) as error:
        why = f"{path} is not an ELF program, or is damaged: {error}"[:500]
        raise UsageError(why, hint="give a program") from error
    runpath = paths.get("DT_RUNPATH")
    rpath = paths.get("DT_RPATH", ()) if runpath is None else ()
    return _Dynamic(interpreter, soname, tuple(needed), rpath, runpath)


def _missing(name: str, wanting: Path) -> UsageError:
    return UsageError(
        f"{wanting} needs {name if name.isprintable() else ascii(name)}, which is not on this machine",
        hint="install the package that has it, or name its directory in LD_LIBRARY_PATH",
    )
