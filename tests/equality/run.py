"""Records one program in one guest, with a window that its own markers open and close."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from images import GuestSpec, Program
from images.guests import Guest, Runtime
from probes import recording
from probes.recording import Recording
from profiler import campaign, plan
from profiler.cli.progress import Progress
from profiler.cli.run import finish
from profiler.recorder import ExecRecorder
from profiler.subject import Own

if TYPE_CHECKING:
    from images import Bootable
    from probes.exec.said import Phase
    from probes.exec.window import Window
    from profiler.machine.command import Command
    from profiler.plan import Run, Seed

OVER: Final = "weaklink: phase "
"""How the first line begins that a program of ours writes behind its window."""

Behind = Callable[[Path], None]


@dataclass(frozen=True)
class First:
    """A program of ours that is a guest's first process, where a program of a user's cannot be that."""

    built: Program
    name: str
    args: Sequence[str] = ()
    window: Window | None = None

    def program(self, guest: Guest, runtime: Runtime, cache: Path, step: Callable[[str], None]) -> Program:
        return self.built

    def check(self, guest: Guest, runtime: Runtime, cache: Path) -> None:
        pass

    def arguments(self, seed: Seed) -> list[str]:
        return list(self.args)

    def said(self, said: Sequence[Phase]) -> list[Phase]:
        return list(said)

    def phases(self, said: Sequence[Phase] | None) -> list[dict[str, Any]]:
        return [
            {"number": one.number, "name": one.name, "question": "", "op": "run", "ops": one.ops, "calls": {},
             "varies": []}
            for one in said or ()
        ]  # fmt: skip


class _Recorder(ExecRecorder):
    """Knows where QEMU can be talked to, and does so at the first line behind the window."""

    def __init__(self, subject: First | Own, behind: Behind | None, progress: Progress) -> None:
        super().__init__(subject, step=progress.step, on_line=self._line)
        self._behind, self._show, self._socket = behind, progress.line, Path()

    def command(self, run: Run, bootable: Bootable, socket: Path, plugin: str | None) -> Command:
        if plugin:
            self._socket = socket
        return super().command(run, bootable, socket, plugin)

    def _line(self, text: str) -> None:
        self._show(text)
        if self._behind and text.startswith(OVER):
            self._behind(self._socket)


def run(subject: First | Own, guest: GuestSpec, out: Path, behind: Behind | None = None) -> Recording:
    """Record ``subject`` in ``guest`` from seed 1, anew; ``behind`` is given QEMU's control socket after the window.

    Raises what ``weaklink run`` would end with.
    """
    directory = out / subject.name / guest.directory_name() / "seed-1"
    shutil.rmtree(directory, ignore_errors=True)
    runs = plan.plan(subject.name, [guest], plan.parse_seeds("1"))
    with Progress() as progress:
        summary = campaign.execute(runs, out.absolute(), _Recorder(subject, behind, progress), progress, {})
    finish(summary)
    return recording.read(directory)


def said(seen: Recording, prefix: str) -> list[str]:
    """What the lines of its console say that begin with ``prefix``."""
    text = (seen.directory / recording.CONSOLE).read_bytes().decode("utf-8", errors="replace")
    return [line.removeprefix(prefix) for line in text.replace("\r", "").split("\n") if line.startswith(prefix)]
