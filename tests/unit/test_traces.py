"""The trace commands, on recordings whose tables can be worked out by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from analysis.trace import window
from probes import archive, recording
from probes.events import EVENT_KINDS
from probes.exec import capabilities
from profiler.cli import events as events_verb
from profiler.cli import traces
from profiler.cli.main import main
from profiler.cli.traces import span
from tests import synthetic
from tests.trace_recordings import LOCKED, record

VERBS = ("syscalls", "switches", "locks", "waits", "top", "events", "packets")


def rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    assert main([*map(str, arguments), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def text(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 3) -> str:
    assert main([*map(str, arguments)]) == code
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def some(row: dict[str, str], *names: str) -> tuple[str, ...]:
    return tuple(row[name] for name in names)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    record(tmp_path / "one", stacks=True)
    return tmp_path / "one"


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three guests, of which one does something that the others do not."""
    for spec in ("linux", "linux+audit=1"):
        record(tmp_path / "three", spec=spec, seed=1)
    other = [(*event[:3], "poll", *event[4:]) if len(event) > 3 and event[3] == "send" else event for event in LOCKED]
    record(tmp_path / "three", other, spec="osv:libc", seed=1)
    return tmp_path / "three"


def test_operations_are_counted_with_their_costs(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["operation"]: row for row in rows(capsys, "syscalls", one)}
    assert list(found) == ["read", "pthread_mutex_lock", "pthread_mutex_unlock", "send", "exit"]
    assert some(found["read"], "count", "failed", "cost", "mean", "p50", "max", "off_ns") == (
        "2", "1", "70", "35.0", "10", "60", "560")  # fmt: skip
    assert some(found["pthread_mutex_lock"], "count", "failed", "cost", "off_ns") == ("1", "0", "70", "70")
    assert some(found["exit"], "count", "failed", "cost", "mean", "p99") == ("1", "", "0", "", "")
    said = text(capsys, "syscalls", one)
    assert "1 never returned: their thread exited." in said


