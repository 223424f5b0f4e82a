"""Recordings of real runs that come with weaklink: what its kernels do on a machine that does not have them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def archives() -> dict[str, Path]:
    """Give the archives (``probes.archive``) by name: one per app, of several guests with eight seeds each."""
    return {path.stem: path for path in sorted(HERE.glob("*.recordings"))}
