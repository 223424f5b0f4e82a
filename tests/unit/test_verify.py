"""verify finds each kind of recording that does not add up, and names what is off."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis.calls import phase_calls
from analysis.verify import Check, verify
from probes import recording
from probes.events import COSTLY, EVENTS, LEDGER, PHASES
from profiler.cli.main import main
from profiler.errors import RecordingInvalid
from tests import synthetic

Rows = list[dict[str, Any]]


def made(
    root: Path,
    *,
    ledger: Callable[[Rows], object] = lambda rows: None,
    phases: Callable[[Rows], object] = lambda rows: None,
    events: Callable[[Rows], object] = lambda rows: None,
    tour: list[synthetic.Phase] | None = None,
    **changes: Any,
) -> recording.Recording:
    """The synthetic tour with its rows edited in place."""
    tour = tour or synthetic.tour()
    tables = synthetic.tables(tour, 0)
    edited = {}
    for name, edit, schema in (("ledger", ledger, LEDGER), ("phases", phases, PHASES), ("events", events, EVENTS)):
        rows = tables[name].to_pylist()
        edit(rows)
        edited[name] = pa.Table.from_pylist(rows, schema=schema)
    recording.write(root / "r", synthetic.manifest("linux", 0, tour, **changes), edited, b"")
    return recording.read(root / "r")


def failures(found: recording.Recording) -> list[Check]:
    return [check for check in verify(found) if not check.ok]


def test_a_sound_recording_passes_everything(tmp_path: Path) -> None:
    checks = verify(made(tmp_path))
    assert all(check.ok and not check.warn for check in checks)
    assert {check.phase for check in checks} == {None, "null-call", "files", "fresh-pages"}


@pytest.mark.parametrize(
    ("column", "name"),
    [("instructions", "instructions add up"), ("rep_iterations", "rep_iterations add up"),
     ("idle_ns", "idle_ns add up")],
)  # fmt: skip
def test_one_lost_instruction_is_found(tmp_path: Path, column: str, name: str) -> None:
    found = made(tmp_path, ledger=lambda rows: rows[-1].update({column: rows[-1][column] + 1}))
    assert [(check.name, check.phase) for check in failures(found)] == [(name, "fresh-pages")]


def costly(**changes: object) -> pa.Table:
    row = {"phase": 0, "role": "main", "operation": "getppid", "layer": "entry", "function": "entry", "space": "kernel",
           "instruction": "syscall", "count": 1}  # fmt: skip
    return pa.Table.from_pylist([row | changes], schema=COSTLY)


@pytest.mark.parametrize(
    ("changes", "good"),
    [({}, True), ({"instruction": "rdtsc"}, False), ({"count": 10**9}, False), ({"count": -1}, False),
     ({"function": "nobody"}, False), ({"function": "nobody", "instruction": "mmio"}, True)],
)  # fmt: skip
def test_costly_instructions_are_some_of_the_cells(tmp_path: Path, changes: dict[str, object], good: bool) -> None:
    phases = synthetic.tour()
    tables = synthetic.tables(phases, 0)
    cell = {key: tables["ledger"][key][0].as_py() for key in ("role", "operation", "layer", "function", "space")}
    recording.write(tmp_path / "r", synthetic.manifest("linux", 0, phases),
                    tables | {"costly": costly(**(cell | changes))}, b"")  # fmt: skip
    found = {check.name for check in failures(recording.read(tmp_path / "r"))}
    assert found == (set() if good else {"costly instructions are of the cells"})


@pytest.mark.parametrize(("off", "good"), [(100, True), (-100, True), (101, False), (-101, False)])
def test_the_clock_may_be_off_by_a_hundred(tmp_path: Path, off: int, good: bool) -> None:
    def shift(rows: Rows) -> None:
        rows[0]["tsc"] += off - 7  # the synthetic app reads 7 more

    assert [check.name for check in failures(made(tmp_path, phases=shift))] == (
        [] if good else ["the app's TSC agrees"]
    )


def test_block_mode_allows_half_a_percent(tmp_path: Path) -> None:
    def shift(share: float) -> Callable[[Rows], None]:
        return lambda rows: rows[1].update(tsc=round(rows[1]["tsc"] * share))

    assert failures(made(tmp_path, phases=shift(1.0049), probe={"mode": "block"})) == []
    assert failures(made(tmp_path, phases=shift(1.0051), probe={"mode": "block"})) != []
    assert failures(made(tmp_path, phases=shift(1.019))) != []


def test_ops_must_be_the_declared_ones(tmp_path: Path) -> None:
    found = failures(made(tmp_path, phases=lambda rows: rows[0].update(ops=1008)))
    assert [(check.name, check.phase) for check in found] == [("ops as declared", "null-call")]
    assert "1,008" in found[0].detail
    assert "1,009" in found[0].detail


def test_every_difference_of_calls_is_named(tmp_path: Path) -> None:
    def edit(rows: Rows) -> None:
        entered = [row for row in rows if row["kind"] == "op-enter"]
        next(row for row in entered if row["name"] == "write").update(name="futex")
        next(row for row in entered if row["name"] == "close").update(name="futex")

    (check,) = failures(made(tmp_path, events=edit))
    assert check.phase == "files"
    assert check.detail == ("close expected 211, seen 210; futex expected 0, seen 2; write expected 422, seen 421")


def test_operations_that_vary_may(tmp_path: Path) -> None:
    tour = synthetic.tour()
    about = synthetic.manifest("linux", 0, tour)["app"]
    about["phases"][1]["varies"] = ["write", "futex"]

    def edit(rows: Rows) -> None:
        next(row for row in rows if row["kind"] == "op-enter" and row["name"] == "write").update(name="futex")

    assert failures(made(tmp_path, events=edit, app=about)) == []


def test_a_phase_that_has_another_name_in_the_app_is_told(tmp_path: Path) -> None:
    about = synthetic.manifest("linux", 0, synthetic.tour())["app"]
    name = about["phases"][1]["name"]
    about["phases"][1]["name"] = "other"
    (check,) = failures(made(tmp_path, app=about))
    assert (check.name, check.phase) == ("ops as declared", "other")
    assert name in check.detail


def test_calls_that_nobody_declared_are_named_and_no_failure(tmp_path: Path) -> None:
    about = synthetic.manifest("linux", 0, synthetic.tour())["app"]
    number, declared = about["phases"][1]["number"], about["phases"][1].pop("calls")
    found = made(tmp_path, app=about)
    seen = {operation: calls for (phase, operation), calls in phase_calls(found).items() if phase == number}
    assert declared.items() <= seen.items()
    (check,) = [check for check in verify(found) if check.name == "calls as declared" and check.warn]
    assert check.ok
    assert check.phase == about["phases"][1]["name"]
    wanted = {operation: calls for operation, calls in seen.items() if operation not in ("interrupt", "page-fault")}
    assert tomllib.loads(f"calls = {check.detail.partition('seen: ')[2]}")["calls"] == wanted  # to be copied as it is
    assert failures(found) == []


def test_events_outside_phases_do_not_count(tmp_path: Path) -> None:
    stray = {"time": 0, "thread": 0, "kind": "op-enter", "name": "getppid", "value": 0,
             "vcpu": 0, "how": "", "stack": -1}  # fmt: skip

    def edit(rows: Rows) -> None:
        rows.insert(0, dict(stray))
        rows.append(dict(stray))

    found = made(tmp_path, events=edit)
    assert phase_calls(found).to_dict() == {
        (0, "getppid"): 1009, (1, "openat"): 211, (1, "write"): 422, (1, "close"): 211, (1, "interrupt"): 1,
        (2, "page-fault"): 509,
    }  # fmt: skip


@pytest.mark.parametrize("drop", ["phase-begin", "phase-end"])
def test_phases_that_do_not_end_or_begin_are_refused(tmp_path: Path, drop: str) -> None:
    def edit(rows: Rows) -> None:
        rows.remove(next(row for row in rows if row["kind"] == drop))

    with pytest.raises(RecordingInvalid, match="not paired"):
        made(tmp_path, events=edit)


def test_calls_that_the_events_do_not_have_are_a_failure(tmp_path: Path) -> None:
    found = made(tmp_path)
    tables = {name: found.table(name) for name in recording.TABLES}
    at = tables["calls"].schema.get_field_index("calls")
    more = pc.add(tables["calls"]["calls"], pa.array([0] * (tables["calls"].num_rows - 1) + [1]))
    tables["calls"] = tables["calls"].set_column(at, "calls", more)
    recording.write(tmp_path / "changed", found.manifest, tables, b"")
    assert [check.name for check in failures(recording.read(tmp_path / "changed"))] == [
        "calls and events agree", "calls as declared",
    ]  # fmt: skip


def test_calls_stand_for_the_events_that_were_not_kept(tmp_path: Path) -> None:
    found = made(tmp_path)
    tables = {name: found.table(name) for name in recording.TABLES}
    tables["events"] = tables["events"].slice(0, 2020)  # null-call: its begin, 1009 enter and exit, its end
    recording.write(tmp_path / "thin", {**found.manifest, "events_kept": [0]}, tables, b"")
    assert failures(recording.read(tmp_path / "thin")) == []
    recording.write(tmp_path / "lost", found.manifest, tables, b"")
    assert [check.name for check in failures(recording.read(tmp_path / "lost"))] == ["calls and events agree"]


def test_no_events_at_all_is_a_failure_and_no_crash(tmp_path: Path) -> None:
    names = {check.name for check in failures(made(tmp_path, events=lambda rows: rows.clear()))}
    assert names == {"calls as declared"}


@pytest.mark.parametrize(
    ("edit", "word"),
    [({"layer": "cellar"}, "cellar"), ({"role": "king"}, "king"), ({"space": "outer"}, "outer"),
     ({"operation": "deferred:background"}, ""), ({"operation": "Read Me"}, "Read Me"),
     ({"operation": "deferred:"}, "deferred:")],
)  # fmt: skip
def test_words_outside_the_vocabulary_are_named(tmp_path: Path, edit: dict[str, str], word: str) -> None:
    found = failures(made(tmp_path, ledger=lambda rows: rows[0].update(edit)))
    assert [check.name for check in found] == (["known words"] if word else [])
    assert all(word in check.detail for check in found)


def test_negative_cells_and_lost_events_fail(tmp_path: Path) -> None:
    def edit(rows: Rows) -> None:
        rows[0]["calls"] = -1

    found = made(tmp_path, ledger=edit, probe={"lost_events": 3})
    assert [check.name for check in failures(found)] == ["no lost events", "no negative cells"]


def test_unattributed_instructions_are_a_warning_only(tmp_path: Path) -> None:
    tour = synthetic.tour()
    tour[0].work["getppid", "unattributed", "mystery"] = 6  # of 136 in the kernel
    found = made(tmp_path, tour=tour)
    assert failures(found) == []
    (warning,) = [check for check in verify(found) if check.warn]
    assert (warning.name, warning.phase) == ("coverage", "null-call")
    assert "4.41 %" in warning.detail


def test_an_unsupported_phase_is_no_failure_but_a_failed_one_is(tmp_path: Path) -> None:
    for status, fails in (("unsupported", False), ("failed", True)):
        tour = synthetic.tour()
        tour[1] = synthetic.Phase("files", 211, {}, {}, status=status, reason="no tmpfs here")
        tour[1].calls = {"openat": 0}
        found = made(tmp_path / status, tour=tour)
        assert bool(failures(found)) is fails
        assert any(check.warn and "no tmpfs" in check.detail for check in verify(found))


def test_a_phase_that_never_ran_is_named(tmp_path: Path) -> None:
    found = failures(made(tmp_path, phases=lambda rows: rows.pop(0)))
    assert ("ops as declared", "null-call") in [(check.name, check.phase) for check in found]
    assert "cells belong to phases" in [check.name for check in found]


def test_all_recordings_are_looked_at_though_some_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = synthetic.record(tmp_path, "linux", synthetic.tour(), [1, 2, 3])
    (first / "manifest.json").write_text("x")
    (second / "ledger.parquet").write_bytes(b"PAR1")
    assert main(["verify", str(tmp_path)]) == RecordingInvalid.exit_code
    said = capsys.readouterr()
    assert re.search(r"linux +seed 3 +\d+ checks hold", said.out)
    assert str(first) in said.out
    assert str(second) in said.out
    assert "2 of 3 recordings cannot be read" in said.err
    tables = {name: recording.read(third).table(name) for name in recording.TABLES}
    recording.write(third, {**recording.read(third).manifest, "probe": {
        **recording.read(third).manifest["probe"], "lost_events": 4}}, tables, b"")  # fmt: skip
    assert main(["verify", str(tmp_path)]) == RecordingInvalid.exit_code
    assert "of the others failed" in capsys.readouterr().err
