"""The part of a FreeBSD base system that apps are built against: kept with the kernel, unpacked when it is needed.

In the kernel's place in the cache::

    base.tar            headers and libraries, as they were given
    system-KEY/         the same unpacked, and init built with it; KEY is the digest of all that decides what is in it
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files as resources
from pathlib import Path, PurePosixPath
from typing import Final

from images import compiler, unpack
from images.apps import freebsd
from images.intake import plain
from images.store import disk_full_named, sha256_file
from profiler.errors import ArtifactCorrupt, UsageError

FILE: Final = "base.tar"
INIT: Final = "init"

_WANTED: Final = "give the base.txz of a FreeBSD release for amd64, or the directory that it was unpacked into"
_LARGEST: Final = 512 << 20
_LARGEST_UNPACKED: Final = 4 << 30  # bytes of an archive, with what is not wanted
_CHUNK: Final = 1 << 20
_MOST_FILES: Final = 50_000
_LEFT_OUT: Final = (f"{freebsd.HEADERS}/c++/",)
_LIBRARIES: Final = frozenset(f"{freebsd.LIBRARIES}/{name}" for name in freebsd.PARTS)


def adopt(given: Path | None, target: Path) -> int:
    """Write what is wanted of a base (a directory or an archive) to ``target``; give its __FreeBSD_version.

    Raises ``UsageError`` for what is no base, ``ArtifactCorrupt`` for a damaged archive.
    """
    if given is None:
        raise UsageError("an app for FreeBSD is built against its base system", hint=f"say --base: {_WANTED}")
    version = 0
    names: set[str] = set()
    size = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in _of_directory(given) if given.is_dir() else _of_archive(given):
            size += len(content)
            if size > _LARGEST or len(names) > _MOST_FILES:
                raise UsageError(f"{plain(given)} is larger than any base", hint=_WANTED)
            if name in names:
                continue
            names.add(name)
            if name == f"{freebsd.HEADERS}/sys/param.h":
                version = freebsd.version_in(content)
            member = tarfile.TarInfo(name)  # no owner, no time: the same base gives the same bytes
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    missing = sorted(_LIBRARIES - names - {f"{freebsd.LIBRARIES}/{name}" for name in freebsd.OPTIONAL})
    if not version or missing:
        what = missing[0] if version else f"{freebsd.HEADERS}/sys/param.h"
        raise UsageError(f"{plain(given)} is no FreeBSD base: it has no {what}", hint=_WANTED)
    return version


def _wanted(name: str) -> bool:
    inside = name.startswith(freebsd.HEADERS + "/") and not name.startswith(_LEFT_OUT)
    return (inside or name in _LIBRARIES) and ".." not in PurePosixPath(name).parts


def _of_directory(folder: Path) -> Iterator[tuple[str, bytes]]:
    top = folder.resolve()
    for part in (freebsd.HEADERS, freebsd.LIBRARIES):
        for path in sorted((top / part).rglob("*")):
            name = path.relative_to(top).as_posix()
            if _wanted(name) and path.is_file() and path.resolve().is_relative_to(top):
                yield name, path.read_bytes()


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give the wanted files of an archive in its order, then those that are links to one of them."""
    if not path.is_file():
        raise UsageError(f"--base {str(path)!r:.300} is neither a directory nor a file", hint=_WANTED)
    contents: dict[str, bytes] = {}  # at hand for links: an archive is not to be unpacked once more for each
    links: dict[str, str] = {}
    with unpack.content(path, _LARGEST_UNPACKED) as file:
        for name, member, inside in unpack.members(file, plain(path), _WANTED):
            if not _wanted(name) or member.isdir():
                continue
            if member.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            elif member.islnk():
                links[name] = posixpath.normpath(member.linkname)
            elif inside is None:
                raise ArtifactCorrupt(f"{plain(path)} is refused: {name[:80]!r} is no plain file", hint="copy it again")
            elif member.size > _LARGEST:
                raise UsageError(f"{plain(path)} is larger than any base", hint=_WANTED)
            else:
                contents[name] = b"".join(iter(partial(inside.read, _CHUNK), b""))
                yield name, contents[name]
    for name, target in links.items():  # one that leads elsewhere is left out
        if target in contents:
            yield name, contents[target]


def system(kernels_place: Path, progress: Callable[[str], None]) -> Path:
    """Give the directory with the unpacked base and ``INIT``, made if need be.

    Raises ``ToolMissing`` without a compiler, ``AppBuild`` if init does not compile, ``DiskFull``.  Two at once are
    safe: the last rename loses.
    """
    source = resources("images.guests.freebsd") / "init.c"
    archive = kernels_place / FILE
    version = compiler.toolchain()
    key = hashlib.sha256(f"{sha256_file(archive)} {version} {source.read_text()}".encode()).hexdigest()[:24]
    final = kernels_place / f"system-{key}"
    if final.exists():
        return final
    progress("unpacking FreeBSD's base (once)")
    with disk_full_named(kernels_place):
        scratch = Path(tempfile.mkdtemp(prefix=".system-", dir=kernels_place))
        try:
            with tarfile.open(archive) as packed:  # our own: plain files, and no name leads out
                for member in packed:
                    content = packed.extractfile(member)
                    assert content is not None
                    path = scratch / member.name
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    path.write_bytes(content.read())
            (scratch / "init.c").write_text(source.read_text())
            _build_init(scratch)
            try:
                scratch.rename(final)
            except OSError:
                if not final.exists():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return final


def _build_init(folder: Path) -> None:
    flags, hint = freebsd.flags(folder), "FreeBSD's init does not compile with this base"
    for words in (
        ["-O2", "-std=gnu11", *flags, "-c", "init.c", "-o", "init.o"],
        [*flags, "-s", "-Wl,--build-id=none", *freebsd.link(folder, ["init.o"]), "-o", INIT],
    ):
        compiler.run([compiler.COMPILER, *words], folder, INIT, hint=hint)
