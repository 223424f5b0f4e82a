"""The causes of ``causes.toml``: what is planted, and what a true explanation says of it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.ledger import COSTS, Cost
from probes.events import LAYERS

CAUSES: Final = Path(__file__).with_name("causes.toml")
_COSTS: Final[Mapping[str, Cost]] = {"instructions": COSTS[0], "string_bytes": COSTS[1]}


class Misstated(Exception):
    """A cause that cannot be judged as it is written."""


@dataclass(frozen=True)
class Hit:
    """Where a cause must show: the first finding of a phase; ``operations`` are those that may lead it."""

    phase: str
    operations: tuple[str, ...]
    layer: str
    cost: Cost


@dataclass(frozen=True)
class Cause:
    """One planted switch: two guests that differ in it alone, where it must show, and where it must not.

    ``app`` is what runs in both, ``phases`` (of it) are those that are judged.
    """

    name: str
    base: str
    other: str
    why: str
    hit: tuple[Hit, ...]
    quiet: tuple[str, ...]
    app: str = "tour"

    @property
    def phases(self) -> list[str]:
        """Give the phases that are judged."""
        return [*(hit.phase for hit in self.hit), *self.quiet]


def load(phases_of: Callable[[str], Sequence[str]], place: Path = CAUSES) -> list[Cause]:
    """Read all causes; ``phases_of`` gives the phases that an app has.  Raises ``Misstated``."""
    return [_cause(entry, phases_of) for entry in tomllib.loads(place.read_text(encoding="utf-8"))["cause"]]


def _cause(entry: Mapping[str, Any], phases_of: Callable[[str], Sequence[str]]) -> Cause:
    hits = tuple(
        Hit(**{**hit, "operations": tuple(hit["operations"]), "cost": _COSTS[hit["cost"]]}) for hit in entry["hit"]
    )
    cause = Cause(**{**entry, "hit": hits, "quiet": tuple(entry["quiet"])})
    named = cause.phases
    if not hits or not cause.quiet or not cause.why:
        raise Misstated(f"{cause.name}: say why, where it shows, and where it does not")
    if unknown := sorted({*named} - {*phases_of(cause.app)}):
        raise Misstated(f"{cause.name}: there is no phase {', '.join(unknown)}")
    if len({*named}) < len(named):
        raise Misstated(f"{cause.name}: a phase is named twice")
    if wrong := sorted({hit.layer for hit in hits} - {*LAYERS}):
        raise Misstated(f"{cause.name}: there is no layer {', '.join(wrong)}")
    if cause.base == cause.other:
        raise Misstated(f"{cause.name}: nothing is planted")
    return cause
