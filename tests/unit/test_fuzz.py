"""A few seconds of damaged files, and that the fuzzer would notice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes.exec import decode, frames
from tests.fuzz import decoder, harness
from tests.fuzz.__main__ import TARGETS
from tests.fuzz.decoder import Sample, doubled, read
from tests.fuzz.harness import fuzz
from tests.unit.test_exec_decode import CELLS, COSTLY_SEEN, SAID, hooks, summary, write, write_costly

NODES = [(0, -1), (0, -1), (0, 0), (2, 1), (3, 2), (4, 3), (4, -3), (4, -4), (2, -2), (2, -1)]


def node(function: int) -> int:
    return next(number for number, (_, of) in enumerate(NODES) if number > 1 and of == function)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    write(tmp_path / "plain")
    plain = Sample(read(tmp_path / "plain"), hooks(), SAID)
    kept = {"stacks": dict.fromkeys(("unwound", "opened", "deep", "resync", "full"), 0)}
    write(tmp_path / "stacks", [(*cell[:3], node(cell[3]), *cell[4:]) for cell in CELLS], about=summary(**kept))
    write_costly(tmp_path / "stacks", [(*row[:4], node(row[4]), row[5]) for row in COSTLY_SEEN])
    np.array(NODES, dtype=frames._NODE).tofile(tmp_path / "stacks" / "stacks.bin")
    return [plain, Sample(read(tmp_path / "stacks"), hooks(), SAID, {"vfs_read"}), doubled(plain)]


def test_damaged_files_are_tables_or_told_as_damaged(samples: list[Sample], tmp_path: Path) -> None:
    for number, sample in enumerate(samples):
        (tmp_path / str(number)).mkdir()
        assert decoder.check(sample, sample.files, tmp_path / str(number)), "the samples are sound"
    result = fuzz(decoder.target(samples), 4)
    assert not result.failures
    assert 0 < result.sound < result.done


def too_long() -> None:
    until = time.process_time() + 20
    while time.process_time() < until:
        pass


def too_much() -> None:
    np.ones(3 << 27)


def hang() -> None:
    time.sleep(20)


def crash() -> None:
    os._exit(3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(too_long, f"-{signal.SIGPROF.value} "), (too_much, "MemoryError"), (hang, "-9 "), (crash, "ended by 3 ")],
)
def test_what_goes_wrong_is_found(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch, wrong: Callable[[], None], said: str
) -> None:
    def decode_wrongly(*_: Any) -> None:
        wrong()

    monkeypatch.setattr(decode, "decode", decode_wrongly)
    monkeypatch.setattr(harness, "CPU_S", 0.2)
    monkeypatch.setattr(harness, "WALL_S", 1.0 if wrong is hang else 30.0)
    result = fuzz(decoder.target(samples), 60, first=7, only=True)
    assert list(result.failures) == [7]
    assert said in result.failures[7]


def test_a_seed_is_the_same_files_each_time(samples: list[Sample]) -> None:
    target = decoder.target(samples)
    for seed in range(200):
        assert harness.case(target, seed)[1] == harness.case(target, seed)[1]


@pytest.mark.parametrize("name", ["recording", "verbs", "console", "symbols"])
def test_the_others_find_nothing_in_a_moment(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path)
    assert target is not None
    result = fuzz(target, 1)
    assert not result.failures
    assert result.done


def test_what_is_written_elsewhere_is_found(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"

    def check(_: Any, files: harness.Files, place: Path) -> bool:
        (place / "here").write_bytes(b"")
        elsewhere.write_bytes(b"")
        return True

    result = fuzz(harness.Target(lambda random: (None, {}), check), 60, only=True)
    assert str(elsewhere) in result.failures[0]
    assert "here" not in result.failures[0].replace("elsewhere", "")
