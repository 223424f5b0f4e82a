"""A disk that is full for a while: what the probe could write is kept, and what it could not is counted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from analysis.verify import verify
from probes import recording
from tests.conftest import SmallDisk

LIMIT_S = 300.0


def being_written(out: Path) -> bool:
    """Whether a process has an event log open below ``out`` that something is in."""
    for log in out.glob(".work-*/probe/events.bin"):
        for handle in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if os.readlink(handle) == str(log):
                    return log.stat().st_size > 0
    return False


def wait_until(process: subprocess.Popen[str], out: Path, written: bool) -> None:
    until = time.monotonic() + LIMIT_S
    while being_written(out) != written:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_run_whose_last_events_are_lost_is_kept(small_disk: SmallDisk, tmp_path: Path, root: Path) -> None:
    small = small_disk(tmp_path / "small", "24m")
    out, filler = small / "out", small / "filler"
    command = [sys.executable, "-m", "profiler", "run", "tour", "--guests", "linux", "--seeds", "1", "--out", str(out)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(process, out, True)
            fill(filler)
            wait_until(process, out, False)  # it gave up: a write failed
            filler.unlink()
            _, said = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, said
    (place,) = recording.find(out)
    found = recording.read(place)
    lost = found.manifest["probe"]["lost_events"]
    assert lost > 10_000
    assert f"the probe lost {lost} events" in said
    assert len(found.events) >= 32768  # the first that were written
    checks = {check.name: check for check in verify(found) if not check.ok}
    assert checks["no lost events"].detail == f"{lost} lost"
    assert set(checks) == {"no lost events", "calls as declared"}  # the ledger is whole
