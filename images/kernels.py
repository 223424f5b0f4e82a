"""The kernels that users added, as builders find them in the cache: ``kernels/ID/`` with the files and their seal."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from images import store
from images.guests import Guest
from images.model import KernelImage
from profiler.errors import ArtifactCorrupt


def place(guest: Guest, cache: Path) -> Path:
    """Give the directory that an added guest's kernel is in, or should be."""
    return cache / "kernels" / guest.source["home"]


def image(guest: Guest, cache: Path, kernel: str, symbols: str) -> KernelImage | None:
    """Give an added guest's kernel, or None if its place does not hold what was added.  No digest is checked here.

    ``kernel`` and ``symbols`` are names of files; the kernel has its symbols itself where there is no such file.
    """
    home = place(guest, cache)
    seal = store.read_json(home / store.SEAL) or {}
    added = {name: digest for name, digest in guest.source.items() if name not in ("home", "provenance")}
    try:
        if seal["files"] != added:
            return None
        return KernelImage(
            elf=home / kernel,
            symbols=home / (symbols if symbols in added else kernel),
            sha256=added[kernel],
            version=str(seal["notes"]["version"]),
            provenance=guest.source["provenance"],
        )
    except (KeyError, TypeError):
        return None


def checked(guest: Guest, cache: Path, kernel: str, symbols: str) -> KernelImage:
    """Give an added guest's kernel, its digests checked; ``ArtifactCorrupt`` if it is not what it was."""
    home = place(guest, cache)
    found = image(guest, cache, kernel, symbols)
    if found is None or not intact(home, (home / store.SEAL).stat().st_mtime_ns):
        raise ArtifactCorrupt(
            f"the kernel that was added as {guest.name} is {'damaged' if home.exists() else 'gone'}",
            hint=f"add it once more: weaklink guests add {guest.name} --kind {guest.kind} --kernel FILE --replace",
        )
    return found


@lru_cache(maxsize=16)
def intact(home: Path, _sealed_ns: int) -> bool:
    """Check the digests (0.1 s) once per process, not once per run of a campaign."""
    return store.intact(home)
