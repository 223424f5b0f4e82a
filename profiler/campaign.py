"""Executes the runs of a plan one after the other, does only what is missing, and leaves nothing half done.

What one run consists of is in ``profiler.recorder``; here is what happens around it: OUT is locked, earlier recordings
that still hold are kept, a run that fails does not stop the others, ``OUT/campaign.json`` says what became of each.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from profiler.errors import (
    CacheUnusable,
    DiskFull,
    OutOfMemory,
    ProbeBuild,
    ProbeLoad,
    QemuMissing,
    ToolMissing,
    UsageError,
    WeaklinkError,
    no_room,
)
from profiler.plan import Run

SUMMARY: Final = "campaign.json"
ROOM_BYTES: Final = 1 << 20
"""A disk with less than this left is taken to be the cause of a run that failed."""

IN_A_ROW: Final = 2
"""A guest of which so many runs fail one after the other gets no further turn: the next ones would cost as much."""

_OF_ALL: Final = (CacheUnusable, DiskFull, ProbeBuild, ProbeLoad, QemuMissing, ToolMissing, UsageError)
"""What every other run would meet as well: it ends the campaign."""

_TRACE_CHARACTERS: Final = 4000

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
    """Carries a failure together with the guest's console out of a recorder, to ``execute`` and no further."""

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
    """What became of a campaign: one entry per run, in order, and the first failure.

    The ``state`` of a run is ``waiting``, ``running`` (or was, when this process was killed), ``recorded``, ``kept``,
    ``failed``, ``interrupted``, or ``given up`` after failures of the same guest.
    """

    about: Mapping[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    first_failure: WeaklinkError | None = None

    def write(self, out: Path) -> None:
        """Put ``campaign.json`` in place, whole."""
        text = json.dumps({"schema": 1, **self.about, "runs": self.runs}, indent=1, ensure_ascii=False)
        half = out / f".{SUMMARY}"
        try:
            half.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
            half.replace(out / SUMMARY)
        finally:
            half.unlink(missing_ok=True)


def execute(
    runs: Sequence[Run], out: Path, recorder: Recorder, reporter: Reporter, about: Mapping[str, Any]
) -> Summary:
    """Make sure that ``out`` holds a recording of every run; ``about`` goes into ``campaign.json``.

    A run that fails does not stop the others, and ``Summary.first_failure`` is the first of them; what every other run
    would meet as well (a full disk, a probe that QEMU refuses) is raised at once.  Recordings made so far stay, whole.
    """
    begun = [{"app": run.app, "guest": str(run.guest), "seed": run.seed.number, "state": "waiting"} for run in runs]
    summary, in_a_row = Summary(about, begun), Counter[str]()
    with _owned(out), _disk_full_named(out):
        reporter.begin(runs)
        for run, entry in zip(runs, summary.runs, strict=True):
            guest = str(run.guest)
            if in_a_row[guest] >= IN_A_ROW:
                entry["state"] = "given up"
                summary.write(out)
                continue
            entry["state"] = "running"
            summary.write(out)
            try:
                entry |= _one(run, run.directory(out), out, recorder, reporter)
                in_a_row[guest] = 0
            except Exception as error:
                failed = error if isinstance(error, RunFailed) else RunFailed(_named(error, out), b"")
                entry |= _failed(failed, run.directory(out), out)
                if isinstance(failed.failure, _OF_ALL):
                    raise failed.failure from error
                in_a_row[guest] += 1
                reporter.failed(run, failed.failure)
                summary.first_failure = summary.first_failure or failed.failure
            except BaseException:
                entry["state"] = "interrupted"
                raise
            finally:
                summary.write(out)
    return summary


def _named(error: Exception, out: Path) -> WeaklinkError:
    """Give the failure behind an exception; what nobody foresaw is ours, and its cause is what there is to report."""
    if isinstance(error, WeaklinkError):
        return error
    if isinstance(error, OSError) and no_room(error):
        return _full(out)
    if isinstance(error, MemoryError):
        return OutOfMemory(f"weaklink itself could not have memory: {error or 'for what, Python does not say'}")
    failure = WeaklinkError(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _failed(failed: RunFailed, directory: Path, out: Path) -> dict[str, Any]:
    """What a failed run leaves: its entry, and its console beside the place of its recording."""
    failure, evidence = failed.failure, dict[str, Any]()
    if failed.console:
        log = _keep_console(directory, failed.console)
        failure.hint = f"{failure.hint}; the whole console is in {log}".removeprefix("; ")
        evidence["console"] = str(log.relative_to(out))
    if (cause := failure.__cause__) is not None and type(failure) is WeaklinkError:
        evidence["trace"] = "".join(traceback.format_exception(cause))[-_TRACE_CHARACTERS:]
    return {"state": "failed", "error": _described(failure), **evidence}


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

    What the tables hold is checked by whoever reads them; here, that they are what was written.
    """
    from probes import recording

    try:
        with (directory / "manifest.json").open("rb") as file:
            manifest = json.loads(file.read(_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return "its manifest cannot be read"
    if changed := list(_differences(manifest, wanted)):
        return f"another {', '.join(changed)}"
    if recording.missing(directory):
        return "a table is missing"
    return f"{', '.join(damaged)} is damaged" if (damaged := recording.damaged(directory)) else ""


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
