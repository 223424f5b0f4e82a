"""The apps: a folder each with ``app.toml`` and C sources, and the one function that compiles them.

An app is the same static ELF on every guest.  It is compiled once into a cache whose key is everything the result
depends on (sources, flags, marker.h, compiler, libc), and holds no path of this machine, so its digest is the same
wherever the toolchain is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache as memoised
from pathlib import Path
from types import MappingProxyType
from typing import Any

from images.store import disk_full_named
from profiler import errors

_HERE = Path(__file__).resolve().parent
# What apps include.  A sibling folder, not an import: images and probes do not know each other.
_MARKER = _HERE.parent.parent / "probes" / "marker.h"
_COMPILER = "gcc"
_APT_LINE = "install it as root: apt-get install gcc libc6-dev"
_LINK_FLAGS = ("-Wl,--build-id=none",)
_MESSAGE_LINES = 8


@dataclass(frozen=True)
class Phase:
    """One numbered phase of an app, as its ``app.toml`` declares it.

    ``ops`` is the number of ops in the window.  ``calls`` are the exact entries into exported libc functions from the
    app's own code in the window, all threads; ``varies`` names those whose number depends on scheduling.
    """

    number: int
    name: str
    question: str
    op: str
    ops: int
    calls: Mapping[str, int] = field(hash=False)
    varies: frozenset[str]


@dataclass(frozen=True)
class App:
    """An app as its folder describes it; ``sources`` are relative to ``folder``."""

    name: str
    description: str
    folder: Path
    sources: tuple[str, ...]
    cflags: tuple[str, ...]
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class AppBuild:
    """A compiled app: the static ELF, its SHA-256, and the names of the app's own functions in it.

    Every other function of the ELF is libc's (or the compiler's run-time library).
    """

    elf: Path
    sha256: str
    functions: frozenset[str]


def names() -> list[str]:
    """Return the names of the apps that come with weaklink, sorted."""
    return sorted(entry.parent.name for entry in _HERE.glob("*/app.toml"))


def load(name: str) -> App:
    """Read the app ``name``; raises ``UsageError`` for a name that is none, ``AppBuild`` for a bad ``app.toml``."""
    if name not in names():
        raise errors.UsageError(f"no app named {name!r}", hint=f"known apps: {', '.join(names())}")
    return read(_HERE / name)


def read(folder: Path) -> App:
    """Read the app in ``folder``, whose ``app.toml`` must be complete; raises ``errors.AppBuild`` if it is not."""
    path = folder / "app.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return App(
            name=str(table["name"]),
            description=str(table["description"]),
            folder=folder,
            sources=tuple(map(str, table["sources"])),
            cflags=tuple(map(str, table["cflags"])),
            phases=tuple(map(_phase, table.get("phase", []))),
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise errors.AppBuild(f"{path}: {error!r}", hint="compare it with the app.toml of the app tour") from error


def _phase(table: Mapping[str, Any]) -> Phase:
    return Phase(
        number=int(table["number"]),
        name=str(table["name"]),
        question=str(table["question"]),
        op=str(table["op"]),
        ops=int(table["ops"]),
        calls=MappingProxyType({str(call): int(count) for call, count in table.get("calls", {}).items()}),
        varies=frozenset(map(str, table.get("varies", []))),
    )


def build(app: App, cache: Path) -> AppBuild:
    """Compile ``app`` unless ``cache`` holds the result already.

    Raises ``ToolMissing`` without a compiler, ``errors.AppBuild`` with the compiler's first lines if it refuses,
    ``DiskFull`` where there is no room.  Two builds at once are safe: the last rename loses.
    """
    if shutil.which(_COMPILER) is None:
        raise errors.ToolMissing(f"{_COMPILER} is not installed", hint=_APT_LINE)
    parent = cache / "apps"
    target = parent / f"{app.name}-{_key(app)[:24]}"
    found = _cached(target, app.name)
    if found is not None:
        return found
    with disk_full_named(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{app.name}-", dir=parent))  # 0700 by itself
        try:
            _compile(app, scratch)
            shutil.rmtree(target, ignore_errors=True)  # only a damaged one can be there
            try:
                (scratch / "out").rename(target)
            except OSError:
                if _cached(target, app.name) is None:  # else somebody else was first, with the same bits
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    found = _cached(target, app.name)
    if found is None:
        raise errors.AppBuild(f"{target} does not hold what was just built", hint="remove it and try again")
    return found


def _cached(target: Path, name: str) -> AppBuild | None:
    """Return the build in ``target``, or None if there is none or it is not what its own digest says."""
    try:
        description = json.loads((target / "build.json").read_text(encoding="utf-8"))
        elf = target / name
        digest = hashlib.sha256(elf.read_bytes()).hexdigest()
        if digest != description["sha256"]:
            return None
        return AppBuild(elf, digest, frozenset(map(str, description["functions"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(app: App) -> str:
    """Hash everything that the ELF depends on."""
    key = hashlib.sha256()
    for part in (_toolchain(), json.dumps([app.name, app.sources, app.cflags, _LINK_FLAGS])):
        key.update(part.encode() + b"\0")
    for path in [_MARKER, *sorted(p for p in app.folder.iterdir() if p.suffix in (".c", ".h", ".S"))]:
        key.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()


@memoised
def _toolchain() -> str:
    """Name the compiler and the libc it links: a libc update changes the ELF too."""
    version = _run([_COMPILER, "--version"], Path.cwd()).splitlines()[0]
    libc = Path(_run([_COMPILER, "-print-file-name=libc.a"], Path.cwd()).strip())
    if not libc.is_absolute():
        raise errors.ToolMissing("the static libc is not installed", hint=_APT_LINE)
    return version + " " + hashlib.sha256(libc.read_bytes()).hexdigest()


def _run(command: list[str], folder: Path) -> str:
    """Run a compiler command in ``folder``; raise ``errors.AppBuild`` with its first lines if it fails."""
    environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = (done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()
        raise errors.AppBuild("\n".join(lines[:_MESSAGE_LINES]), hint="the app's sources do not compile here")
    return done.stdout


def _compile(app: App, scratch: Path) -> None:
    """Compile in ``scratch`` under relative names only, and leave ELF and description in ``scratch``/out."""
    out = scratch / "out"
    out.mkdir(mode=0o700)
    for path in [_MARKER, *(p for p in app.folder.iterdir() if p.suffix in (".c", ".h", ".S"))]:
        shutil.copyfile(path, scratch / path.name)
    flags = [*app.cflags, f"-ffile-prefix-map={scratch}=."]
    objects = [f"{Path(source).stem}.o" for source in app.sources]
    for source, object_ in zip(app.sources, objects, strict=True):
        _run([_COMPILER, *flags, "-I.", "-c", source, "-o", object_], scratch)
    _run([_COMPILER, *flags, *_LINK_FLAGS, *objects, "-o", f"out/{app.name}"], scratch)
    functions = sorted(set().union(*(_functions(scratch / object_) for object_ in objects)))
    digest = hashlib.sha256((out / app.name).read_bytes()).hexdigest()
    (out / "build.json").write_text(json.dumps({"sha256": digest, "functions": functions}, indent=1), encoding="utf-8")


def _functions(path: Path) -> set[str]:
    """Return the functions that an object file defines, static ones and the compiler's pieces of them too."""
    from elftools.elf.elffile import ELFFile  # not needed when the cache has the answer
    from elftools.elf.sections import SymbolTableSection

    with path.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        if not isinstance(symbols, SymbolTableSection):
            return set()
        return {
            symbol.name
            for symbol in symbols.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
        }
