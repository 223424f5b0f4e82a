"""What an app is: a folder with ``app.toml`` and C sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from images.apps import checked
from images.apps.sources import Source
from profiler import errors

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Scales:
    """A phase of a series that does the same with more and more of something: ``load`` of ``unit``."""

    series: str
    unit: str
    load: int


@dataclass(frozen=True)
class Phase:
    """One numbered phase of an app, as its ``app.toml`` declares it.

    ``ops`` is the number of ops in the window.  ``calls`` are the exact entries into exported libc functions from the
    app's own code in the window, all threads, None where nobody has said; ``varies`` names those whose number depends
    on scheduling or on the guest.
    """

    number: int
    name: str
    question: str
    op: str
    ops: int
    calls: Mapping[str, int] | None = field(hash=False)
    varies: frozenset[str]
    scales: Scales | None = None


@dataclass(frozen=True)
class App:
    """An app as its folder describes it; ``sources`` are relative to ``folder``.

    ``system_sources`` are those that only one kernel's system is given, by the name that targets give it;
    ``source`` is a package with more of them.
    """

    name: str
    description: str
    folder: Path
    sources: tuple[str, ...]
    cflags: tuple[str, ...]
    phases: tuple[Phase, ...]
    system_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    source: Source | None = None


def names() -> list[str]:
    """Return the names of the apps that come with weaklink, sorted."""
    return sorted(entry.parent.name for entry in HERE.glob("*/app.toml"))


def load(name: str) -> App:
    """Read the app ``name``; raises ``UsageError`` for a name that is none, ``AppBuild`` for a bad ``app.toml``."""
    if name not in names():
        known = ", ".join(names())
        raise errors.UsageError(
            f"no app named {name[:60]!r}", hint=f"known apps: {known}; one of yours is named by its path, as in ./myapp"
        )
    return read(HERE / name)


def read(folder: Path) -> App:
    """Read the app in ``folder``; raises ``errors.AppBuild`` with all that is wrong with its ``app.toml``."""
    table = checked.table(folder)
    return App(
        name=table["name"],
        description=table["description"],
        folder=folder,
        sources=tuple(table["sources"]),
        cflags=tuple(table["cflags"]),
        phases=tuple(map(_phase, table["phase"])),
        system_sources={system: tuple(sources) for system, sources in table.get("system_sources", {}).items()},
        source=Source.of(table["source"]) if "source" in table else None,
    )


def _phase(table: Mapping[str, Any]) -> Phase:
    return Phase(
        number=table["number"],
        name=table["name"],
        question=table["question"],
        op=table["op"],
        ops=table["ops"],
        calls=MappingProxyType(table["calls"]) if "calls" in table else None,
        varies=frozenset(table.get("varies", [])),
        scales=Scales(**table["scales"]) if "scales" in table else None,
    )
