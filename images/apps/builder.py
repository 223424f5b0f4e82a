"""Compiles an app for a target.

It is compiled once into a cache whose key is everything the result depends on (sources, flags, marker.h, compiler,
libc), and holds no path of this machine, so its digest is the same wherever the toolchain is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from images import compiler
from images.apps import folders, freebsd, sources
from images.apps.describe import HERE, App
from images.apps.targets import Target, named
from images.model import Program
from images.store import disk_full_named, sha256_file
from profiler import errors

# What apps include.  A sibling folder, not an import: images and probes do not know each other.
_MARKER = HERE.parent.parent / "probes" / "marker.h"
_COMMON = HERE / "common"  # what every app is linked with; what only one system needs is in a folder of its name
INCLUDE = ("-I.", "-Icommon")


@dataclass(frozen=True)
class Job:
    """One build: what is compiled for what, and the files that it takes by the names that they have while compiling."""

    app: App
    target: Target
    sysroot: Path | None
    files: dict[str, Path]

    @classmethod
    def of(cls, app: App, target: str, sysroot: Path | None = None) -> Job:
        """Collect what building ``app`` for ``target`` takes; ``UsageError`` for an unknown target."""
        return cls(app, named(target), sysroot, _files(app))

    def lay_out(self, folder: Path, cache: Path) -> None:
        """Put all files to where the compiler, run in ``folder``, finds them; fetches what a package has."""
        fetched = sources.fetch(self.app.source, cache) if self.app.source else {}
        for name, path in {**self.files, **fetched}.items():
            (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)

    def flags(self) -> list[str]:
        """Give what compiling and linking are told."""
        extra = freebsd.flags(self.sysroot) if self.sysroot is not None else ()
        return [*self.app.cflags, *self.target.flags, *extra]

    def linked(self, objects: list[str]) -> list[str]:
        """Give what linking is told besides: the objects, and what goes with them."""
        words = freebsd.link(self.sysroot, objects) if self.sysroot is not None else objects
        return [*self.target.link, *words, *self.target.libraries]

    def sources(self) -> list[str]:
        """Give what is compiled, by the names in ``files``."""
        folders = (PurePath("common"), PurePath("common", self.target.system))
        common = [n for n in sorted(self.files) if PurePath(n).parent in folders and n.endswith(".c")]
        return [*self.app.sources, *self.app.system_sources.get(self.target.system, ()), *common]

    def source_digest(self) -> str:
        """Hash what the app is, whatever it is built for and with: its files, and what app.toml says of building."""
        app = self.app
        digest = hashlib.sha256()
        digest.update(json.dumps([app.name, app.sources, dict(app.system_sources), app.cflags]).encode() + b"\0")
        for name, path in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        digest.update(sources.digest(app.source).encode())
        return digest.hexdigest()

    def key(self) -> str:
        """Hash everything that the ELF depends on."""
        target = self.target
        flags = [flag.replace(str(self.sysroot), "") for flag in self.flags()]
        libc = self.sysroot / target.libc if self.sysroot is not None else compiler.libc(target.libc)
        parts = [self.source_digest(), compiler.toolchain(libc), target.name, flags, target.link, target.libraries]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def build(app: App, target: str, cache: Path, *, sysroot: Path | None = None) -> Program:
    """Compile ``app`` for ``target`` (``images.apps.targets``) unless ``cache`` holds the result already.

    ``sysroot`` is the system that the target needs, where it is another one than this machine's.  Raises ``UsageError``
    for an unknown target, ``ToolMissing`` without a compiler or libc, ``errors.AppBuild`` with the compiler's first
    lines if it refuses, ``DiskFull`` where there is no room, and what ``images.apps.sources.fetch`` raises.  Two builds
    at once are safe: the last rename loses.
    """
    job = Job.of(app, target, sysroot)
    if job.target.sysroot and sysroot is None:
        raise errors.UsageError(f"{target} needs the files of its system", hint="add them with the guest")
    parent = cache / "apps"
    place = parent / f"{app.name}-{target}-{job.key()[:24]}"
    found = _cached(place, job)
    if found is not None:
        return found
    with disk_full_named(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{app.name}-", dir=parent))  # 0700 by itself
        try:
            _compile(job, scratch, cache)
            shutil.rmtree(place, ignore_errors=True)  # only a damaged one can be there
            try:
                (scratch / "out").rename(place)
            except OSError:
                if _cached(place, job) is None:  # else somebody else was first, with the same bits
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    found = _cached(place, job)
    if found is None:
        raise errors.AppBuild(f"{place} does not hold what was just built", hint="remove it and try again")
    return found


def _files(app: App) -> dict[str, Path]:
    """Give every file that compiling may read, by its path below the folder in which that is done."""
    common = {str(PurePath("common") / name): path for name, path in folders.sources(_COMMON).items()}
    return {_MARKER.name: _MARKER} | folders.sources(app.folder) | common


def _cached(place: Path, job: Job) -> Program | None:
    """Return the build in ``place``, or None if there is none or it is not what its own digest says."""
    try:
        description = json.loads((place / "build.json").read_text(encoding="utf-8"))
        elf = place / job.app.name
        digest = sha256_file(elf)
        if digest != description["sha256"]:
            return None
        own = frozenset(map(str, description["functions"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    program = Program(elf, digest, job.target.name, job.source_digest(), own)
    return _with_libraries(program) if job.target.dynamic else program


def _with_libraries(program: Program) -> Program:
    from images.libraries import libraries  # reads the loader's index: not for static programs

    interpreter, files = libraries(program.elf)
    return replace(program, interpreter=interpreter, libraries=files)


def _run(job: Job, words: list[str], folder: Path) -> str:
    """Run the compiler in ``folder``; raise ``errors.AppBuild`` with its first lines if it fails."""
    hint = f"the sources in {job.app.folder} do not compile for {job.target.name}"
    return compiler.run([compiler.COMPILER, *words], folder, "the app", hint=hint)


def _compile(job: Job, scratch: Path, cache: Path) -> None:
    """Compile in ``scratch`` under relative names only, and leave ELF and description in ``scratch``/out."""
    out = scratch / "out"
    out.mkdir(mode=0o700)
    job.lay_out(scratch, cache)
    flags = [*job.flags(), *(f"-ffile-prefix-map={place}=." for place in (scratch, scratch.resolve()))]  # the cwd's
    objects = [f"{source.replace('/', '-')}.o" for source in job.sources()]
    for source, object_ in zip(job.sources(), objects, strict=True):
        _run(job, [*flags, *INCLUDE, "-c", source, "-o", object_], scratch)
    _run(job, [*flags, *job.linked(objects), "-o", f"out/{job.app.name}"], scratch)
    functions = sorted(set().union(*(_functions(scratch / object_) for object_ in objects)))
    digest = sha256_file(out / job.app.name)
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
