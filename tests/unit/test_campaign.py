"""The plan, and what happens around a run: kept, done again, failed, interrupted, without room."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from images import GuestSpec
from probes.recording import TABLES
from profiler import campaign
from profiler.campaign import Result, RunFailed, execute
from profiler.errors import DiskFull, GuestPanic, ProbeBuild, ProbeLoss, UsageError, WeaklinkError
from profiler.plan import Run, Seed, parse_guests, parse_seeds, plan

# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_seed_is_always_the_same_start() -> None:
    assert Seed(1).clock == datetime(2026, 1, 2, 1, 0, 7)
    assert (Seed(1).spin, Seed(3).spin) == (8919, 24757)
    assert len({(seed.clock, seed.spin) for seed in parse_seeds("500")}) == 500


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", [1]), ("3", [1, 2, 3]), ("4-6", [4, 5, 6]), ("7-7", [7]), (" 2 ", [1, 2])]
)
def test_seeds(text: str, numbers: list[int]) -> None:
    assert [seed.number for seed in parse_seeds(text)] == numbers


@pytest.mark.parametrize("text", ["0", "-1", "3-1", "0-2", "many", "", "1,2", "99999", "1-2-3", "\u0663"])
def test_what_is_no_number_of_seeds(text: str) -> None:
    with pytest.raises(UsageError):
        parse_seeds(text)


def test_guests_are_named_once() -> None:
    assert [str(guest) for guest in parse_guests("linux, linux+audit=1")] == ["linux", "linux+audit=1"]
    for text in ("linux,linux", "linux,", ""):
        with pytest.raises(UsageError):
            parse_guests(text)


def test_every_guest_has_its_turn_before_the_next_seed() -> None:
    runs = plan("tour", parse_guests("linux,linux+audit=1"), parse_seeds("2"))
    assert [(str(run.guest), run.seed.number) for run in runs] == [
        ("linux", 1), ("linux+audit=1", 1), ("linux", 2), ("linux+audit=1", 2),
    ]  # fmt: skip
    assert runs[1].directory(Path("out")) == Path("out/tour/linux+audit=1/seed-1")


# -- executing it ------------------------------------------------------------------------------------------------------


class Recorder:
    """Makes recordings without booting anything; ``instead`` may fail in the place of a run."""

    def __init__(self, instead: Callable[[Run], None] = lambda run: None) -> None:
        self.instead, self.kernel, self.booted = instead, "k1", list[str]()

    def prepare(self, run: Run, work: Path) -> Mapping[str, Any]:
        (work / "initrd").write_text("x")
        return {"guest": {"spec": str(run.guest), "kernel_sha256": self.kernel}, "seed": {"number": run.seed.number}}

    def record(self, run: Run, work: Path, directory: Path) -> Result:
        assert (work / "initrd").exists()
        self.booted.append(f"{run.guest} {run.seed.number}")
        self.instead(run)
        directory.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            (directory / f"{table}.parquet").touch()
        manifest = {**self.prepare(run, work), "created": "now"}
        (directory / "manifest.json").write_text(json.dumps(manifest))
        return Result(1000, 1.0, 2.0)


class Reporter:
    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, runs: Sequence[Run]) -> None:
        self.told.append(f"begin {len(runs)}")

    def start(self, run: Run) -> None:
        pass

    def kept(self, run: Run) -> None:
        self.told.append(f"kept {run.guest} {run.seed.number}")

    def again(self, run: Run, why: str) -> None:
        self.told.append(f"again {run.guest} {run.seed.number}: {why}")

    def recorded(self, run: Run, result: Result) -> None:
        self.told.append(f"recorded {run.guest} {run.seed.number}")

    def failed(self, run: Run, failure: WeaklinkError) -> None:
        self.told.append(f"failed {run.guest} {run.seed.number}")


RUNS = plan("tour", [GuestSpec.parse("linux"), GuestSpec.parse("linux+audit=1")], parse_seeds("2"))


def go(out: Path, recorder: Recorder) -> tuple[campaign.Summary, list[str]]:
    reporter = Reporter()
    return execute(RUNS, out, recorder, reporter, {"app": "tour"}), reporter.told


def leftovers(out: Path) -> list[str]:
    """What must not be there after a campaign, however it ended."""
    found = [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    halves = [path for path in out.rglob("seed-*") if path.is_dir() and not (path / "manifest.json").exists()]
    return [str(path) for path in found + halves]


def test_running_again_does_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    go(tmp_path, recorder)
    assert len(recorder.booted) == 4
    _, told = go(tmp_path, recorder)
    assert len(recorder.booted) == 4
    assert told == ["begin 4", "kept linux 1", "kept linux+audit=1 1", "kept linux 2", "kept linux+audit=1 2"]
    states = [run["state"] for run in json.loads((tmp_path / "campaign.json").read_text())["runs"]]
    assert states == ["kept"] * 4
    assert leftovers(tmp_path) == []


def test_running_again_does_what_is_missing(tmp_path: Path) -> None:
    recorder = Recorder()
    go(tmp_path, recorder)
    (tmp_path / "tour/linux/seed-2/threads.parquet").unlink()
    (tmp_path / "tour/linux+audit=1/seed-1/manifest.json").write_text("{")
    recorder.booted.clear()
    _, told = go(tmp_path, recorder)
    assert recorder.booted == ["linux+audit=1 1", "linux 2"]
    assert "again linux 2: a table is missing" in told


def test_a_recording_of_another_kernel_is_made_again(tmp_path: Path) -> None:
    recorder = Recorder()
    go(tmp_path, recorder)
    recorder.kernel, recorder.booted = "k2", []
    _, told = go(tmp_path, recorder)
    assert len(recorder.booted) == 4
    assert "again linux 1: another guest.kernel_sha256" in told


def test_a_guest_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    def panic(run: Run) -> None:
        if str(run.guest) == "linux":
            raise RunFailed(GuestPanic("gave up", hint="look"), b"Kernel panic\n")

    recorder = Recorder(panic)
    summary, told = go(tmp_path, recorder)
    assert recorder.booted == ["linux 1", "linux+audit=1 1", "linux 2", "linux+audit=1 2"]
    assert isinstance(summary.first_failure, GuestPanic)
    log = tmp_path / "tour/linux/seed-1.failed.log"
    assert log.read_bytes() == b"Kernel panic\n"
    assert str(log) in summary.first_failure.hint
    entry = json.loads((tmp_path / "campaign.json").read_text())["runs"][0]
    assert (entry["state"], entry["error"]["exit_code"], entry["error"]["blame"]) == ("failed", 15, "the guest")
    assert "failed linux 1" in told
    go(tmp_path, Recorder())
    assert not log.exists(), "it has succeeded since"


def states(out: Path) -> list[str]:
    return [run["state"] for run in json.loads((out / "campaign.json").read_text())["runs"]]


def test_one_failed_run_does_not_spoil_its_guests_others(tmp_path: Path) -> None:
    def fail(run: Run) -> None:
        if run.seed.number == 1:
            raise ProbeLoss("does not add up")

    _, told = go(tmp_path, Recorder(fail))
    assert states(tmp_path) == ["failed", "failed", "recorded", "recorded"]
    assert told[-1] == "recorded linux+audit=1 2"
    assert leftovers(tmp_path) == []


def test_a_guest_that_fails_again_and_again_is_given_up(tmp_path: Path) -> None:
    def panic(run: Run) -> None:
        if str(run.guest) == "linux":
            raise RunFailed(GuestPanic("gave up"), b"")

    recorder = Recorder(panic)
    runs = plan("tour", [GuestSpec.parse("linux"), GuestSpec.parse("linux+audit=1")], parse_seeds("4"))
    execute(runs, tmp_path, recorder, Reporter(), {})
    assert recorder.booted.count("linux 1") + recorder.booted.count("linux 2") == 2 == campaign.IN_A_ROW
    assert states(tmp_path) == ["failed", "recorded", "failed", "recorded", *["given up", "recorded"] * 2]
    assert list(tmp_path.rglob("*.failed.log")) == [], "it said nothing"


def test_what_becomes_of_each_run_is_written_as_it_happens(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    go(tmp_path, Recorder(lambda run: seen.append(states(tmp_path))))
    assert seen[1] == ["recorded", "running", "waiting", "waiting"], "should this process be killed"


def test_a_damaged_recording_is_made_again(tmp_path: Path) -> None:
    recorder = Recorder()
    go(tmp_path, recorder)
    place = tmp_path / "tour/linux/seed-1"
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(b'').hexdigest()}  ledger.parquet\n")
    (place / "ledger.parquet").write_bytes(b"x")
    _, told = go(tmp_path, recorder)
    (again,) = [line for line in told if line.startswith("again")]
    assert again.startswith("again linux 1: ")
    assert "ledger.parquet" in again


@pytest.mark.parametrize(
    ("failure", "state"), [(ProbeBuild("no compiler"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_every_run_would_meet_stops_at_once_and_leaves_nothing_half(
    tmp_path: Path, failure: BaseException, state: str
) -> None:
    def fail(run: Run) -> None:
        if str(run.guest) != "linux":
            raise failure

    with pytest.raises(type(failure)):
        go(tmp_path, Recorder(fail))
    assert (tmp_path / "tour/linux/seed-1/manifest.json").exists()
    assert leftovers(tmp_path) == []
    assert states(tmp_path) == ["recorded", state, "waiting", "waiting"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left"), OSError(errno.EDQUOT, "quota"), OSError(errno.EFBIG, "too large"),
     OSError("Error writing bytes to file. Detail: [errno 28] No space left on device")],
)  # fmt: skip
def test_no_room_is_told_as_such(tmp_path: Path, error: OSError) -> None:
    def fail(run: Run) -> None:
        raise error

    with pytest.raises(DiskFull) as caught:
        go(tmp_path, Recorder(fail))
    assert str(tmp_path) in str(caught.value)
    assert leftovers(tmp_path) == []


def test_whatever_fails_on_a_full_disk_fails_for_want_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Run) -> None:
        raise ProbeLoss("the file ends in the middle")

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(campaign.shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(DiskFull):
        go(tmp_path, Recorder(fail))


def test_any_other_failure_of_the_system_is_not_hidden(tmp_path: Path) -> None:
    def fail(run: Run) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    summary, _ = go(tmp_path, Recorder(fail))
    failure = summary.first_failure
    assert failure is not None
    assert (failure.exit_code, isinstance(failure.__cause__, OSError)) == (29, True)
    entry = json.loads((tmp_path / "campaign.json").read_text())["runs"][0]
    assert "Permission denied" in entry["error"]["message"]
    assert "in fail" in entry["trace"], "where it happened, for a report"


def test_two_campaigns_do_not_share_a_directory(tmp_path: Path) -> None:
    handle = os.open(tmp_path / ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another campaign"):
        go(tmp_path, Recorder())
    os.close(handle)
    go(tmp_path, Recorder())


def test_what_a_killed_campaign_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".work-abc").mkdir()
    (tmp_path / "tour/linux/.seed-1.x1y2").mkdir(parents=True)
    go(tmp_path, Recorder())
    assert leftovers(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_matter_of_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        go(tmp_path / "file", Recorder())