def test_bare_system_calls_are_what_is_inside(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [some(row, "operation", "count", "cost") for row in rows(capsys, "syscalls", one, "--nested")] == [
        ("futex", "1", "50")]  # fmt: skip


def test_where_calls_have_no_instructions_the_time_on_the_cpu_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [event[:5] if event[2] in ("op-exit", "syscall-exit") else event for event in LOCKED]
    record(tmp_path, bare)
    found = {row["operation"]: row for row in rows(capsys, "syscalls", tmp_path)}
    assert found["pthread_mutex_lock"]["cost"] == "70"  # 1010 to 1050, 1120 to 1150
    assert found["pthread_mutex_unlock"]["cost"] == "30"  # 1060 to 1110, of which 20 in an interrupt
    assert "no instructions of calls" in " ".join(text(capsys, "syscalls", tmp_path).split())


def test_what_is_in_flight_at_the_edges_is_said(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("syscalls", one, "--phase", "locked", "--since", "40ns", "--until", "190ns")
    found = {row["operation"]: row for row in rows(capsys, *arguments)}
    assert some(found["pthread_mutex_lock"], "count", "mean") == ("0", ""), "it had begun before"
    assert some(found["read"], "count", "cost") == ("2", "10"), "the second had not ended"
    assert "In flight: 1 when the window began (not counted), 1 when it ended" in " ".join(
        text(capsys, *arguments).split()
    )


def test_switches_tell_why_and_how_long_until_it_ran(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["thread"]: row for row in rows(capsys, "switches", one)}
    assert some(found["0"], "role", "name", "switches", "blocked", "exited", "preempted") == (
        "main", "app", "3", "2", "1", "0")  # fmt: skip
    # Woken at 1070, ran at 1120; woken at 1730 (the wake at 1735 found it awake), ran at 1760.
    assert some(found["0"], "wakeups", "latency_p50", "latency_max", "queued_ns") == ("2", "30", "50", "80")
    assert some(found["1"], "preempted", "wakeups", "latency_p50", "queued_ns", "irq_ns") == ("1", "0", "", "750", "20")
    assert some(found["2"], "idle_ns", "irq_ns", "on_ns") == ("500", "30", "30")
    assert found["0"]["woken_by"] == "1 app"
    assert found["1"]["name"] == "'=worker", "a spreadsheet would take it for a formula"


def test_pairs_tell_who_ran_instead(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {some(row, "from", "to"): some(row, "switches", "blocked", "exited", "preempted")
             for row in rows(capsys, "switches", one, "--pairs")}  # fmt: skip
    assert found["0 main app", "1 app =worker"] == ("2", "1", "1", "0")
    assert found["1 app =worker", "0 main app"] == ("1", "0", "0", "1")


def test_a_lock_has_its_name_its_waiter_and_who_let_it_go(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, "locks", one)
    assert some(row, "lock", "function", "space", "operation", "count", "slept", "spun", "wait_ns", "off_ns") == (
        "big lock", "futex_wait", "user", "pthread_mutex_lock", "1", "1", "0", "100", "70")  # fmt: skip
    assert row["ended_by"] == "pthread_mutex_unlock"
    (row,) = rows(capsys, "locks", one, "--stacks")
    assert row["stack"] == "vfs_read < read < main"


def test_waits_name_what_ended_them_and_idle_is_charged_to_who_goes_on(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {some(row, "what", "role", "operation", "ended_by"): int(row["ns"]) for row in rows(capsys, "waits", one)}
    assert found["blocked", "main", "pthread_mutex_lock", "app pthread_mutex_unlock"] == 20
    assert found["blocked", "main", "read", "timer"] == 530
    assert found["run queue", "app", "user", "a free CPU"] == 750
    assert found["idle", "main", "read", "timer"] == 500
    assert sum(ns for key, ns in found.items() if key[0] == "idle") == 500


def test_packets_by_direction_and_operation(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {some(row, "direction", "operation"): some(row, "function", "count", "bytes", "max")
             for row in rows(capsys, "packets", one)}  # fmt: skip
    assert found == {("sent", "send"): ("ip_output", "2", "1500", "1500"),
                     ("received", "interrupt"): ("netif_rx", "1", "64", "64")}  # fmt: skip
    listed = [line for line in text(capsys, "packets", one, "--list").splitlines() if "packet" in line]
    assert len(listed) == 3
    assert listed[0].split() == ["720", "2", "idle", "swapper", "packet", "netif_rx", "received", "64", "bytes"]


def test_the_ledger_by_anything_with_what_is_dear(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["function"]: row for row in rows(capsys, "top", one)}
    assert some(found["vfs_read"], "layer", "instructions", "share", "costly", "lock") == (
        "vfs", "70", "0.175", "7", "7")  # fmt: skip
    assert found["[idle]"]["idle_ns"] == "500"
    assert [row["layer"] for row in rows(capsys, "top", one, "--by", "layer")] == ["user", "vfs", "idle"]
    assert {row["operation"]: row["instructions"] for row in rows(capsys, "top", one, "--by", "operation")} == {
        "user": "330", "read": "70", "background": "0"}  # fmt: skip
    assert [row["role"] for row in rows(capsys, "top", one, "--by", "role", "--thread", "main")] == ["main"]


def test_the_ledger_where_nothing_dear_was_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, dear="")
    found = rows(capsys, "top", tmp_path, "--thread", "main")
    assert [row["function"] for row in found] == ["main", "vfs_read"]
    assert "costly" not in found[0]


def test_what_only_one_guest_has_is_a_column_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, spec="linux", dear="lock")
    record(tmp_path, spec="freebsd", dear="cr3")
    record(tmp_path, spec="osv", dear="")
    found = {row["guest"]: some(row, "lock", "cr3") for row in rows(capsys, "top", tmp_path, "--by", "layer")
             if row["layer"] == "vfs"}  # fmt: skip
    assert found == {"linux": ("7", "0"), "freebsd": ("0", "7"), "osv": ("", "")}


def test_stacks_have_their_own_and_what_they_call(one: Path, three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["stack"]: some(row, "instructions", "inclusive") for row in rows(capsys, "top", one, "--stacks")}
    assert found["main"] == ("10", "100")
    assert found["vfs_read < read < main"] == ("30", "70")
    assert found["vfs_read < vfs_read < read < main"] == ("40", "40")
    record(three.parent / "two", spec="linux", stacks=True)
    record(three.parent / "two", spec="freebsd", stacks=True)
    said = text(capsys, "top", three.parent / "two", "--stacks").splitlines()
    assert next(line for line in said if line.startswith("vfs_read")).split() == ["vfs_read", *["70"] * 4], (
        "once, not twice"
    )


def test_events_are_told_in_order_and_indented(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = text(capsys, "events", one).splitlines()
    assert len(said) == len(LOCKED) + 2
    assert said[3] == "          10  0 main app      op-enter pthread_mutex_lock"
    assert said[4] == "          20  0 main app        syscall-enter futex"
    assert said[5] == "          30  0 main app          lock-contended futex_wait user big lock"
    assert said[6] == "          50  0 main app          switch blocked -> 1 app =worker"
    assert said[10].endswith("1 app =worker     irq-exit timer timer"), "as deep as it began"
    assert "         710  2 idle swapper  irq-enter timer" in said


def test_events_of_a_kind_a_span_and_a_thread(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["time_ns"] for row in rows(capsys, "events", one, "--kind", "wake")] == ["70", "730", "735"]
    assert [row["time_ns"] for row in rows(capsys, "events", one, "--kind", "wake", "--thread", "idle")] == [
        "730",
        "735",
    ]
    found = rows(capsys, "events", one, "--since", "20", "--until", "0.05us", "--thread", "0")
    assert [some(row, "kind", "depth") for row in found] == [("syscall-enter", "1"), ("lock-contended", "2")]
    assert len(rows(capsys, "events", one, "--limit", "5")) == 5
    said = text(capsys, "events", one, "--kind", "lock-contended", "--stacks").splitlines()
    assert said[3] == " " * 14 + "in vfs_read < read < main"
    assert [row["stack"] for row in rows(capsys, "events", one, "--kind", "lock-contended", "--stacks")] == [
        "vfs_read < read < main"]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_json_and_csv_say_the_same(verb: str, three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows(capsys, verb, three)
    assert main([verb, str(three), "--format", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    guests = [guest["guest"] for guest in value["guests"]]
    assert guests == ["linux", "linux+audit=1", "osv:libc"]
    key = "events" if verb == "events" else "rows"
    assert sum(len(guest[key]) for guest in value["guests"]) == len(lines)
    assert list(dict.fromkeys(line["guest"] for line in lines)) == guests
    first = value["guests"][0][key][0]
    assert {name: "" if cell is None else str(cell) for name, cell in first.items()}.items() <= lines[0].items()


@pytest.mark.parametrize("verb", VERBS)
def test_text_is_never_wider_than_80_columns(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a_name_that_is_far_too_long_for_anybody_to_read_" * 3
    wide = [(*event[:3], f"{event[3]}{long}\x1b[31m\u202e", *event[4:]) if len(event) > 3 and event[3] else event
            for event in LOCKED]  # fmt: skip
    for spec in ("linux", "linux+audit=1", "osv:libc", "osv:static", "freebsd"):
        record(
            tmp_path,
            wide,
            spec=spec,
            threads=[(0, "main", long), (1, "app", "\x1b]0;x\x07" + long), (2, "idle", "漢字" * 30)],
        )
    for arguments in ([verb, tmp_path], [verb, tmp_path, "--guest", "osv:static"]):
        said = text(capsys, *arguments)
        assert max(cell_len(line) for line in said.splitlines()) <= 80
        assert "\x1b" not in said
        assert "\u202e" not in said


@pytest.mark.parametrize("verb", ["syscalls", "switches", "waits", "top", "packets"])
def test_guests_stand_side_by_side(verb: str, three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = text(capsys, verb, three).splitlines()
    assert said[0] == "phase locked: 3 guests"
    assert said[1].split() == ["linux", "linux+audit=1", "osv:libc"]
    if verb == "syscalls":
        assert next(line for line in said if line.startswith("send")).split() == [
            "send",
            "1",
            "30",
            "1",
            "30",
            "-",
            "-",
        ]
        assert next(line for line in said if line.startswith("poll")).split() == ["poll", "-", "-", "-", "-", "1", "30"]
    assert text(capsys, verb, three, "--guest", "osv:libc").startswith("osv:libc, seed 1, phase locked\n")


def test_no_figure_is_cut_where_there_is_little_room(
    three: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns, abreast in ((80, 3), (60, 2), (40, 1)):
        monkeypatch.setattr(traces, "width", lambda columns=columns: columns)
        said = text(capsys, "syscalls", three)
        assert max(map(len, said.splitlines())) <= columns
        heads = [line.split() for line in said.splitlines() if line.startswith(" " * 12) and "linux" in line]
        assert heads[0] == ["linux", "linux+audit=1", "osv:libc"][:abreast]
        sends = [line.split()[1:] for line in said.splitlines() if line.startswith("send")]
        assert [figure for figures in sends for figure in figures if "…" in figure] == []


def test_guests_come_as_the_campaign_named_them(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (three / "campaign.json").write_text('{"guests": ["osv:libc", "linux"]}')
    found = list(dict.fromkeys(row["guest"] for row in rows(capsys, "syscalls", three)))
    assert found == ["osv:libc", "linux", "linux+audit=1"]
    (three / "campaign.json").write_text('{"guests": 7')
    assert len(rows(capsys, "syscalls", three)) == 15


def test_the_first_seed_is_taken_unless_another_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, seed=2)
    record(tmp_path, seed=5)
    assert {row["seed"] for row in rows(capsys, "syscalls", tmp_path)} == {"2"}
    assert {row["seed"] for row in rows(capsys, "syscalls", tmp_path, "--seed", "5")} == {"5"}
    assert "seeds of it: 2 and 5" in refused(capsys, "syscalls", tmp_path, "--seed", "3", code=2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["syscalls", "--phase", "lost"], 2, "there is no phase 'lost'\n  -> phases: locked"),
        (["syscalls", "--guest", "bsd"], 2, "there are no recordings of 'bsd'\n  -> there are some of linux"),
        (["syscalls", "--thread", "2"], 3, "linux has no operations of thread 2 in phase locked"),
        (["syscalls", "--thread", "kernel"], 3, "nothing to show: "),
        (["syscalls", "--since", "1ms"], 3, "nothing to show: "),
        (["locks", "--since", "500ns"], 3, "no wait for a lock in phase locked from 500 ns to its end of linux"),
        (["switches", "--thread", "kernel"], 3, "linux has no switch of thread kernel in phase locked"),
        (
            ["syscalls", "--thread", "nobody"],
            3,
            "there is no thread 'nobody'\n  -> by number, role (main, app, kernel, "
            "idle), or name: app, =worker and swapper",
        ),
        (["events", "--kind", "fault-enter"], 3, "linux has no event of kind fault-enter in phase locked"),
        (["packets", "--thread", "app"], 3, "no packet of thread app"),
        (["top", "--thread", "0"], 2, "the ledger knows the role"),
        (["top", "--since", "5"], 2, "the ledger has whole phases"),
        (["top", "--stacks", "--until", "5"], 2, "the ledger has whole phases"),
        (["top", "--stacks", "--by", "layer"], 2, "--stacks and --by are two tables"),
        (["waits", "--since", "soon"], 2, "'soon' is no time"),
        (["waits", "--since", "9us", "--until", "8us"], 2, "--until is not after --since"),
        (["waits", "--limit", "0"], 2, "--limit is at least 1"),
        (["events", "--kind", "birth"], 2, "invalid choice"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    arguments: list[str], code: int, words: str, one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, arguments[0], one, *arguments[1:], code=code)
    assert words in said
    assert "\n  -> " in said, "every failure says what to do"


def test_what_a_probe_could_not_see_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    able = {"lock slow paths": {"available": False, "reason": "no rule fits this kernel"},
            "packets": {"available": False, "reason": "it has no network"}}  # fmt: skip
    quiet = [event for event in LOCKED if event[2] not in ("lock-contended", "lock-acquired", "packet")]
    record(tmp_path, quiet, probe={"capabilities": able})
    assert "-> lock slow paths were not seen: no rule fits this kernel" in refused(capsys, "locks", tmp_path)
    assert "-> packets were not seen: it has no network" in refused(capsys, "packets", tmp_path)
    assert "record it with --stacks" in refused(capsys, "top", tmp_path, "--stacks")
    assert "record it with --stacks" in refused(capsys, "locks", tmp_path, "--stacks")
    assert "packets were not seen: it has no network" in refused(capsys, "events", tmp_path, "--kind", "packet")
    assert set(events_verb._SEEN_BY.values()) <= capabilities.TABLE.keys()


def test_events_that_were_not_kept_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "a", spec="linux")
    record(tmp_path / "a", spec="freebsd")
    found = [recording.read(place) for place in recording.find(tmp_path / "a")]
    archive.write(tmp_path / "none.recordings", found, tmp_path / "a", events=())
    said = refused(capsys, "syscalls", tmp_path / "none.recordings")
    assert "freebsd and linux: packed without the events of locked: record again, or pack the recordings" in said
    assert rows(capsys, "top", tmp_path / "none.recordings"), "the ledger is there"


def test_it_is_said_where_the_events_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.record(tmp_path / "a", "linux", synthetic.tour(), [1, 2])
    synthetic.record(tmp_path / "a", "freebsd", synthetic.tour(), [1, 2])
    packed = tmp_path / "some.recordings"
    archive.write(packed, [recording.read(place) for place in recording.find(tmp_path / "a")], tmp_path, events=[0])
    assert "-> there are events of null-call\n" in refused(capsys, "syscalls", packed, "--phase", "files")
    assert "-> there are events under seed 1\n" in refused(capsys, "syscalls", packed, "--seed", "2")
    said = " ".join(text(capsys, "syscalls", packed).split())
    assert said.count("freebsd and linux: packed without the events of 2 phases") == 1
    # Another program reads CSV: what is left out is said beside it.
    for arguments in (["syscalls", "--format", "csv"], *(["events", "--format", style] for style in ("csv", "json"))):
        assert main([arguments[0], str(packed), *arguments[1:]]) == 0
        shown = capsys.readouterr()
        assert "packed without" in shown.err
        assert "packed without" not in shown.out


def test_one_sentence_for_guests_that_have_nothing(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "syscalls", three, "--since", "1ms")
    assert "linux has no operations in phase locked from 1,000,000 ns to its end; nor have the 2 other guests" in said


def test_a_lock_is_called_as_in_its_source_and_so_is_who_let_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, lock="*(_ZL12queues_mutex+0x8)")
    (found,) = rows(capsys, "locks", tmp_path)
    assert some(found, "lock", "ended_by", "holder") == ("*(queues_mutex+0x8)", "pthread_mutex_unlock", "1 app =worker")
    assert "slept *(queues_mutex" in text(capsys, "events", tmp_path, "--kind", "lock-acquired")


def test_a_phase_of_too_many_events_is_shown_in_parts(
    one: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [row["operation"] for row in rows(capsys, "syscalls", one)]
    monkeypatch.setattr(window, "MOST", 20)
    said = refused(capsys, "syscalls", one)
    assert "a phase has more than 20 events, too many at once\n  -> show a part of it: --since and --until" in said
    parts = [rows(capsys, "syscalls", one, *edges) for edges in (("--until", "190ns"), ("--since", "190ns"))]
    assert {row["operation"] for part in parts for row in part} == set(names)


def test_one_guest_without_is_named_below_the_others(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(three, [event for event in LOCKED if event[2] != "packet"], spec="freebsd")
    said = text(capsys, "packets", three)
    assert "no packet in phase locked of freebsd" in " ".join(said.split())
    assert said.splitlines()[0] == "phase locked: 3 guests"


def test_recordings_of_an_archive_and_a_directory_are_one_set(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(three.parent / "more", spec="freebsd")
    found = [recording.read(place) for place in recording.find(three)]
    packed = three.parent / "three.recordings"
    archive.write(packed, found, three)
    said = rows(capsys, "syscalls", packed, three.parent / "more")
    assert list(dict.fromkeys(row["guest"] for row in said)) == ["linux", "linux+audit=1", "osv:libc", "freebsd"]


def test_recordings_of_two_apps_are_not_one_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, app={"name": "other"}, spec="freebsd")
    record(tmp_path, spec="linux")
    assert "several apps: other and tour" in refused(capsys, "syscalls", tmp_path, code=2)


@pytest.mark.parametrize(
    ("said", "ns"),
    [
        ("500", 500),
        ("500ns", 500),
        ("10us", 10_000),
        ("2ms", 2_000_000),
        ("1.5us", 1500),
        ("0.001us", 1),
        ("3s", 3 * 10**9),
    ],
)
def test_a_time_has_a_unit_or_is_in_ns(said: str, ns: int) -> None:
    assert span(said) == ns


def test_the_kinds_of_events_are_those_of_the_schema() -> None:
    assert events_verb._KINDS == EVENT_KINDS
