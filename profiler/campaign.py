"""Executes the runs of a plan one after the other, does only what is missing, and leaves nothing half done.

What one run consists of is in ``profiler.recorder``; here is what happens around it: OUT is locked, earlier recordings
that still hold are kept, a guest that fails does not stop the others, ``OUT/campaign.json`` says what became of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from profiler.errors import DiskFull, UsageError, WeaklinkError, no_room
from profiler.plan import Run

SUMMARY: Final = "campaign.json"
ROOM_BYTES: Final = 1 << 20
"""A disk with less than this left is taken to be the cause of a run that failed."""

_LOCK: Final = ".lock"
_WORK: Final = ".work-"
_MANIFEST_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Result:
    """One recorded run: instructions in all its phases, seconds to boot, seconds in all, and what to be warned of."""

    instructions: int
    boot_s: float
    wall_s: float
    warnings: tuple[str, ...] = ()


class RunFailed(Exception):
    """Carries a guest's failure together with its console out of a recorder, to ``execute`` and no further."""

    def __init__(self, failure: WeaklinkError, console: bytes) -> None:
        super().__init__(str(failure))
        self.failure, self.console = failure, console


class Recorder(Protocol):
    """How a run becomes a recording (``profiler.recorder.ExecRecorder``; tests have others)."""

    def prepare(self, run: Run, work: Path) -> Mapping[str, Any]:
        """Make ready; what a manifest must say, as nested mappings, to be a recording of this very run."""

    def record(self, run: Run, work: Path, directory: Path) -> Result:
        """Boot the run that was prepared last, and put its recording at ``directory``."""


class Reporter(Protocol):
    """Who is told how it goes (``profiler.cli.progress``)."""

    def begin(self, runs: Sequence[Run]) -> None:
        """The campaign starts."""

    def start(self, run: Run) -> None:
        """A run starts."""

    def kept(self, run: Run) -> None:
        """A run was recorded before, and that recording holds."""

    def again(self, run: Run, why: str) -> None:
        """A run was recorded before, and that recording does not hold."""

    def recorded(self, run: Run, result: Result) -> None:
        """A run is recorded."""

    def failed(self, run: Run, failure: WeaklinkError) -> None:
        """A run failed."""


@dataclass
class Summary:
    """What became of a campaign: one entry per run, in order, and the first failure."""

    about: Mapping[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    first_failure: WeaklinkError | None = None

    def write(self, out: Path) -> None:
        """Put ``campaign.json`` in place, whole."""
        text = json.dumps({"schema": 1, **self.about, "runs": self.runs}, indent=1, ensure_ascii=False)
        half = out / f".{SUMMARY}"
        half.write_text(text + "\n", encoding="utf-8")
        half.replace(out / SUMMARY)


def execute(
    runs: Sequence[Run], out: Path, recorder: Recorder, reporter: Reporter, about: Mapping[str, Any]
) -> Summary:
    """Make sure that ``out`` holds a recording of every run; ``about`` goes into ``campaign.json``.

    A failure of a guest ends the runs of that guest only and is found in ``Summary.first_failure``; any other
    WeaklinkError is raised at once, DiskFull among them.  Recordings made so far stay, whole.
    """
    summary = Summary(about)
    given_up: set[str] = set()
    with _owned(out), _disk_full_named(out):
        reporter.begin(runs)
        for run in runs:
            if str(run.guest) in given_up:
                continue
            entry: dict[str, Any] = {"app": run.app, "guest": str(run.guest), "seed": run.seed.number}
            directory = run.directory(out)
            try:
                entry |= _one(run, directory, out, recorder, reporter)
            except RunFailed as failed:
                failure = failed.failure
                log = _keep_console(directory, failed.console)
                failure.hint = f"{failure.hint}; the whole console is in {log}".removeprefix("; ")
                entry |= {"state": "failed", "error": _described(failure), "console": str(log.relative_to(out))}
                reporter.failed(run, failure)
                given_up.add(str(run.guest))
                summary.first_failure = summary.first_failure or failure
            summary.runs.append(entry)
            summary.write(out)
    return summary


def _one(run: Run, directory: Path, out: Path, recorder: Recorder, reporter: Reporter) -> dict[str, Any]:
    reporter.start(run)
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=out) as work, _full_disk_blamed(out):
        wanted = recorder.prepare(run, Path(work))
        place = {"directory": str(directory.relative_to(out))}
        if directory.exists():
            why = mismatch(directory, wanted)
            if not why:
                reporter.kept(run)
                return {"state": "kept", **place}
            reporter.again(run, why)
        result = recorder.record(run, Path(work), directory)
    _console_log(directory).unlink(missing_ok=True)
    reporter.recorded(run, result)
    return {"state": "recorded", **place, "instructions": result.instructions, "boot_s": round(result.boot_s, 2),
            "wall_s": round(result.wall_s, 2), "warnings": list(result.warnings)}  # fmt: skip


def mismatch(directory: Path, wanted: Mapping[str, Any]) -> str:
    """Why the recording at ``directory`` is not one of the wanted run; empty if it is.

    Only the manifest is read: tables are checked by whoever reads them.
    """
    from probes import recording

    try:
        with (directory / "manifest.json").open("rb") as file:
            manifest = json.loads(file.read(_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return "its manifest cannot be read"
    if changed := list(_differences(manifest, wanted)):
        return f"another {', '.join(changed)}"
    return "a table is missing" if recording.missing(directory) else ""


def _differences(have: Any, wanted: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in wanted.items():
        where = f"{path}.{key}" if path else key
        got = have.get(key) if isinstance(have, dict) else None
        if isinstance(value, Mapping):
            yield from _differences(got, value, where)
        elif got != value:
            yield where


def _described(failure: WeaklinkError) -> dict[str, Any]:
    return {
        "class": type(failure).__name__, "name": failure.name, "blame": failure.blame, "exit_code": failure.exit_code,
        "message": str(failure), "hint": failure.hint,
    }  # fmt: skip


def _console_log(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.failed.log")


def _keep_console(directory: Path, console: bytes) -> Path:
    """Put a failed run's console beside the place of its recording."""
    log = _console_log(directory)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(console)
    return log


@contextmanager
def _owned(out: Path) -> Iterator[None]:
    """Hold ``out`` against a second campaign, without what an earlier one that was killed has left behind."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if no_room(error):
            raise _full(out) from error
        raise UsageError(
            f"cannot write to {out}: {error.strerror}", hint="name another directory with --out"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another campaign is writing to {out}", hint="wait for it, or name another --out"
            ) from error
        for left in [*out.glob(f"{_WORK}*"), *out.glob("*/*/.seed-*")]:
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(lock)


@contextmanager
def _disk_full_named(out: Path) -> Iterator[None]:
    """Give "no space left", whoever met it, its name."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise _full(out) from error
        raise


@contextmanager
def _full_disk_blamed(out: Path) -> Iterator[None]:
    """On a disk without room everything fails in its own way: say the one thing that is to be done."""
    try:
        yield
    except (RunFailed, WeaklinkError) as failure:
        if shutil.disk_usage(out).free < ROOM_BYTES:
            raise _full(out) from failure
        raise


def _full(out: Path) -> DiskFull:
    return DiskFull(f"no room left for recordings in {out}", hint="make room or name another --out, then run it again")
