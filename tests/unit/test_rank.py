"""The planted cause comes first, and the list stops where the difference is explained."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import Comparison, Pair, compare
from analysis.rank import EXPLAINED, MOST, fewest
from analysis.views import terminal
from probes import recording
from profiler.errors import NotComparable
from tests import synthetic
from tests.synthetic import Phase

Seeds = list[int]


def against(root: Path, other: list[Phase], base: list[Phase] | None = None, seeds: tuple[int, ...] = (0, 1),
            spec: str = "linux+x=1") -> Pair:  # fmt: skip
    synthetic.record(root, "linux", base or synthetic.tour(), seeds)
    synthetic.record(root, spec, other, seeds)
    return everything(root).pairs[0]


def everything(root: Path) -> Comparison:
    return compare([recording.read(place) for place in recording.find(root)], "linux")


# -- how many findings ------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(min_value=1e-3, max_value=1e9), min_size=1, max_size=MOST))
def test_the_fewest_of_one_sign_explain_nine_tenths(sizes: list[float]) -> None:
    deltas = sorted(sizes, reverse=True)
    whole = sum(deltas)
    kept = fewest(deltas, whole)
    assert sum(deltas[:kept]) >= EXPLAINED * whole * (1 - 1e-6)
    assert sum(deltas[: kept - 1]) < EXPLAINED * whole * (1 + 1e-6)


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), max_size=60))
def test_it_stops_whatever_cancels_out(deltas: list[float]) -> None:
    deltas.sort(key=lambda delta: -abs(delta))
    assert 0 <= fewest(deltas, sum(deltas)) <= min(len(deltas), MOST)


def test_what_cancels_out_is_still_named() -> None:
    assert fewest([1000.0, -1000.0, 1.0], 1.0) == 2
    assert fewest([0.0, 0.0], 0.0) == 0
    assert fewest([100.0, -60.0, 3.0], 43.0) == 2


# -- what comes first -------------------------------------------------------------------------------------------------


def test_the_audit_hooks_are_one_cause_over_all_operations_and_phases(tmp_path: Path) -> None:
    pair = against(tmp_path, synthetic.audit(synthetic.tour()))
    (finding,) = pair.findings
    assert finding.layer == "security"
    assert set(finding.operations) == {"getppid", "openat", "write", "close"}
    assert set(finding.phases) == {0, 1}
    assert finding.share == pytest.approx(1)
    assert {one.name for one in finding.functions} == {"syscall_trace_enter", "__audit_syscall_entry",
                                                       "__audit_syscall_exit"}  # fmt: skip
    assert finding.change.delta == pytest.approx(220 * 1009 + 4 * 220 * 211)
    assert finding.unit == pytest.approx(finding.change.delta)
    assert pair.leads == "instructions"
    (null, files, pages) = pair.phases
    assert (null.differs, files.differs, pages.differs) == (True, True, False)
    assert null.findings[0].change.delta == pytest.approx(220)
    assert files.findings[0].operations[0] == "write"


def test_cleared_pages_lead_by_bytes(tmp_path: Path) -> None:
    pair = against(tmp_path, synthetic.no_clearing(synthetic.tour()))
    assert pair.leads == "rep_bytes"
    first = pair.in_order[0]
    assert (first.cost, first.layer, first.operations) == ("rep_bytes", "mm-alloc", ("page-fault",))
    assert first.functions[0].name == "clear_page_erms"
    assert first.change.delta == pytest.approx(-4096 * 509)
    assert first.other_cost == pytest.approx(-3 * 509)
    assert "bytes" in pair.headline
    assert "fewer" in pair.headline
    assert pair.phases[2].differs
    assert pair.phases[2].leads == "rep_bytes"


def test_hooks_of_one_layer_that_share_no_function_are_two_causes(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[1].work["openat", "security", "apparmor_file_open"] = 400
    phases[1].work["write", "security", "seccomp_run"] = 300
    pair = against(tmp_path, phases)
    assert [(one.operations, round(one.change.delta)) for one in pair.phases[1].findings] == [
        (("openat",), 400),
        (("write",), 300),
    ]


def test_other_directions_are_not_merged(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[1].work["openat", "vfs", "path_openat"] += 500
    phases[1].work["close", "vfs", "filp_close"] -= 100
    pair = against(tmp_path, phases)
    assert [(one.operations, round(one.change.delta), round(one.share, 2)) for one in pair.phases[1].findings] == [
        (("openat",), 500, 1.25),
        (("close",), -100, -0.25),
    ]


def test_more_calls_are_a_count_and_new_calls_are_structural(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[1].calls["write"] = 4
    for cell in [cell for cell in phases[1].work if cell[0] == "write"]:
        phases[1].work[cell] *= 2
    phases[0].calls["sched_yield"] = 1
    phases[0].work["sched_yield", "sched", "do_sched_yield"] = 77
    pair = against(tmp_path, phases)
    (writing, *_) = pair.phases[1].findings
    assert writing.operations == ("write",)
    assert writing.count == pytest.approx(writing.change.delta)
    assert writing.unit == pytest.approx(0)
    assert (writing.base_calls, writing.other_calls) == (pytest.approx(2), pytest.approx(4))
    assert "because there are more of them (2 -> 4)" in writing.sentence
    (yielding,) = pair.phases[0].findings
    assert yielding.structural == pytest.approx(77)
    assert "linux has no sched_yield" in yielding.sentence


def test_a_noisy_phase_does_not_push_the_cause_down(tmp_path: Path) -> None:
    """The noise is twenty times the planted difference, in another phase."""
    noise = ("futex", "lock", "futex_wait")

    def with_noise(phases: list[Phase], step: int) -> list[Phase]:
        phases = deepcopy(phases)
        phases.append(Phase("contended", 997, {"futex": 1}, {noise: 9000}, jitter={noise: step}))
        return phases

    planted = synthetic.audit(synthetic.tour())
    pair = against(
        tmp_path, with_noise(planted, 3_000_000), with_noise(synthetic.tour(), 2_000_000), seeds=(0, 1, 2, 4)
    )
    assert pair.findings[0].layer == "security"
    assert pair.phases[3].instructions.verdict == "within seed spread"
    assert not pair.phases[3].differs
    assert pair.phases[3].findings[0].within_spread


def test_a_difference_that_the_seeds_make_too_comes_after_one_they_do_not(tmp_path: Path) -> None:
    def phases(step: int, planted: int) -> list[Phase]:
        made = synthetic.tour()
        made[1].jitter["write", "fs", "generic_perform_write"] = step * 211
        made[1].work["openat", "security", "hook"] = planted
        return made

    pair = against(tmp_path, phases(140, 260), phases(100, 1), seeds=(0, 1, 3))
    assert [one.layer for one in pair.phases[1].findings[:1]] == ["security"]


def test_deferred_work_is_said(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[1].work["deferred:write", "fs", "flush_worker"] = 5000
    pair = against(tmp_path, phases)
    first = pair.phases[1].findings[0]
    assert first.operations == ("write",)
    assert first.deferred == pytest.approx(5000)


@settings(deadline=None, max_examples=12)
@given(st.sampled_from(["getppid", "write", "user", "background", "interrupt"]),
       st.sampled_from(["entry", "vfs", "sched", "user"]), st.integers(min_value=50, max_value=100_000))  # fmt: skip
def test_whatever_is_planted_comes_first(
    tmp_path_factory: pytest.TempPathFactory, operation: str, layer: str, size: int
) -> None:
    phase = 0 if operation == "getppid" else 1
    other = synthetic.tour()
    other[phase].work[operation, layer, "planted"] = size * (20 if phase else 1)
    pair = against(tmp_path_factory.mktemp("planted"), other, seeds=(0,))
    for finding in (pair.findings[0], pair.phases[phase].findings[0]):
        assert (finding.operations, finding.layer, finding.functions[0].name) == ((operation,), layer, "planted")


def test_comparing_with_itself_finds_nothing_and_twice_the_same(tmp_path: Path) -> None:
    pair = against(tmp_path, synthetic.tour())
    assert pair.findings == pair.byte_findings == ()
    assert not pair.differing_phases
    assert pair.instructions.delta == 0
    assert everything(tmp_path) == everything(tmp_path)


def test_what_would_be_shown_as_0_is_no_finding(tmp_path: Path) -> None:
    other = synthetic.tour()
    other[0].jitter[("getppid", "entry", "entry_SYSCALL_64")] = 1
    pair = against(tmp_path, other, seeds=(4,))  # 4 instructions in 1009 ops
    assert pair.instructions.delta == 4
    assert pair.findings == ()
    assert [phase.findings for phase in pair.phases] == [()] * len(pair.phases)
    other[0].jitter[("getppid", "entry", "entry_SYSCALL_64")] = 3
    assert against(tmp_path / "more", other, seeds=(4,)).phases[0].findings  # 12 are 0.01 per op


def test_exchanging_the_sides_exchanges_the_signs(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "linux+x", synthetic.no_clearing(synthetic.audit(synthetic.tour())))
    recordings = [recording.read(place) for place in recording.find(tmp_path)]
    there, back = (compare(recordings, spec).pairs[0] for spec in ("linux", "linux+x"))
    assert [one.change.delta for one in there.findings] == pytest.approx([-one.change.delta for one in back.findings])
    assert [one.share for one in there.findings] == pytest.approx([one.share for one in back.findings])
    assert [one.layer for one in there.findings] == [one.layer for one in back.findings]


# -- what is not compared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"qemu": {"version": "10.0"}}, "QEMU version"),
        ({"qemu": {"cpu": "qemu64"}}, "CPU line"),
        ({"qemu": {"icount": "shift=1"}}, "icount"),
        ({"qemu": {"vcpus": 2}}, "vCPUs"),
        ({"app": {"sha256": "0", "source_sha256": ""}}, "app binary"),
        ({"app": {"source_sha256": "0"}}, "source of the app"),
        ({"app": {"args": ["-x"]}}, "app arguments"),
        ({"probe": {"mode": "block"}}, "probe mode"),
        ({"probe": {"lost_events": 1}}, "lost 1 events"),
        ({"probe": {"trouble": {"resync": 2, "frames": 0}}}, "lost its step in .*: resync"),
    ],
)
def test_recordings_made_otherwise_are_refused(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "linux+x", synthetic.tour(), **changes)
    with pytest.raises(NotComparable, match=why) as failure:
        everything(tmp_path)
    assert failure.value.exit_code == 3
    assert failure.value.hint


def test_other_kernels_under_one_name_are_refused(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour(), [0])
    synthetic.record(tmp_path, "linux", synthetic.tour(), [1], guest={"kernel_sha256": "0"})
    synthetic.record(tmp_path, "linux+x", synthetic.tour(), [0])
    with pytest.raises(NotComparable, match="different kernels"):
        everything(tmp_path)


def test_no_such_guest_and_nothing_to_compare(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    with pytest.raises(NotComparable, match="only"):
        everything(tmp_path)
    with pytest.raises(NotComparable, match="osv") as failure:
        compare([recording.read(place) for place in recording.find(tmp_path)], "osv")
    assert "linux" in failure.value.hint


def test_phases_that_did_not_go_well_are_listed_with_the_reason(tmp_path: Path) -> None:
    other = synthetic.audit(synthetic.tour())
    other[1].status, other[1].reason = "unsupported", "no tmpfs"
    pair = against(tmp_path, other, spec="osv")
    assert pair.not_compared == (("files", "not supported by this guest, osv: no tmpfs"),)
    assert [phase.name for phase in pair.phases] == ["null-call", "fresh-pages"]
    other[0].status = other[2].status = "failed"
    with pytest.raises(NotComparable, match="no phase went well"):
        against(tmp_path / "none", other)


def test_differing_mitigations_are_shown(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "linux+x", synthetic.tour(), guest_reports={"mitigations": "off"})
    assert everything(tmp_path).pairs[0].differing_reports == (("mitigations", "none", "off"),)


def test_few_seeds_are_said(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[0].jitter["getppid", "process", "__x64_sys_getppid"] = 1
    synthetic.record(tmp_path / "few", "linux", phases, range(3))
    synthetic.record(tmp_path / "few", "linux+x", phases, range(3))
    few = everything(tmp_path / "few")
    assert few.few_seeds
    assert "over 3 different runs" in few.notes[0]
    synthetic.record(tmp_path / "many", "linux", phases, range(8))
    synthetic.record(tmp_path / "many", "linux+x", phases, range(8))
    many = everything(tmp_path / "many")
    assert not many.few_seeds
    assert not any("few seeds" in note for note in many.notes)


def test_one_seed_says_nothing_of_others(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "linux+x", synthetic.tour())
    assert "no spread" in everything(tmp_path).notes[0]


def test_seeds_that_change_nothing_are_said_to_be_identical(tmp_path: Path) -> None:
    pair = against(tmp_path / "all", synthetic.audit(synthetic.tour()), seeds=tuple(range(8)))
    assert pair.instructions.said == "identical over 8 seeds"
    both = everything(tmp_path / "all")
    assert not both.few_seeds
    assert "identical over 8 seeds: linux; identical over 8 seeds: linux+x=1" in both.notes[0]
    assert "identical over 8 seeds" in terminal.render(both)
    assert "unknown" not in terminal.render(both)
    single = against(tmp_path / "one", synthetic.audit(synthetic.tour()), seeds=(3,))
    assert single.instructions.said == "spread unknown"
    # A side that varies has a spread, which is then the one of the difference.
    varied = synthetic.tour()
    varied[0].jitter["getppid", "process", "__x64_sys_getppid"] = 1
    assert against(tmp_path / "mixed", varied, seeds=(0, 1, 2)).instructions.said.startswith("spread ")


def test_what_one_guest_does_not_say_is_no_difference(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour(), guest_reports={"vendor": "AuthenticAMD"})
    synthetic.record(tmp_path, "linux+x", synthetic.tour())
    synthetic.record(tmp_path, "linux+y", synthetic.tour(), guest_reports={"vendor": "GenuineIntel"})
    said = {pair.other.spec: [key for key, _, _ in pair.differing_reports] for pair in everything(tmp_path).pairs}
    assert said == {"linux+x": [], "linux+y": ["vendor"]}


def test_the_emulators_share_of_the_whole_is_kept(tmp_path: Path) -> None:
    other = synthetic.tour()
    other[0].work["getppid", "emulation", "hpet_read"] = 1_000_000
    pair = against(tmp_path, other)
    whole = {phase.number: float(phase.ops) for phase in pair.phases}
    kept = sum(phase.instructions.other.mean * whole[phase.number] for phase in pair.phases)
    emulated = 1_000_000 * whole[pair.phases[0].number]
    assert pair.left_out == (0.0, pytest.approx(emulated / (emulated + kept)))
