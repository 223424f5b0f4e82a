"""What the probe wrote becomes tables: sums are kept, names found, and damaged files are told as that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import recording
from probes.events import COSTLY, EVENT_KINDS, EVENTS, HOWS, LEDGER, PHASES
from probes.exec import decode, frames
from probes.exec.configure import Hooks
from probes.exec.decode import Tables
from probes.exec.said import Phase
from profiler.errors import ProbeLoss
from tests import raw_log, synthetic

MAIN, APP, KERNEL, IDLE = range(4)
UNKNOWN, VDSO, HALTED, DEVICE = -1, -2, -3, -4
USER, INTERRUPT, BACKGROUND, PENDING, SYSCALL = range(1, 6)
DEFERRED = 0x8000
Cell = tuple[int, ...]
Event = tuple[int, int, str, int, int]


def hooks() -> Hooks:
    """Two operations, and four functions of which two are pieces of one."""
    made = Hooks()
    assert (made.number("read"), made.number("write"), made.number("read")) == (6, 7, 6)
    made.functions = [
        ("main", "app", "user"), ("read", "libc", "libc"), ("vfs_read", "kernel", "vfs"), ("vfs_read", "kernel", "vfs"),
    ]  # fmt: skip
    made.kinds = ["op", "op", "syscall", "fault"]
    return made


READ, WRITE = 6, 7

# phase, role, operation, function, raw, calls, rep_iterations, rep_bytes, idle_ns
CELLS: list[Cell] = [
    (1, MAIN, USER, 0, 500, 0, 0, 0, 0),
    (1, MAIN, READ, 1, 70, 7, 0, 0, 0),
    (1, MAIN, READ, 2, 300, 7, 40, 160, 0),
    (1, MAIN, READ, 3, 30, 0, 2, 8, 0),
    (1, KERNEL, READ | DEFERRED, 2, 90, 1, 0, 0, 0),
    (1, MAIN, USER, VDSO, 11, 0, 0, 0, 0),
    (1, IDLE, BACKGROUND, UNKNOWN, 9, 0, 0, 0, 0),
    (1, MAIN, READ, HALTED, 0, 0, 0, 0, 4000),
    (1, MAIN, INTERRUPT, DEVICE, 0, 0, 0, 0, 600),
    (2, APP, WRITE, 1, 25, 1, 0, 0, 0),
]
# phase, role, operation, class, function, count
COSTLY_SEEN: list[Cell] = [
    (1, MAIN, READ, 14, 2, 3), (1, MAIN, READ, 14, 3, 2), (1, MAIN, READ, 1, 1, 7), (2, APP, WRITE, 14, 1, 1),
]  # fmt: skip
EVENTS_SEEN: list[Event] = [
    (10, 0, "phase-begin", 0, 1),
    (20, 0, "op-enter", READ, 0),
    (21, 0, "syscall-enter", READ, 0),
    (30, 0, "switch", 0, 3),
    (40, 3, "wake", 0, 0),
    (90, 3, "op-exit", WRITE, 0),
    (5620, 0, "phase-end", 0, 1),
]
POINTS = [[1, 10, 0, 0], [1, 1020, 42, 4600], [2, 2000, 42, 4600], [2, 2025, 42, 4600]]
SAID = [Phase(1, "one", "ok", 7, 5608, ""), Phase(2, "two", "ok", 1, 25, ""),
        Phase(3, "three", "unsupported", 0, 0, "no such call")]  # fmt: skip


def summary(**changes: Any) -> dict[str, Any]:
    whole = {
        "api": 1, "exact": True, "complete": True, "ledger_written": True, "clock": True, "guest": True,
        "threads": [[0, 0, -1, "617070"], [1, 0, 0, ""]], "fired": [5, 6, 7, 0],
        "trouble": {"rows": 0, "functions": 0, "frames": 0, "resync": 2, "switches": 0, "phases": 0},
        "locks": [],
    }  # fmt: skip
    vcpu = {"lost_events": changes.pop("lost_events", 0), "points": changes.pop("points", POINTS)}
    return whole | {"vcpus": [vcpu]} | changes


def write(
    out: Path, cells: Sequence[Cell] = CELLS, events: Sequence[Event] = EVENTS_SEEN, about: object = None
) -> None:
    out.mkdir(exist_ok=True)
    raw = np.zeros(len(cells), dtype=decode._CELL)
    columns = ["phase", "role", "operation", "function", "raw", "calls", "rep_iterations", "rep_bytes", "idle_ns"]
    for number, name in enumerate(columns):
        raw[name] = [cell[number] for cell in cells]
    raw.tofile(out / "ledger.bin")
    write_costly(out, COSTLY_SEEN if cells else [])
    raw = np.zeros(len(events), dtype=raw_log.EVENT)
    for number, (time, thread, kind, name, value) in enumerate(events):
        for field, what in (("time", time), ("thread", thread), ("name", name), ("value", value)):
            raw[field][number] = what
        raw["kind"][number], raw["stack"][number] = EVENT_KINDS.index(kind), frames.NO_STACK
    raw_log.write(out / "events.bin", raw)
    (out / "summary.json").write_text(json.dumps(summary() if about is None else about))


def write_costly(out: Path, rows: Sequence[Cell]) -> None:
    raw = np.zeros(len(rows), dtype=decode._COSTLY)
    for number, name in enumerate(["phase", "role", "operation", "class", "function", "count"]):
        raw[name] = [row[number] for row in rows]
    raw.tofile(out / "costly.bin")


def decoded(out: Path, said: Sequence[Phase] = SAID, **changes: Any) -> Tables:
    write(out, about=summary(**changes))
    return decode.decode(out, hooks(), said)


def test_packets_whose_length_was_not_found(tmp_path: Path) -> None:
    told = hooks()
    told.kinds = ["op", "op", "syscall", "packet"]
    told.not_hooked = [{"what": "packet-length", "reason": "not one such field in skb_push"}]
    write(tmp_path)
    able = decode.decode(tmp_path, told, SAID).capabilities
    assert able["packets"]["available"]
    assert able["packet sizes"] == {"available": False, "reason": "not one such field in skb_push"}


def test_what_needs_the_guests_registers(tmp_path: Path) -> None:
    assert decoded(tmp_path).capabilities["which lock"]["available"]
    without = decoded(tmp_path, guest=False).capabilities
    assert not without["which lock"]["available"]
    assert "reads registers and memory" in without["which lock"]["reason"]


# -- what is there -----------------------------------------------------------------------------------------------------


def test_sums_are_kept(tmp_path: Path) -> None:
    tables = decoded(tmp_path)
    assert (tables.ledger.schema, tables.phases.schema, tables.events.schema) == (LEDGER, PHASES, EVENTS)
    ledger, phases = tables.ledger.to_pandas(), tables.phases.to_pandas().set_index("number")
    sums = ledger.groupby("phase")[["instructions", "rep_iterations", "rep_bytes", "idle_ns", "calls"]].sum()
    assert sums.loc[1].tolist() == [1010 - 42, 42, 168, 4600, 15]
    assert sums.loc[2].tolist() == [25, 0, 0, 0, 1]
    for column in ("instructions", "rep_iterations", "idle_ns"):
        assert sums[column].to_dict() == phases.loc[[1, 2], column].to_dict()


def test_names_are_found(tmp_path: Path) -> None:
    ledger = decoded(tmp_path).ledger.to_pandas()
    keys = ["phase", "role", "operation", "layer", "function", "space"]
    assert set(ledger[keys].itertuples(index=False, name=None)) == {
        (1, "main", "user", "user", "main", "user"),
        (1, "main", "read", "libc", "read", "user"),
        (1, "main", "read", "vfs", "vfs_read", "kernel"),  # two pieces of a function are one cell
        (1, "kernel", "deferred:read", "vfs", "vfs_read", "kernel"),
        (1, "main", "user", "time", "[vdso]", "user"),
        (1, "idle", "background", "unattributed", "[unknown]", "kernel"),
        (1, "main", "read", "idle", "[idle]", "kernel"),
        (1, "main", "interrupt", "device-wait", "[device-wait]", "kernel"),
        (2, "app", "write", "libc", "read", "user"),
    }
    both = ledger[(ledger["function"] == "vfs_read") & (ledger["operation"] == "read")].iloc[0]
    assert (both["instructions"], both["calls"], both["rep_iterations"], both["rep_bytes"]) == (288, 7, 42, 168)


def test_costly_instructions_are_of_the_same_cells(tmp_path: Path) -> None:
    tables = decoded(tmp_path)
    assert tables.costly.schema == COSTLY
    keys = ["phase", "role", "operation", "layer", "function", "space"]
    costly, ledger = tables.costly.to_pandas(), tables.ledger.to_pandas()
    assert set(costly[keys].itertuples(index=False)) <= set(ledger[keys].itertuples(index=False))
    assert set(costly[["phase", "function", "instruction", "count"]].itertuples(index=False, name=None)) == {
        (1, "vfs_read", "lock", 5), (1, "read", "syscall", 7), (2, "read", "lock", 1)}  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [(1, MAIN, READ, 0, 2, 3), (1, MAIN, READ, 16, 2, 3), (1, MAIN, READ, 1, 2, 2**64 - 1), (1, MAIN, READ, 1, 4, 1),
     (1, MAIN, 8, 1, 2, 3), (200, MAIN, READ, 1, 2, 3), (1, 4, READ, 1, 2, 3)],
)  # fmt: skip
def test_costly_instructions_that_cannot_be(tmp_path: Path, row: Cell) -> None:
    write(tmp_path)
    write_costly(tmp_path, [*COSTLY_SEEN, row])
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


def test_events_keep_their_order_and_get_names(tmp_path: Path) -> None:
    events = decoded(tmp_path).events.read_pandas()
    names = {0: "", READ: "read", WRITE: "write"}
    want = [(time, 0, thread, kind, names[name], "", value, -1) for time, thread, kind, name, value in EVENTS_SEEN]
    assert list(events.itertuples(index=False, name=None)) == want


def test_phases_say_what_the_app_said_and_what_the_probe_saw(tmp_path: Path) -> None:
    phases = decoded(tmp_path).phases.to_pandas().set_index("number")
    assert phases["name"].to_dict() == {1: "one", 2: "two", 3: "three"}
    assert phases.loc[1, ["status", "ops", "tsc", "instructions", "rep_iterations", "idle_ns"]].tolist() == [
        "ok", 7, 5608, 968, 42, 4600]  # fmt: skip
    assert phases.loc[3, ["status", "reason"]].tolist() == ["unsupported", "no such call"]
    assert phases.loc[3, ["instructions", "rep_iterations", "idle_ns"]].isna().all(), "no window: unknown, not zero"


def test_what_was_decoded_can_be_written_and_read(tmp_path: Path) -> None:
    tables = decoded(tmp_path / "raw")
    columns = {"ledger": tables.ledger, "phases": tables.phases, "events": tables.events}
    (pattern,) = synthetic.record(tmp_path / "pattern", "linux", synthetic.tour())
    recording.write(tmp_path / "out", recording.read(pattern).manifest, columns, b"")
    again = recording.read(tmp_path / "out")
    assert again.phases["status"].tolist() == ["ok", "ok", "unsupported"]
    assert int(again.ledger["instructions"].sum()) == 968 + 25
    assert len(again.events) == len(EVENTS_SEEN)


def test_nothing_at_all_happened(tmp_path: Path) -> None:
    write(tmp_path, [], [], summary(points=[]))
    tables = decode.decode(tmp_path, hooks(), [])
    assert (len(tables.ledger), len(tables.phases), len(tables.events.read_all())) == (0, 0, 0)


def test_hooks_that_fired_are_counted_by_kind(tmp_path: Path) -> None:
    tables = decoded(tmp_path)
    assert tables.hooks_fired == {"op": 11, "syscall": 7, "fault": 0}
    assert tables.trouble["resync"] == 2
    assert tables.lost_events == 0


def test_without_a_clock_idle_is_unknown_and_not_zero(tmp_path: Path) -> None:
    tables = decoded(tmp_path, clock=False)
    assert tables.ledger["idle_ns"].null_count == len(tables.ledger)
    assert tables.phases["idle_ns"].null_count == len(tables.phases)
    assert tables.capabilities["idle time"]["available"] is False
    assert "qemu_clock_get_ns" in tables.capabilities["idle time"]["reason"]


def test_without_registers_results_are_unknown(tmp_path: Path) -> None:
    assert decoded(tmp_path).capabilities["results"] == {"available": True, "reason": ""}
    said = decoded(tmp_path, guest=False).capabilities["results"]
    assert (said["available"], "debugger" in said["reason"]) == (False, True)


def test_block_mode_says_so(tmp_path: Path) -> None:
    assert decoded(tmp_path).capabilities["exact counts"]["available"] is True
    said = decoded(tmp_path, exact=False).capabilities["exact counts"]
    assert (said["available"], "mode block" in said["reason"]) == (False, True)


def test_what_could_not_be_hooked_cannot_be_seen(tmp_path: Path) -> None:
    write(tmp_path)
    known = hooks()
    known.not_hooked = [{"what": "switch-in", "reason": "no access through the task in __switch_to_asm"},
                        {"what": "lock __gone_slowpath", "reason": "no such symbol in this kernel"}]  # fmt: skip
    able = decode.decode(tmp_path, known, SAID).capabilities
    for name in ("context switches", "thread identity"):
        assert able[name] == {"available": False, "reason": "no access through the task in __switch_to_asm"}
    assert able["operations"] == {"available": True, "reason": ""}


@pytest.mark.parametrize(("woken", "seen"), [(3, True), (4, False)])
def test_wake_ups_of_what_never_runs_are_none(tmp_path: Path, woken: int, seen: bool) -> None:
    # On another build of a kernel the rule may find the address of something else than a thread.
    events: list[Event] = [(10, 0, "switch", 0, 3)]
    write(tmp_path, events=events + [(20 + n, 3, "wake", 0, woken) for n in range(20)])
    assert decode.decode(tmp_path, hooks(), SAID).capabilities["wake-ups"]["available"] is seen
    write(tmp_path, events=events + [(20 + n, 3, "wake", 0, woken) for n in range(19)])  # too few to tell
    assert decode.decode(tmp_path, hooks(), SAID).capabilities["wake-ups"]["available"] is True


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["summary.json", "ledger.bin", "events.bin", "costly.bin"])
def test_a_file_that_is_missing(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


@pytest.mark.parametrize("name", ["summary.json", "ledger.bin", "events.bin", "costly.bin"])
def test_a_file_cut_short(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"complete": False}, "disarm"),
        ({"ledger_written": False}, "could not write its ledger"),
        ({"trouble": summary()["trouble"] | {"frames": 3}}, "ran out of frames"),
        ({"trouble": summary()["trouble"] | {"rows": 1, "functions": 1}}, "ran out of rows, functions"),
        ({"points": POINTS[:3]}, "not closed"),
        ({"points": [POINTS[0], POINTS[3], POINTS[2], POINTS[1]]}, "not closed"),
        ({"points": POINTS + POINTS[:2]}, "opened twice"),
        ({"points": [POINTS[1], POINTS[0], *POINTS[2:]]}, "ended before it began"),
        ({"points": POINTS[:2]}, "disagree on phase 2"),
        ({"points": [*POINTS, [9, 0, 0, 0], [9, 1, 0, 0]]}, "disagree on phase 9"),
        ({"points": [[1, 2], [1, 3]]}, "summary"),
        ({"points": [[1, 2, 3, "4"], [1, 3, 4, 5]]}, "summary"),
        ({"points": [[200, 0, 0, 0], [200, 1, 0, 0]]}, "summary"),
        ({"points": [[1, 0, 0, 0], [1, 2**63, 0, 0]]}, "summary"),
        ({"points": None}, "summary"),
        ({"trouble": {}}, "summary"),
        ({"trouble": []}, "summary"),
        ({"fired": "many"}, "summary"),
        ({"fired": [1, 2]}, "hooks"),
        ({"lost_events": "none"}, "summary"),
        ({"lost_events": -1}, "summary"),
        ({"complete": 1}, "summary"),
    ],
)  # fmt: skip
def test_a_summary_that_cannot_be(tmp_path: Path, changes: Mapping[str, Any], why: str) -> None:
    with pytest.raises(ProbeLoss, match=why):
        decoded(tmp_path, **changes)


@pytest.mark.parametrize("name", sorted(summary().keys() - {"api", "raw", "idle"}))
def test_a_summary_that_lacks_something(tmp_path: Path, name: str) -> None:
    about = summary()
    del about[name]
    write(tmp_path, about=about)
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "{}", "\x00", "[" * 100_000, '{"complete": NaN}'])
def test_what_is_no_summary(tmp_path: Path, text: str) -> None:
    write(tmp_path)
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ProbeLoss) as caught:
        decode.decode(tmp_path, hooks(), SAID)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "cell",
    [
        (1, 4, USER, 0, 1, 0, 0, 0, 0),  # no such role
        (1, MAIN, 8, 0, 1, 0, 0, 0, 0),  # no such operation
        (1, MAIN, 8 | DEFERRED, 0, 1, 0, 0, 0, 0),
        (1, MAIN, USER, 4, 1, 0, 0, 0, 0),  # no such function
        (1, MAIN, USER, -5, 1, 0, 0, 0, 0),
        (200, MAIN, USER, 0, 1, 0, 0, 0, 0),  # no such phase
        (0xFFFF, MAIN, USER, 0, 1, 0, 0, 0, 0),
        (1, MAIN, USER, 0, 2**64 - 1, 0, 0, 0, 0),  # one taken back too many
        (1, MAIN, USER, 0, 1, 0, 0, 2**63, 0),
    ],
)
def test_a_cell_that_cannot_be(tmp_path: Path, cell: Cell) -> None:
    write(tmp_path, [*CELLS, cell])
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", len(EVENT_KINDS)),
        ("name", 8),
        ("thread", 2**31),
        ("time", 2**63),
        ("how", len(HOWS)),
        ("stack", 2**31),
    ],
)
def test_an_event_that_cannot_be(tmp_path: Path, field: str, value: int) -> None:
    write(tmp_path)
    events = raw_log.read(tmp_path / "events.bin")
    events[field][2] = value
    raw_log.write(tmp_path / "events.bin", events)
    with pytest.raises(ProbeLoss):
        decode.decode(tmp_path, hooks(), SAID)


def test_a_million_events_take_no_loop(tmp_path: Path) -> None:
    write(tmp_path)
    events = np.zeros(1_000_000, dtype=raw_log.EVENT)
    events["stack"] = frames.NO_STACK
    events["time"] = np.arange(len(events))
    events["kind"] = np.arange(len(events)) % len(EVENT_KINDS)
    events["name"] = np.arange(len(events)) % 8
    raw_log.write(tmp_path / "events.bin", events)
    frame = decode.decode(tmp_path, hooks(), SAID).events.read_pandas()
    assert bool((frame["time"] == pd.RangeIndex(len(events))).all())
    assert frame["name"].iloc[7] == "write"
