"""What a campaign runs: an app that comes with weaklink, or a program of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from profiler.errors import UsageError

if TYPE_CHECKING:
    from images import Program
    from images.apps import App
    from images.guests import Guest, Runtime
    from probes.exec.said import Phase
    from probes.exec.window import Window
    from profiler.plan import Seed

WINDOW_PHASE: Final = 1
"""The number of the one phase of a program without markers, plugin/window.c."""

_MOST_OPS: Final = 10**15


class Subject(Protocol):
    """What is run in every guest alike."""

    @property
    def name(self) -> str:
        """What it is called in recordings."""

    @property
    def args(self) -> Sequence[str]:
        """What distinguishes two runs of it in the same guest from the same seed."""

    @property
    def window(self) -> Window | None:
        """What opens and closes its window; None: markers do."""

    def program(self, guest: Guest, runtime: Runtime, cache: Path, step: Callable[[str], None]) -> Program:
        """Give the program for a runtime; ``UsageError`` if it cannot run there."""

    def check(self, guest: Guest, runtime: Runtime, cache: Path) -> None:
        """Refuse what cannot run there, as far as that costs nothing; ``UsageError``."""

    def arguments(self, seed: Seed) -> list[str]:
        """Give the arguments that the program gets."""

    def said(self, said: Sequence[Phase]) -> list[Phase]:
        """Give the phases of a run, from those that the app named on the console."""

    def phases(self, said: Sequence[Phase] | None) -> list[dict[str, Any]]:
        """Give the phases for a manifest; ``said`` is what the app named, None before the run."""


class Known:
    """An app that comes with weaklink, by its name, or another of the same form.

    Raises ``UsageError`` for an unknown app or phase, ``AppBuild``.
    """

    window: Window | None = None

    def __init__(self, app: str | App, phases: Sequence[str] = ()) -> None:
        from images import apps

        self._app = apps.load(app) if isinstance(app, str) else app
        self.name = self._app.name
        known = [phase.name for phase in self._app.phases]
        unknown = [name for name in phases if name not in known]
        if unknown:
            raise UsageError(f"{self.name} has no phase {unknown[0][:60]!r}", hint=f"phases: {', '.join(known)}")
        self._selected = frozenset(phases)
        self.args: Sequence[str] = ["--phases", ",".join(phases)] if phases else []
        self._programs: dict[tuple[str, Path | None], Program] = {}

    def program(self, guest: Guest, runtime: Runtime, cache: Path, step: Callable[[str], None]) -> Program:
        """The app, built for the runtime's target against the guest's system; once for each."""
        from images import apps, sysroot

        system = sysroot(guest, progress=step)
        key = runtime.app, system
        if key not in self._programs:
            step("building the app")
            self._programs[key] = apps.build(self._app, runtime.app, cache, sysroot=system)
        return self._programs[key]

    def check(self, guest: Guest, runtime: Runtime, cache: Path) -> None:
        """It runs wherever it can be built, which takes a while to find out."""

    def arguments(self, seed: Seed) -> list[str]:
        """The seed's spin, and the phases that were chosen."""
        return ["--spin", str(seed.spin), *self.args]

    def said(self, said: Sequence[Phase]) -> list[Phase]:
        """As it was said."""
        return list(said)

    def phases(self, said: Sequence[Phase] | None) -> list[dict[str, Any]]:
        """As app.toml declares them."""
        return [
            {"number": phase.number, "name": phase.name, "question": phase.question, "op": phase.op, "ops": phase.ops,
             **({} if phase.calls is None else {"calls": dict(phase.calls)}), "varies": sorted(phase.varies),
             **({"scales": asdict(phase.scales)} if phase.scales else {})}
            for phase in self._app.phases
            if phase.name in self._selected or not self._selected
        ]  # fmt: skip


@dataclass(frozen=True)
class Own:
    """A program of the user's: ``path`` with ``args``, a client to be loaded into it, and the files that it wants.

    ``window`` is None where the program (or its client) has markers and says itself what it did; else it is one phase
    of ``ops`` ops, each called ``op``.
    """

    path: Path
    args: Sequence[str]
    window: Window | None
    client: Path | None = None
    ops: int = 1
    op: str = "run"
    files: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot stand in a recording."""
        if not 1 <= self.ops <= _MOST_OPS:
            raise UsageError(f"{self.ops} is no number of ops", hint="give the number of requests, queries, ... done")
        if not re.fullmatch(r"[a-z][a-z0-9 -]{0,39}", self.op):
            raise UsageError(f"{self.op[:60]!r} is no name of an op", hint="use lower-case letters, as in request")

    @property
    def name(self) -> str:
        """The program's file name, as far as it can be a directory's."""
        return re.sub(r"[^A-Za-z0-9._+-]", "_", self.path.name).lstrip(".-")[:80] or "program"

    def program(self, guest: Guest, runtime: Runtime, cache: Path, step: Callable[[str], None]) -> Program:
        """The program as it is."""
        from images import programs

        program = programs.program(self.path, cache, with_client=self.client, files=self.files)
        guest.check_program(runtime, program)
        return program

    def check(self, guest: Guest, runtime: Runtime, cache: Path) -> None:
        """By what it is."""
        self.program(guest, runtime, cache, lambda text: None)

    def arguments(self, seed: Seed) -> list[str]:
        """The user's, whatever the seed."""
        return list(self.args)

    def said(self, said: Sequence[Phase]) -> list[Phase]:
        """The window, of which nobody reads the clock; or as the program said it."""
        from probes.exec.said import Phase

        return list(said) if self.window is None else [Phase(WINDOW_PHASE, "run", "ok", self.ops, None, "")]

    def phases(self, said: Sequence[Phase] | None) -> list[dict[str, Any]]:
        """One for the window; else as they were said: nobody declared them."""
        named = [(phase.number, phase.name, phase.ops) for phase in said or ()]
        if self.window is not None:
            named = [(WINDOW_PHASE, "run", self.ops)]
        return [
            {"number": number, "name": name, "question": "", "op": self.op, "ops": ops, "calls": {}, "varies": []}
            for number, name, ops in named
        ]


def window_entry(subject: Subject) -> Mapping[str, str]:
    """Give a window for a manifest."""
    window = subject.window
    return {"open": str(window.opens), "close": str(window.closes)} if window else {"open": "marker", "close": "marker"}
