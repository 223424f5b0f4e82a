"""What one asks of guests: which there are, whether their kernels are whole, and to make one bootable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from images import added, guests, store, upstream
from images.model import Bootable, GuestInfo, GuestSpec, Program
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, UsageError


def check(spec: GuestSpec, cache: Path | None = None) -> guests.Guest:
    """Give the guest that a spec names; ``UsageError`` if there is none or it cannot have this runtime or option.

    ``ArtifactUnavailable`` if its kernel has to be added first.
    """
    home = _home(cache)
    guest = added.load(spec.name, home)
    if guest.kernelless:
        raise ArtifactUnavailable(f"there is no kernel of guest {guest.name} here", hint=_getting(guest))
    guest.runtime(spec.runtime)
    for option in spec.options:
        if option.partition("=")[0].replace("-", "_") in guest.reserved:
            raise UsageError(f"option {option} of {spec} is set by weaklink itself", hint="leave it out")
    return guest


def prepare(
    spec: GuestSpec,
    program: Program,
    arguments: Sequence[str],
    *,
    cache: Path | None = None,
    work: Path,
    progress: Callable[[str], None],
) -> Bootable:
    """Make a guest bootable with a program and its arguments: fetch its kernel if need be, pack the program's files.

    ``program`` is built for the target of the spec's runtime (``Guest.runtime``).  What belongs to this run alone goes
    into ``work`` (an existing directory), the kernel into ``cache`` (the user's own by default).  ``progress`` gets one
    line for each thing that takes long.

    Raises ``UsageError`` for a spec or argument the guest cannot have, ``ArtifactUnavailable``, ``ArtifactCorrupt``,
    ``DiskFull``, ``ToolMissing``.
    """
    guest = check(spec, cache)
    return guests.builder_of(guest).prepare(
        guest, spec, program, arguments,
        cache=_home(cache), work=work, progress=progress,
    )  # fmt: skip


def sysroot(guest: guests.Guest, *, cache: Path | None = None, progress: Callable[[str], None]) -> Path | None:
    """Give the directory with the system that a guest's programs are built against; None: this machine's own.

    Raises ``ArtifactCorrupt``, ``ToolMissing``, ``DiskFull``.
    """
    return guests.builder_of(guest).sysroot(guest, cache=_home(cache), progress=progress)


def list_guests(cache: Path | None = None) -> list[GuestInfo]:
    """Describe every guest, without fetching anything and without checking what the cache holds."""
    home = _home(cache)
    listing = []
    for name in _every(home):
        try:
            guest = added.load(name, home)
        except ArtifactCorrupt as error:  # a registration that cannot be read must not hide the other guests
            listing.append(GuestInfo(name, "", "", "", "", "damaged", (), str(error)))
            continue
        kernel = guests.builder_of(guest).ready(guest, cache=home)
        missing = "damaged" if guest.added else "not here" if guest.kernelless else "fetched on first use"
        listing.append(
            GuestInfo(
                name=guest.name,
                kind=guest.kind,
                version=kernel.version if kernel else "",
                provenance=kernel.provenance if kernel else guest.source.get("provenance", ""),
                sha256=kernel.sha256 if kernel else "",
                state="ready" if kernel else missing,
                runtimes=tuple(guest.runtimes),
                description=_getting(guest) if guest.kernelless else guest.description,
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
        guest = added.load(GuestSpec(name).name, cache)
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


def _getting(guest: guests.Guest) -> str:
    """Say how a guest gets a kernel; a release is fetched if that is all that it needs."""
    adding = f"weaklink guests add {guest.name} --kind {guest.kind} {upstream.giving(guest.kind)}"
    pulling = f"weaklink guests pull {guest.name}"
    return f"get it: {pulling}, or add yours: {adding}" if upstream.complete(guest.kind) else f"add it: {adding}"


def _every(cache: Path) -> list[str]:
    return [*guests.names(), *(name for name in added.names(cache) if name not in guests.names())]


def _home(cache: Path | None) -> Path:
    return store.cache_dir() if cache is None else store.private_directory(cache)
