"""What boots: guests (kernels and how they run an app), apps, and the store of downloaded artifacts.

Importing this package alone costs nothing; each name below brings its module on first use.  (The listing is
``list_guests``, not ``guests``, because ``images.guests`` is the package with a folder per kernel.)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from images.catalog import check, list_guests, prepare, sysroot
    from images.model import Bootable, GuestInfo, GuestSpec, KernelImage, Loaded, Program

__all__ = [
    "Bootable", "GuestInfo", "GuestSpec", "KernelImage", "Loaded", "Program",
    "check", "kinds", "list_guests", "prepare", "sysroot",
]  # fmt: skip

_FUNCTIONS = ("check", "list_guests", "prepare", "sysroot")


def kinds() -> list[str]:
    """Give the kinds of kernel that there is a builder for, sorted."""
    return sorted(builder.parent.name for builder in (Path(__file__).parent / "guests").glob("*/builder.py"))


def __getattr__(name: str) -> Any:
    """Import the home of a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("images.catalog" if name in _FUNCTIONS else "images.model"), name)
