"""How long reading takes, by bounds that only something much slower than it was misses; tests/speed.py measures."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from probes import recording
from tests import sched_formats, speed
from tests.timed import WEAKLINK, took


def test_a_million_events_are_decoded_in_a_few_seconds_and_little_memory(tmp_path: Path) -> None:
    rate, took_ = speed.decoded(tmp_path, 1_000_000)
    assert took_.code == 0
    assert rate > 500_000, "a tenth of what is aimed at"
    assert took_.mb < 512


def test_explaining_twelve_runs(tmp_path: Path) -> None:
    """Their events are few here: explaining does not read them, and would take longer than this if it did per event."""
    speed.campaign(tmp_path / "twelve", events=2000)
    assert len(recording.find(tmp_path / "twelve")) == 12
    found = took([*WEAKLINK, "explain", tmp_path / "twelve", "--against", "linux"])
    assert found.code == 0
    assert found.cpu_s < 3 * speed.LIMITS["explain"]
    assert found.mb < speed.LIMITS["memory"]


def test_tools_that_are_not_here_are_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    rows = list(speed.beside(tmp_path, 1000))
    assert [figures for _, name, _, figures in rows if not name.startswith("weaklink")] == ["is not here"] * 5
    assert all("s CPU" in figures and "exit" not in figures and "only" not in figures
               for _, name, _, figures in rows if name.startswith("weaklink"))  # fmt: skip


def test_other_tools_get_the_same_switches_and_wakeups(tmp_path: Path) -> None:
    speed.scheduling(tmp_path / "r", 1000)
    events = recording.read(tmp_path / "r").events
    events = events[events["kind"].isin(["switch", "wake"])]
    sched = sched_formats.Sched.of(recording.read(tmp_path / "r"))
    assert len(sched) == len(events) == 1000
    both = sched.events()
    switches = events[events["kind"] == "switch"]
    assert (both["sched_switch"]["prev_pid"] - sched_formats.PIDS == switches["thread"]).all()
    assert (both["sched_switch"]["next_pid"] - sched_formats.PIDS == switches["value"]).all()
    assert (both["sched_switch"]["prev_state"] == (switches["how"] == "blocked")).all()
    assert (both["sched_wakeup"]["pid"] - sched_formats.PIDS == events[events["kind"] == "wake"]["value"]).all()
    # One behind the other, as they came.
    data = sched.bytes(both).tobytes()
    first = both["sched_switch" if not sched.woken[0] else "sched_wakeup"][0].tobytes()
    assert data.startswith(first)
    assert len(data) == sum(rows.nbytes for rows in both.values())
    whole = np.fromfile(tmp_path / "trace.dat", dtype=np.uint8)
    assert len(whole) % 4096 == 0
    assert sys.byteorder == "little"


@pytest.mark.parametrize("tool", [
    pytest.param(words, marks=pytest.mark.skipif(shutil.which(words[0]) is None, reason=f"no {words[0]} here"))
    for words in (["trace-cmd", "report", "-i", "trace.dat"], ["perf", "script", "-i", "perf.data"],
                  ["babeltrace2", "ctf"])
])  # fmt: skip
def test_a_tool_that_is_here_reads_them_all(tmp_path: Path, tool: list[str]) -> None:
    speed.scheduling(tmp_path / "r", 1000)
    words = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in tool]
    with (tmp_path / "said").open("w+b") as said:
        assert took(words, said).code == 0
        said.seek(0)
        lines = [line for line in said.read().decode().splitlines() if "sched_" in line]
    assert len(lines) == 1000
    assert "t0" in lines[0]
