"""What one asks of guests: which there are, whether their kernels are whole, and to make one bootable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from images import added, guests, store
from images.model import Bootable, GuestInfo, GuestSpec
from profiler.errors import ArtifactCorrupt, UsageError


def check(spec: GuestSpec, cache: Path | None = None) -> guests.Guest:
    """Give the guest that a spec names; ``UsageError`` if there is none or it cannot have this runtime or option."""
    guest = guests.load(spec.name) if spec.name in guests.names() else added.load(spec.name, _home(cache))
    if spec.runtime and spec.runtime not in guest.runtimes:
        raise UsageError(
            f"guest {guest.name} has no runtime {spec.runtime!r}", hint=f"runtimes: {', '.join(guest.runtimes)}"
        )
    for option in spec.options:
        if option.partition("=")[0].replace("-", "_") in guest.reserved:
            raise UsageError(f"option {option} of {spec} is set by weaklink itself", hint="leave it out")
    return guest


def prepare(
    spec: GuestSpec,
    files: Mapping[str, Path],
    init_args: Sequence[str],
    *,
    cache: Path | None = None,
    work: Path,
    progress: Callable[[str], None],
) -> Bootable:
    """Make a guest bootable with an app: fetch and unpack its kernel if need be, pack ``files`` into an initramfs.

    ``files`` maps paths in the guest to files here, the app itself being ``init``; ``init_args`` are its arguments.
    What belongs to this run alone goes into ``work`` (an existing directory), the kernel into ``cache`` (the user's
    own by default).  ``progress`` gets one line for each thing that takes long.

    Raises ``UsageError`` for a spec or argument the guest cannot have, ``ArtifactUnavailable``, ``ArtifactCorrupt``,
    ``DiskFull``, ``ToolMissing``.
    """
    guest = check(spec, cache)
    return guests.builder_of(guest).prepare(
        guest, spec, files, init_args,
        cache=_home(cache), work=work, progress=progress,
    )  # fmt: skip


def list_guests(cache: Path | None = None) -> list[GuestInfo]:
    """Describe every guest, without fetching anything and without checking what the cache holds."""
    home = _home(cache)
    listing = []
    for name in _every(home):
        try:
            guest = check(GuestSpec(name), home)
        except ArtifactCorrupt as error:  # a registration that cannot be read must not hide the other guests
            listing.append(GuestInfo(name, "", "", "", "", "damaged", (), str(error)))
            continue
        kernel = guests.builder_of(guest).ready(guest, cache=home)
        missing = "damaged" if guest.added else "fetched on first use"
        listing.append(
            GuestInfo(
                name=guest.name,
                kind=guest.kind,
                version=kernel.version if kernel else "",
                provenance=kernel.provenance if kernel else guest.source.get("provenance", ""),
                sha256=kernel.sha256 if kernel else "",
                state="ready" if kernel else missing,
                runtimes=guest.runtimes,
                description=guest.description,
            )
        )
    return listing


def verify(name: str = "", *, cache: Path | None = None) -> list[tuple[str, str]]:
    """Read every kernel in the cache again, or that of one guest: (guest, ok | changed | missing | not fetched).

    Raises ``UsageError`` if there is no guest of that name.
    """
    home = _home(cache)
    return [(each, _state(each, home)) for each in ([name] if name else _every(home))]


def _state(name: str, cache: Path) -> str:
    try:
        guest = check(GuestSpec(name), cache)
    except ArtifactCorrupt:
        return "changed"
    builder = guests.builder_of(guest)
    place = builder.place(guest, cache=cache)
    if place is None:
        return "not fetched"
    kernel = builder.ready(guest, cache=cache)
    if not place.is_dir() or (kernel and not (kernel.elf.exists() and kernel.symbols.exists())):
        return "missing"
    return "ok" if kernel and store.intact(place) else "changed"


def _every(cache: Path) -> list[str]:
    return [*guests.names(), *(name for name in added.names(cache) if name not in guests.names())]


def _home(cache: Path | None) -> Path:
    return store.cache_dir() if cache is None else store.private_directory(cache)
