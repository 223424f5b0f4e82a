"""Shows how a campaign goes: a line per run that stays, and one below that moves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from profiler.campaign import Result
from profiler.errors import WeaklinkError
from profiler.plan import Run

SHOWN_EVERY_S: Final = 0.1


class Progress:
    """A campaign's Reporter on standard error.  Without a terminal only the lines that stay are written."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(),
            TimeElapsedColumn(), console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=None)
        self._total = self._number = 0
        self._run: Run | None = None
        self._last_step, self._shown = "", 0.0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, text: str) -> None:
        """What is being done now.  What can take minutes (fetching) stays as a line where there is no terminal."""
        if not self._console.is_terminal and self._run is None and text != self._last_step:
            self._console.print(f"        {escape(text)}", style="dim")
        self._last_step = text
        self._describe(text)

    def line(self, text: str) -> None:
        """A line of the guest's console.  After ``ready`` it is silent until all phases are over."""
        if text == "weaklink: ready":
            self._describe("running the phases")
        elif time.monotonic() - self._shown > SHOWN_EVERY_S:
            self._describe(text)

    def begin(self, runs: Sequence[Run]) -> None:
        """The campaign starts."""
        self._total = len(runs)
        self._bar.update(self._task, total=self._total, completed=0)

    def start(self, run: Run) -> None:
        """A run starts."""
        self._run, self._number = run, self._number + 1
        self._describe("preparing")

    def kept(self, run: Run) -> None:
        """A run was recorded before, and that recording holds."""
        self._stay(run, "recorded before, kept", "dim")

    def again(self, run: Run, why: str) -> None:
        """A run was recorded before, and that recording does not hold."""
        self._console.print(f"        recorded again: {escape(why)}", style="dim")

    def recorded(self, run: Run, result: Result) -> None:
        """A run is recorded."""
        self._stay(
            run, f"{result.instructions:>12,} instr  boot {result.boot_s:4.1f} s  wall {result.wall_s:5.1f} s", "green"
        )
        for warning in result.warnings:
            self._console.print(f"        warning: {escape(warning)}", style="yellow")

    def failed(self, run: Run, failure: WeaklinkError) -> None:
        """A run failed; its guest gets no further turn."""
        first = str(failure).partition("\n")[0]
        self._stay(run, f"{failure.name}: {first}", "red")

    def _stay(self, run: Run, text: str, style: str) -> None:
        name = f"{run.guest} seed {run.seed.number}"
        self._console.print(f"[{style}]\\[{self._number}/{self._total}][/] {escape(name):<31} {escape(text)}")
        self._bar.advance(self._task)

    def _describe(self, text: str) -> None:
        self._shown = time.monotonic()
        name = f"{self._run.guest} seed {self._run.seed.number}: " if self._run else ""
        self._bar.update(self._task, description=escape(f"{name}{text}"[: max(20, self._console.width - 40)]))
