"""``weaklink stacks --folded``: what flamegraph.pl and speedscope read."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.trace import stacks
from probes import recording
from profiler.cli.main import main
from tests import synthetic
from tests.trace_recordings import record


def folded(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["stacks", "--folded", *map(str, arguments)]) == code
    said = capsys.readouterr()
    assert (said.out == "") == (code != 0)
    return said.err if code else said.out


def test_a_line_per_stack_from_the_outermost_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, stacks=True)
    assert folded(capsys, tmp_path).splitlines() == [
        "main 10", "main;read 20", "main;read;vfs_read 30", "main;read;vfs_read;vfs_read 40"]  # fmt: skip
    assert folded(capsys, tmp_path, "--operation", "read", "--phase", "locked") == folded(capsys, tmp_path)


def test_stacks_that_executed_nothing_are_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = synthetic.stacks(("main", "read"), (0, 5))
    synthetic.record(tmp_path, "linux", synthetic.tour(), [0], more, probe={"stacks": True})
    assert folded(capsys, tmp_path) == "main;read 5\n"


def test_names_cannot_be_taken_for_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = synthetic.stacks(("main;x 7", "_ZN5sched3cpu8scheduleEv", "a\x1b[2J\nb"), (1, 2, 3))
    synthetic.record(tmp_path, "linux", synthetic.tour(), [0], more, probe={"stacks": True})
    assert folded(capsys, tmp_path).splitlines() == [
        "main:x_7 1", "main:x_7;sched::cpu::schedule 2", "main:x_7;sched::cpu::schedule;a[2J_b 3"]  # fmt: skip


def test_one_guest_and_seed_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for spec, seed, work in (("linux", 1, 5), ("linux", 2, 6), ("freebsd", 1, 7)):
        more = synthetic.stacks(("main",), (work,))
        synthetic.record(tmp_path, spec, synthetic.tour(), [seed], more, probe={"stacks": True})
    assert "-> name one with --guest: freebsd, linux" in folded(capsys, tmp_path, code=2)
    assert folded(capsys, tmp_path, "--guest", "linux") == "main 5\n"
    assert folded(capsys, tmp_path, "--guest", "linux", "--seed", "2") == "main 6\n"
    assert folded(capsys, tmp_path, "--guest", "freebsd", "--phase", "null-call") == "main 7\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--phase", "lost"], 2, "there is no phase 'lost'"),
        (["--phase", "files"], 3, "has no such stacks\n  -> name another --phase or --operation"),
        (["--operation", "poll"], 3, "has no such stacks\n  -> name another --phase or --operation"),
        (["--guest", "osv"], 2, "there are no recordings of 'osv'"),
    ],
)
def test_what_is_not_there_is_said(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = synthetic.stacks(("main",), (5,))
    synthetic.record(tmp_path, "linux", synthetic.tour(), [0], more, probe={"stacks": True})
    assert words in folded(capsys, tmp_path, *arguments, code=code)


def test_without_stacks_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    assert "-> record it with --stacks" in folded(capsys, tmp_path, code=3)


def test_stacks_that_no_probe_makes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, stacks=True)
    monkeypatch.setattr(stacks, "_DEEPEST", 3)
    assert main(["top", "--stacks", str(tmp_path)]) == 22
    assert "there are stacks of more than 3 frames" in capsys.readouterr().err
    tree = stacks.Stacks(recording.read(recording.find(tmp_path)[0]))
    assert tree.path(3) == "vfs_read < vfs_read < read"
