"""What an app is: a folder with ``app.toml`` and C sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
    app's own code in the window, all threads; ``varies`` names those whose number depends on scheduling or on
    the guest.
    """

    number: int
    name: str
    question: str
    op: str
    ops: int
    calls: Mapping[str, int] = field(hash=False)
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
        raise errors.UsageError(f"no app named {name!r}", hint=f"known apps: {', '.join(names())}")
    return read(HERE / name)


def read(folder: Path) -> App:
    """Read the app in ``folder``, whose ``app.toml`` must be complete; raises ``errors.AppBuild`` if it is not."""
    path = folder / "app.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return App(
            name=str(table["name"]),
            description=str(table["description"]),
            folder=folder,
            sources=tuple(map(str, table["sources"])),
            cflags=tuple(map(str, table["cflags"])),
            phases=tuple(map(_phase, table.get("phase", []))),
            system_sources={
                str(system): tuple(map(str, sources)) for system, sources in table.get("system_sources", {}).items()
            },
            source=Source.of(table["source"]) if "source" in table else None,
        )
    except (OSError, tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.AppBuild(f"{path}: {error!r}", hint="compare it with the app.toml of the app tour") from error


def _phase(table: Mapping[str, Any]) -> Phase:
    return Phase(
        number=int(table["number"]),
        name=str(table["name"]),
        question=str(table["question"]),
        op=str(table["op"]),
        ops=int(table["ops"]),
        calls=MappingProxyType({str(call): int(count) for call, count in table.get("calls", {}).items()}),
        varies=frozenset(map(str, table.get("varies", []))),
        scales=_scales(table["scales"]) if "scales" in table else None,
    )


def _scales(table: Mapping[str, Any]) -> Scales:
    found = Scales(str(table["series"]), str(table["unit"]), int(table["load"]))
    if found.load < 1:
        raise ValueError("a load is at least 1")
    return found
