"""Released kernels: fetched from upstream, checked, and made guests as if their files had been added.

In the cache, beside what ``images.added`` describes::

    pulls/KIND-VERSION-KEY/     what is being fetched, or was when it ended early (``images.fetch``); a week at most
    pulled/KIND-VERSION.json    size and SHA-256 of each file of the first pull, which later ones must match
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from images import added, fetch, guests, store, unpack, upstream
from images.model import Given, GuestSpec, KernelImage
from images.upstream import Artifact, Release
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, UsageError

_KEPT_S: Final = 7 * 86400
_LARGEST_KERNEL: Final = 1 << 30
_OTHER: Final = (
    "pull from another mirror (--from URL); if it was the first pull that was wrong, remove its note below pulled/ in"
    " the cache"
)


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched, and who vouches for it."""

    file: str
    size: int
    sha256: str
    verified_by: str


@dataclass(frozen=True)
class Pulled:
    """A guest that is ready.  ``files`` are those that were fetched here, and not by a package manager."""

    name: str
    version: str
    provenance: str
    was_here: bool
    files: tuple[Fetched, ...] = ()


def pull(
    wanted: str, version: str = "", *, name: str = "", address: str = "", symbols: Path | None = None,
    replacing: bool = False, cache: Path | None = None, limits: fetch.Limits | None = None,
    progress: Callable[[str], None], meter: fetch.Meter,
) -> Pulled:  # fmt: skip
    """Make the release of a guest that comes with weaklink the guest ``name`` (default: the same name).

    ``address`` is the folder of a mirror, ``symbols`` as in ``Given``.  Raises ``UsageError``, ``ArtifactUnavailable``
    with the way without a network, ``ArtifactCorrupt``, ``DiskFull``.
    """
    home = store.cache_dir() if cache is None else store.private_directory(cache)
    guest = guests.load(wanted)
    if guest.source:
        if name not in ("", wanted) or address or symbols:
            raise UsageError(
                f"guest {wanted} is fetched by apt-get, which has its own mirrors and gives it its symbols",
                hint=f"say weaklink guests pull {wanted}, with @VERSION or --replace at most",
            )
        builder = guests.builder_of(guest)
        before = builder.ready(guest, cache=home)
        image = builder.fetch(guest, version, cache=home, replacing=replacing, progress=progress)
        return _ready(wanted, image, was_here=image == before)
    name = GuestSpec(name or wanted).name
    added.check_free(name)
    release = upstream.release(guest.kind, version, address)
    if (here := _here(name, release, home, replacing)) is not None:
        return here
    if release.caveat and symbols is None:
        progress(release.caveat)
    with (
        store.locked(home / "pulls/.lock", lambda: progress("another weaklink is pulling a kernel, waiting for it")),
        _way_out(name, release),
        store.disk_full_named(home / "pulls"),
    ):
        folder = home / "pulls" / _folder(release)
        _tidy(folder)
        files = _fetch(release, folder, home, limits or fetch.Limits(), progress, meter)
        try:
            given = _unpacked(release, folder, symbols)
            entry = added.add(
                name, release.kind, given, provenance=release.provenance, release=release.version,
                replacing=replacing, cache=home, progress=progress,
            )  # fmt: skip
        except (ArtifactCorrupt, UsageError) as error:
            if release.verified_by == upstream.UNVERIFIED or isinstance(error, ArtifactCorrupt):
                shutil.rmtree(folder, ignore_errors=True)  # else the next try would have the same files
            raise
        _remember(release, files, home)
        shutil.rmtree(folder, ignore_errors=True)
    return Pulled(entry.name, entry.version, entry.provenance, False, files)


def _folder(release: Release) -> str:
    """Give a name that another mirror's files have not: what comes from there is said to be from there."""
    address = release.artifacts[0].address.removesuffix(release.artifacts[0].file)
    return f"{release.kind}-{release.version}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def _ready(name: str, image: KernelImage, *, was_here: bool) -> Pulled:
    return Pulled(name, image.version, image.provenance, was_here)


def _here(name: str, release: Release, home: Path, replacing: bool) -> Pulled | None:
    """Give the guest if it is what would be pulled; ``UsageError`` if it is another and is not to be replaced.

    It is asked before anything is fetched; ``added.add`` holds it.
    """
    before = added.registered(name, home)
    if before is None or replacing:
        return None
    if before.provenance != release.provenance:
        raise UsageError(
            f"there is a guest {name} already: {before.version}, {before.provenance}",
            hint=f"have both: --name {release.kind}-{release.version.lower()}; or say --replace",
        )
    guest = added.load(name, home)
    image = guests.builder_of(guest).ready(guest, cache=home)
    return _ready(name, image, was_here=True) if image and store.intact(image.elf.parent) else None


