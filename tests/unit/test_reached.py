"""How far an app came that was ended: what is read from the probe's summary, and what is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.exec.reached import Reached, reached


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([], Reached(None, False)), ([1], Reached(1, True)), ([1, 1], Reached(1, False)), ([1, 1, 4], Reached(4, True))],
    ids=["no window", "in the first", "after it", "in the second"],
)
def test_the_last_window_is_told_and_whether_it_is_open(tmp_path: Path, numbers: list[int], said: Reached) -> None:
    write(tmp_path, {"vcpus": [{"points": [[number, 5, 0, 0] for number in numbers]}]})
    assert reached(tmp_path) == said


def test_a_vcpu_that_slept_does_not_know(tmp_path: Path) -> None:
    points = [[1, 5, 0, 0], [1, 9, 0, 0], [4, 9, 0, 0]]
    write(tmp_path, {"vcpus": [{"points": points[:1]}, {"points": points}]})
    assert reached(tmp_path) == Reached(4, True)


@pytest.mark.parametrize("summary", [[], {}, {"vcpus": []}, {"vcpus": [{"points": [["x"]]}]}, {"vcpus": 3}])
def test_what_is_no_summary_tells_nothing(tmp_path: Path, summary: Any) -> None:
    write(tmp_path, summary)
    assert reached(tmp_path) is None


def test_without_a_summary_nothing_is_told(tmp_path: Path) -> None:
    assert reached(tmp_path) is None


def write(folder: Path, summary: Any) -> None:
    (folder / "summary.json").write_text(json.dumps(summary))
