"""A kind of fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.scene import Scene


@dataclass(frozen=True)
class Kind:
    """``happen`` causes it once and judges; ``guests`` are kinds of kernels; ``quick`` ones are in the tests."""

    name: str
    what: str
    happen: Callable[[Scene], None]
    guests: tuple[str, ...] = ("linux",)
    quick: bool = False
