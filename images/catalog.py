"""The two things one asks of guests: which there are, and to make one bootable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from images import guests, store
from images.model import Bootable, GuestInfo, GuestSpec
from profiler.errors import UsageError


def check(spec: GuestSpec) -> guests.Guest:
    """Give the guest that a spec names; ``UsageError`` if there is none or it cannot have this runtime or option."""
    guest = guests.load(spec.name)
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
    guest = check(spec)
    return guests.builder_of(guest).prepare(
        guest, spec, files, init_args,
        cache=store.cache_dir() if cache is None else store.private_directory(cache), work=work, progress=progress,
    )  # fmt: skip


def list_guests(cache: Path | None = None) -> list[GuestInfo]:
    """Describe every guest, without fetching anything and without checking what the cache holds."""
    home = store.cache_dir() if cache is None else store.private_directory(cache)
    listing = []
    for name in guests.names():
        guest = guests.load(name)
        kernel = guests.builder_of(guest).ready(guest, cache=home)
        listing.append(
            GuestInfo(
                name=name,
                kind=guest.kind,
                version=kernel.version if kernel else "",
                provenance=kernel.provenance if kernel else "",
                sha256=kernel.sha256 if kernel else "",
                state="ready" if kernel else "fetched on first use",
                runtimes=guest.runtimes,
                description=guest.description,
            )
        )
    return listing