def _tidy(folder: Path) -> None:
    """Make the folder, and remove those of others that nobody came back for.  Call it with the lock held."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder and time.time() - other.stat().st_mtime > _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)


def _fetch(
    release: Release, folder: Path, home: Path, limits: fetch.Limits,
    progress: Callable[[str], None], meter: fetch.Meter,
) -> tuple[Fetched, ...]:  # fmt: skip
    """Fetch all files of a release; the manifest first, which says how the others should be."""
    first = _first(release, home)
    told: Mapping[str, str] = {}
    files = []
    for artifact in sorted(release.artifacts, key=lambda each: each.role != upstream.MANIFEST):
        expected = _expected(artifact, told, first)
        if artifact.role == upstream.MANIFEST:
            fetch.forget(folder / artifact.file)  # small, and it must be the one of now
        progress(f"fetching {artifact.address}")
        try:
            path = fetch.fetch(expected, folder, limits=limits, meter=meter)
        except ArtifactCorrupt as error:
            if artifact.file in first:
                raise ArtifactCorrupt(
                    f"{error}, as it was in the first pull, on {first['time']}", hint=_OTHER
                ) from error
            raise
        if artifact.role == upstream.MANIFEST:
            told = upstream.manifest(path.read_bytes(), artifact.file)
        files.append(Fetched(artifact.file, path.stat().st_size, store.sha256_file(path), release.verified_by))
    return tuple(files)


def _expected(artifact: Artifact, told: Mapping[str, str], first: Mapping[str, Any]) -> Artifact:
    """Give an artifact with all that is known of it; ``ArtifactCorrupt`` if two do not say the same of it."""
    before = first.get(artifact.file, {})
    claims = {
        "what weaklink knows of this release": artifact.sha256,
        "the manifest": told.get(artifact.file, ""),
        f"the first pull, on {first.get('time', '')}": str(before.get("sha256", "")),
    }
    said = {who: digest for who, digest in claims.items() if digest}
    if len(set(said.values())) > 1:
        raise ArtifactCorrupt(
            f"the SHA-256 of {artifact.file} is not agreed on: "
            + "; ".join(f"{who}: {digest}" for who, digest in said.items()),
            hint=_OTHER,
        )
    if told and not told.get(artifact.file):
        raise ArtifactCorrupt(
            f"the manifest does not name {artifact.file}", hint="pull from another mirror: --from URL"
        )
    return replace(artifact, sha256=next(iter(said.values()), ""), size=artifact.size or int(before.get("size", 0)))


def _unpacked(release: Release, folder: Path, symbols: Path | None) -> Given:
    """Give the files for ``added.add``: the kernel taken out of what it is packed in, the base as it is."""
    files = {artifact.role: artifact for artifact in release.artifacts}
    kernel, base = files["kernel"], files.get("base")
    packed = folder / kernel.file
    target = folder / (Path(kernel.member).name if kernel.member else packed.stem)
    unpack.take(packed, kernel.member, target, _LARGEST_KERNEL)
    return Given(target, symbols, folder / base.file if base else None)


def _note(release: Release, home: Path) -> Path:
    return home / "pulled" / f"{release.kind}-{release.version}.json"


def _first(release: Release, home: Path) -> Mapping[str, Any]:
    """Read what the first pull found; ``ArtifactCorrupt`` if it cannot be read, or it would be of no use."""
    note = _note(release, home)
    data = store.read_json(note)
    if data is None and not note.exists():
        return {}
    files = [value for key, value in (data or {}).items() if key != "time"]
    sound = isinstance((data or {}).get("time"), str) and all(
        isinstance(about, dict) and isinstance(about.get("sha256"), str) and isinstance(about.get("size"), int)
        for about in files
    )
    if not data or not sound:
        raise ArtifactCorrupt(f"{note} cannot be read", hint="remove it: the next pull is the first one again")
    return data


def _remember(release: Release, files: tuple[Fetched, ...], home: Path) -> None:
    if not _note(release, home).exists():
        digests: dict[str, Any] = {each.file: {"size": each.size, "sha256": each.sha256} for each in files}
        store.write_json(_note(release, home), {"time": datetime.now(UTC).isoformat(timespec="seconds"), **digests})


@contextmanager
def _way_out(name: str, release: Release) -> Iterator[None]:
    """Put the way without this network into the hint of what could not be had."""
    try:
        yield
    except ArtifactUnavailable as error:
        error.hint += f"; with the files at hand: weaklink guests add {name} --kind {release.kind} {release.give}"
        raise
