"""The demo: what it runs where which kernels are, and what it says of those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probes import archive, recording
from profiler import recorded
from profiler.campaign import Summary
from profiler.cli import demo
from profiler.cli import run as run_verb
from profiler.cli.main import main
from tests import synthetic

EVERY = ["linux", "osv:libc", "osv:static", "freebsd"]


def phases_of(spec: str) -> list[synthetic.Phase]:
    return synthetic.tour() if spec.startswith("linux") else synthetic.other_kernel(synthetic.tour())


@pytest.mark.parametrize(
    ("ready", "run", "missing"),
    [
        (set(), ["linux", "linux+audit=1", "linux+init_on_alloc=0"], EVERY[1:]),
        ({"linux", "osv"}, EVERY[:3], ["freebsd"]),
        ({"linux", "freebsd"}, ["linux", "freebsd"], EVERY[1:3]),
        ({"linux", "freebsd", "osv", "osv-mine"}, EVERY, []),
    ],
)
def test_what_is_here_is_run_and_the_rest_is_not(ready: set[str], run: list[str], missing: list[str]) -> None:
    assert demo.live(ready) == (run, missing)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Synthetic recordings instead of guests; the guests that were asked for."""
    asked: list[str] = []

    def record(subject: Any, guests: str, seeds: str, out: Path, options: Any) -> Summary:
        asked.extend(guests.split(","))
        for spec in asked:
            synthetic.record(out, spec, phases_of(spec), range(int(seeds)))
        return Summary({})

    monkeypatch.setattr(run_verb, "record", record)
    return asked


def here(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    guests = [SimpleNamespace(name=name, state="ready" if name in names else "not here")
              for name in ("linux", "osv", "freebsd")]  # fmt: skip
    monkeypatch.setattr("images.list_guests", lambda: guests, raising=False)


def test_all_kernels_here(ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                          capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    here(monkeypatch, "linux", "osv", "freebsd")
    synthetic.record(tmp_path / "out", "linux+old", synthetic.tour())  # of an earlier demo
    assert main(["demo", "--out", str(tmp_path / "out"), "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert ran == EVERY
    assert "run here just now: linux, osv:libc, osv:static, freebsd, on QEMU 7.2.22" in said
    assert "not here" not in said
    assert "Costliest link: write in files" in said
    assert "operation              layer" not in said  # it is brief
    found = json.loads((tmp_path / "out/findings.json").read_text())
    assert [one["guest"] for one in found["comparisons"]] == EVERY[1:]
    assert (tmp_path / "out/report.html").stat().st_size > 1_000_000


def test_recordings_instead_of_kernels(ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    here(monkeypatch, "linux")
    for spec in EVERY:
        synthetic.record(tmp_path / "there", spec, phases_of(spec), [1], qemu={"version": "10.0.2"})
    made = [recording.read(place) for place in recording.find(tmp_path / "there")]
    archive.write(tmp_path / "tour.recordings", made, tmp_path / "there")
    monkeypatch.setattr(recorded, "archives", lambda: {"tour": tmp_path / "tour.recordings"})
    assert main(["demo", "--out", str(tmp_path / "out"), "--seeds", "1"]) == 0
    live, _, rest = capsys.readouterr().out.partition("not here: the kernels of osv:libc, osv:static, freebsd")
    assert ran == ["linux", "linux+audit=1", "linux+init_on_alloc=0"]
    assert "run here just now: linux, linux+audit=1, linux+init_on_alloc=0, on QEMU 7.2.22" in live
    assert "recorded elsewhere, not to be compared with what was run here: linux, osv:libc, osv:static, freebsd" in rest
    assert "on QEMU 10.0.2" in rest
    assert json.loads((tmp_path / "out/recorded/findings.json").read_text())["machine"]["qemu"] == "10.0.2"
    assert (tmp_path / "out/recorded/report.html").is_file()


def test_neither_kernels_nor_recordings(ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    here(monkeypatch)
    monkeypatch.setattr(recorded, "archives", dict)
    assert main(["demo", "--out", str(tmp_path / "out"), "--seeds", "1"]) == 0
    assert "no recordings of them come with this weaklink" in capsys.readouterr().out
