"""Costly instructions in a comparison: those of the cells that are compared, where the guests differ."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.compare import compare
from analysis.comparison import Comparison, Pair
from analysis.views import html, markdown, terminal
from analysis.views import json as as_json
from probes import recording
from probes.events import COSTLY, COSTLY_INSTRUCTIONS
from tests import synthetic
from tests.golden.refresh import GOLDEN

Row = tuple[int, str, str, str, int]  # phase, operation, layer, instruction, count
SEEN: dict[str, Any] = {"capabilities": {"costly instructions": {"available": True, "reason": ""}}}


FUNCTIONS: dict[tuple[int, str, str], str] = {(number, *cell[:2]): cell[2] for number, phase
                                              in enumerate(synthetic.tour()) for cell in phase.work}  # fmt: skip


def costly(rows: list[Row], space: str = "kernel") -> dict[str, pa.Table]:
    about = [{"role": "main", "function": FUNCTIONS.get(row[:3], "f"), "space": space} for row in rows]
    columns = ("phase", "operation", "layer", "instruction", "count")
    return {"costly": pa.Table.from_pylist(
        [one | dict(zip(columns, row, strict=True)) for one, row in zip(about, rows, strict=True)],
        schema=COSTLY,
    )}  # fmt: skip


def compared(root: Path, base: list[Row], other: list[Row], seen: dict[str, Any] = SEEN, **changes: Any) -> Comparison:
    """The tour against one whose pages cost a hundred instructions more, with some costly instructions of each."""
    slower = synthetic.tour()
    slower[2].work["page-fault", "mm-fault", "handle_mm_fault"] += 100
    for spec, phases, rows in (("linux", synthetic.tour(), base), ("bsd", slower, other)):
        phases[0].jitter["getppid", "entry", "entry_SYSCALL_64"] = 1  # else the seeds were one run
        for seed in (0, 1):
            more = costly([(*row[:4], row[4] + 4 * seed * (row[3] == "lock")) for row in rows])
            synthetic.record(root, spec, phases, [seed], more, probe=seen, **changes)
    return compare([recording.read(place) for place in recording.find(root)], "linux")


def found(pair: Pair, phase: int = 2) -> dict[str, float]:
    return {one.instruction: one.change.delta for one in pair.phases[phase].costly}


def test_a_finding_says_which_of_its_cells_differ(tmp_path: Path) -> None:
    fault = (2, "page-fault", "mm-fault")
    comparison = compared(tmp_path, [(*fault, "cr3", 509), (*fault, "rdmsr", 1018), (*fault, "invlpg", 509)],
                          [(*fault, "cr3", 3 * 509), (*fault, "rdmsr", 509), (*fault, "invlpg", 509)])  # fmt: skip
    (pair,) = comparison.pairs
    (finding,) = pair.phases[2].findings
    assert [(one.instruction, one.change.delta) for one in finding.costly] == [("cr3", 2), ("rdmsr", -1)]
    said = ("There, bsd executes 2 more CR3 writes and 1 fewer MSR read per op, which are dear on hardware and count "
            "as one instruction each here.")  # fmt: skip
    assert said in finding.sentence
    assert finding.note == "Costly instructions: cr3 +2, rdmsr -1."
    assert "executes 1,018 more CR3 writes and 509 fewer MSR reads, which" in pair.findings[0].sentence
    assert finding.note in terminal.render(comparison)
    assert r"Costly instructions: cr3 \+2, rdmsr -1." in markdown.render(comparison)
    assert finding.note in "".join(
        html.render(comparison, [recording.read(place) for place in recording.find(tmp_path)])
    )
    told = json.loads(as_json.render(comparison))["comparisons"][0]
    same = [{"instruction": "cr3", "base": 1, "other": 3, "delta": 2},
            {"instruction": "rdmsr", "base": 2, "other": 1, "delta": -1}]  # fmt: skip
    assert told["phases"][2]["findings"][0]["costly_instructions"] == same
    assert told["phases"][2]["costly_instructions_per_op"] == same


def test_other_cells_are_of_the_phase_only(tmp_path: Path) -> None:
    (pair,) = compared(tmp_path, [], [(2, "page-fault", "entry", "iret", 509)]).pairs
    assert found(pair) == {"iret": 1}
    assert [one.costly for one in pair.phases[2].findings] == [()]


def test_deferred_work_is_its_operations(tmp_path: Path) -> None:
    rows: list[Row] = [(1, "write", "fs", "wrmsr", 211), (1, "deferred:write", "fs", "wrmsr", 422)]
    assert found(compared(tmp_path, [], rows).pairs[0], 1) == {"wrmsr": 3}


def test_what_the_emulator_does_is_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [(2, "page-fault", "emulation", "mmio", 5090), (2, "page-fault", "irq", "mmio", 509)]
    assert found(compared(tmp_path, [], rows).pairs[0]) == {"mmio": 1}


def test_what_is_not_compared_is_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [(0, "getppid", "libc", "lock", 10090), (0, "user", "user", "pause", 10090)]
    assert set(found(compared(tmp_path / "alike", [], rows).pairs[0], 0)) == {"lock", "pause"}
    for spec, digest in (("linux", "ab"), ("bsd", "cd")):
        synthetic.record(tmp_path / "apart", spec, synthetic.tour(), [0], costly(rows if spec == "bsd" else [], "user"),
                         probe=SEEN, app={"sha256": digest * 32})  # fmt: skip
    apart = compare([recording.read(place) for place in recording.find(tmp_path / "apart")], "linux")
    assert found(apart.pairs[0], 0) == {}


def test_what_the_seeds_move_is_no_difference(tmp_path: Path) -> None:
    fault = (2, "page-fault", "mm-fault", "lock")
    assert found(compared(tmp_path / "noise", [(*fault, 10)], [(*fault, 11)]).pairs[0]) == {}
    comparison = compared(tmp_path / "more", [(*fault, 10)], [(*fault, 519)])
    assert found(comparison.pairs[0]) == {"lock": pytest.approx(1)}
    assert any("LOCK prefix" in note for note in comparison.notes)


def test_few_of_them_are_no_words_worth(tmp_path: Path) -> None:
    comparison = compared(tmp_path, [], [(2, "page-fault", "mm-fault", "cr3", 50)])
    (finding,) = comparison.pairs[0].phases[2].findings
    assert [one.instruction for one in finding.costly] == ["cr3"]
    assert "CR3" not in finding.sentence


@pytest.mark.parametrize("seen", [{}, {"capabilities": {"costly instructions": {"available": False, "reason": "no"}}}])
def test_what_was_not_counted_is_not_zero(tmp_path: Path, seen: dict[str, Any]) -> None:
    comparison = compared(tmp_path, [], [(2, "page-fault", "mm-fault", "cr3", 509)], seen)
    assert found(comparison.pairs[0]) == {}


def test_every_class_is_spoken_of(tmp_path: Path) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", name, 1018) for name in COSTLY_INSTRUCTIONS]
    (finding,) = compared(tmp_path, [], rows).pairs[0].phases[2].findings
    for word in ("SYSCALLs", "IRETs", "SWAPGS", "HLTs", "port accesses", "locked instructions"):
        assert f"2 more {word}" in finding.sentence
    assert finding.sentence.count("2 more ") == len(COSTLY_INSTRUCTIONS)


def test_they_are_those_of_real_recordings() -> None:
    golden = GOLDEN["tour"]
    (pair,) = (pair for pair in golden.comparison().pairs if pair.other.spec == "freebsd")
    (phase,) = (phase for phase in pair.phases if phase.name == "fork-wait")
    means = []
    for spec in ("linux", "freebsd"):
        sums: Counter[str] = Counter()
        runs = [one for one in golden.recordings() if one.spec == spec]
        for one in runs:
            for row in one.table("costly").to_pylist():
                aside = row["layer"] in ("user", "emulation", "device-wait") or (row["layer"], row["space"]) == (
                    "libc", "user")  # fmt: skip
                if row["phase"] == phase.number and not aside:
                    sums[row["instruction"]] += row["count"]
        means.append({name: count / phase.ops / len(runs) for name, count in sums.items()})
    told = {one.instruction: one.change for one in phase.costly}
    assert {"cr3", "invlpg", "lock", "swapgs"} <= told.keys()
    for name, change in told.items():
        assert change.base.mean == pytest.approx(means[0].get(name, 0))
        assert change.other.mean == pytest.approx(means[1].get(name, 0))
    left = (means[0].keys() | means[1].keys()) - told.keys()
    assert all(means[1].get(name, 0) == pytest.approx(means[0].get(name, 0), abs=0.5) for name in left)
