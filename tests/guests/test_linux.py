"""The real Linux guest: counts that are known and rules that always hold, never figures that a new kernel may shift."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.compare import Comparison, Pair, compare
from analysis.verify import CLOCK_TOLERANCE
from images import Program, apps
from probes import recording
from probes.recording import TABLES, Recording
from profiler.cli.main import main
from tests.guests.common import events_of, failed, record
from tests.guests.test_outcomes import pipe_trips
from tests.traces_agree import disagreements

pytestmark = pytest.mark.timeout(900)  # the first run fetches a kernel
AUDIT, NO_CLEARING = "linux+audit=1", "linux+init_on_alloc=0"


def run(out: Path, guests: str, seeds: str, *more: str) -> int:
    return main(["run", "tour", "--guests", guests, "--seeds", seeds, "--out", str(out), *more])


def at(out: Path, guest: str, seed: int = 1) -> Recording:
    return recording.read(out / "tour" / guest / f"seed-{seed}")


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three guests, two seeds each: the six boots that most tests look at."""
    out = tmp_path_factory.mktemp("tour")
    assert run(out, f"linux,{AUDIT},{NO_CLEARING}", "2") == 0
    return out


@pytest.fixture(scope="session")
def linux(tour: Path) -> Recording:
    return at(tour, "linux")


@pytest.fixture(scope="session")
def compared(tour: Path) -> Comparison:
    return compare([recording.read(place) for place in recording.find(tour)], "linux")


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A kernel from another year, if it can be had."""
    return record("tour", "linux-6.12", tmp_path_factory.mktemp("newer"))


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guest", ["linux", AUDIT, NO_CLEARING])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_adds_up(tour: Path, guest: str, seed: int) -> None:
    seen = at(tour, guest, seed)
    assert failed(seen) == []
    assert set(seen.phases["status"]) == {"ok"}
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]
    assert [entry for entry in seen.manifest["probe"]["not_hooked"] if " " not in entry["what"]] == []


def test_the_app_from_inside_sees_the_same_time(linux: Recording) -> None:
    phases = linux.phases
    off = phases["tsc"] - phases["instructions"] - phases["rep_iterations"] - phases["idle_ns"]
    assert off.abs().max() <= CLOCK_TOLERANCE, off.tolist()


def test_operations_are_entered_as_often_as_the_app_says(linux: Recording) -> None:
    events = events_of(linux)
    entered = events[(events["kind"] == "op-enter") & (events["phase"] >= 0)].groupby(["phase", "name"]).size()
    for phase in linux.manifest["app"]["phases"]:
        here = entered.loc[phase["number"]].to_dict() if phase["number"] in entered.index.levels[0] else {}
        fixed = {name: count for name, count in here.items() if name not in phase["varies"]}
        assert fixed == phase["calls"], phase["name"]


def test_a_null_call_is_one_system_call(linux: Recording) -> None:
    events = events_of(linux)
    ops = next(phase["ops"] for phase in linux.manifest["app"]["phases"] if phase["name"] == "null-call")
    here = events[events["phase"] == 1]
    counts = here["kind"].value_counts()
    assert [counts[kind] for kind in ("op-enter", "op-exit", "syscall-enter", "syscall-exit")] == [ops] * 4
    assert set(here.loc[here["kind"] == "syscall-enter", "name"]) == {"getppid"}


def test_every_fresh_page_is_a_fault(linux: Recording) -> None:
    events = events_of(linux)
    phase = next(phase for phase in linux.manifest["app"]["phases"] if phase["name"] == "page-touch")
    faults = events[(events["phase"] == phase["number"]) & (events["kind"] == "fault-enter")]
    assert len(faults) >= phase["ops"]
    assert set(faults["name"]) == {"page-fault"}


# -- events ------------------------------------------------------------------------------------------------------------

PAIRS = [("op-enter", "op-exit"), ("syscall-enter", "syscall-exit"), ("fault-enter", "fault-exit"),
         ("irq-enter", "irq-exit"), ("idle-begin", "idle-end"), ("phase-begin", "phase-end")]  # fmt: skip


@pytest.mark.parametrize(("enter", "leave"), PAIRS)
def test_what_begins_ends_before_it_begins_again(linux: Recording, enter: str, leave: str) -> None:
    events = events_of(linux)
    these = events[events["kind"].isin([enter, leave])]
    assert len(these) > 0
    threads = these.groupby("thread")
    before_kind, before_name = threads["kind"].shift(), threads["name"].shift()
    opening = these["kind"] == enter
    assert (before_kind[opening] != enter).all(), "entered twice"
    assert (before_kind[~opening] == enter).all(), "left without having been entered"
    if enter != "phase-begin":
        assert (before_name[~opening] == these["name"][~opening]).all(), "left under another name"
    last = threads.tail(1)
    assert set(last.loc[last["kind"] == enter, "name"]) <= {"exit"}, "only who ends does not come back"


def test_system_calls_lie_within_operations(linux: Recording) -> None:
    events = events_of(linux)
    step = events["kind"].map({"syscall-enter": 1, "syscall-exit": -1}).fillna(0)
    open_calls = step.groupby(events["thread"]).cumsum()
    at_ops = events["kind"].isin(["op-enter", "op-exit"])
    assert (open_calls[at_ops] == 0).all(), "an operation began or ended within a system call"
    step = events["kind"].map({"fault-enter": 1, "fault-exit": -1, "irq-enter": 1, "irq-exit": -1}).fillna(0)
    open_frames = step.groupby(events["thread"]).cumsum()
    at_calls = events["kind"].isin(["op-enter", "op-exit", "syscall-enter", "syscall-exit"])
    assert (open_frames[at_calls] == 0).all(), "a system call began or ended within a fault or an interrupt"


def test_switches_form_a_chain(linux: Recording) -> None:
    events = events_of(linux)
    thread, value = events["thread"].to_numpy(), events["value"].to_numpy()
    switch = (events["kind"] == "switch").to_numpy()
    assert switch.sum() > 1000
    assert thread[0] == 0, "thread 0 armed the probe"
    assert np.array_equal(np.where(switch, value, thread)[:-1], thread[1:])
    assert not (switch & (thread == value)).any(), "no thread switches to itself"


def test_time_never_goes_back_and_idle_is_what_events_say(linux: Recording) -> None:
    events = events_of(linux)
    assert (events["time"].diff().dropna() >= 0).all()
    idle = events[(events["kind"] == "idle-end") & (events["phase"] >= 0)].groupby("phase")["value"].sum()
    known = linux.phases.set_index("number")["idle_ns"]
    assert idle.reindex(known.index, fill_value=0).to_dict() == known.to_dict()


def test_each_window_is_as_long_as_its_ledger(linux: Recording) -> None:
    events = events_of(linux)
    ends = events[events["kind"].isin(["phase-begin", "phase-end"])].set_index("value").groupby(["value", "kind"])
    times = ends["time"].first().unstack()
    phases = linux.phases.set_index("number")
    raw = phases["instructions"] + phases["rep_iterations"] + phases["idle_ns"]
    assert (times["phase-end"] - times["phase-begin"]).to_dict() == raw.to_dict()


def test_who_wakes_and_who_is_woken(linux: Recording) -> None:
    events = events_of(linux)
    wakes = events[events["kind"] == "wake"]
    assert len(wakes) > 0
    assert wakes["value"].isin(linux.frame("threads")["thread"]).all()
    # A thread that runs was woken, or was there before the probe was armed; new threads are woken first.
    created = next(phase for phase in linux.manifest["app"]["phases"] if phase["name"] == "thread-create")
    here = events[events["phase"] == created["number"]]
    new = set(here["thread"]) - set(events.loc[events.index < here.index[0], "thread"])
    assert len(new) >= created["ops"]
    assert new <= set(here.loc[here["kind"] == "wake", "value"])


def test_a_byte_through_a_pipe_is_a_stop_and_a_wake_each_way(linux: Recording) -> None:
    pipe_trips(linux)


def test_roles_are_all_there(linux: Recording) -> None:
    work = linux.ledger.groupby("role", observed=True)["instructions"].sum()
    assert set(work.index) >= {"main", "app", "kernel"}
    main_only = linux.ledger[linux.ledger["phase"] == 1].groupby("role", observed=True)["instructions"].sum()
    assert main_only["main"] > 0.99 * main_only.sum()
    deferred = [name for name in linux.ledger["operation"].cat.categories if name.startswith("deferred:")]
    assert deferred, "some kernel thread worked for an operation"


# -- seeds -------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_however_slow_the_host_is(
    root: Path, tour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a vCPU halts, QEMU's main thread may move the clock before it has the last instructions: see clock.c.
    library, said = tmp_path / "slow_host.so", tmp_path / "slowed"
    source = root / "tests" / "guests" / "slow_host.c"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wno-nonnull", source, "-o", library, "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SLOWED", str(said))
    assert run(tmp_path, "linux", "2-2") == 0
    first, second = at(tour, "linux", 2), at(tmp_path, "linux", 2)
    for name in TABLES:
        assert first.table(name).equals(second.table(name)), name
    if not said.exists():
        pytest.skip("this QEMU does not leave a halted vCPU's code in the way that slow_host.c knows: it was not slow")
    assert int(said.read_text()) > 20


def test_different_seeds_differ(tour: Path) -> None:
    first, second = at(tour, "linux", 1), at(tour, "linux", 2)
    # Of the others, locks are at the same addresses from every seed, and there are no stacks without being asked for.
    for name in ("ledger", "phases", "calls", "events", "threads", "costly"):
        assert not first.table(name).equals(second.table(name)), name


# -- modes and subsets -------------------------------------------------------------------------------------------------


def test_counting_blocks_is_nearly_exact(tmp_path: Path, linux: Recording) -> None:
    assert run(tmp_path, "linux", "1", "--mode", "block") == 0
    seen = at(tmp_path, "linux")
    assert failed(seen) == []
    assert seen.manifest["probe"]["capabilities"]["exact counts"]["available"] is False
    blocks, exact = (one.phases.set_index("number")["instructions"] for one in (seen, linux))
    assert (abs(blocks / exact - 1)).max() < 0.005
    counts = [one.frame("events", ["kind"])["kind"].value_counts() for one in (seen, linux)]
    for kind in ("op-enter", "op-exit", "syscall-enter", "phase-begin"):
        assert counts[0][kind] == counts[1][kind]


def test_a_subset_of_the_phases_in_a_directory_of_any_name(tmp_path: Path) -> None:
    out = tmp_path / "weïrd, out=1"  # QEMU splits its options at commas
    assert run(out, "linux", "1", "--phases", "null-call,fork-wait") == 0
    seen = at(out, "linux")
    assert seen.phases["name"].tolist() == ["null-call", "fork-wait"]
    assert failed(seen) == []
    assert main(["verify", str(out)]) == 0


SLEEPER = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "marker.h"
int main(void)
{
    struct timespec pause_for = {0, 5000000};
    printf("weaklink: ready\\n");
    fflush(stdout);
    weaklink_arm();
    uint64_t began = weaklink_phase_begin(1);
    nanosleep(&pause_for, NULL);
    uint64_t ended = weaklink_phase_end();
    weaklink_disarm();
    printf("weaklink: phase 1 null-call ok 1 %llu\\nweaklink: done\\n", (unsigned long long)(ended - began));
    fflush(stdout);
    for (;;)
        pause();
}
"""


def run_own(root: Path, out: Path, source: Path, own: frozenset[str], guest: str = "linux", *more: str) -> Recording:
    """What an app says and does that comes with the tests."""
    elf = out / source.stem
    command = ["gcc", "-O1", "-static", "-pthread", f"-I{root / 'probes'}", source, "-o", elf]
    subprocess.run(command, check=True, timeout=60)
    digest = hashlib.sha256(elf.read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apps, "build", lambda *asked, **more: Program(elf, digest, "linux-static", digest, own))
        assert run(out, guest, "1", "--phases", "null-call", *more) == 0
    return at(out, guest)


def test_time_asleep_is_counted_exactly(root: Path, tmp_path: Path) -> None:
    # The tour never lets its machine go idle within a window, so another app has to.
    (tmp_path / "sleeper.c").write_text(SLEEPER)
    seen = run_own(root, tmp_path, tmp_path / "sleeper.c", frozenset({"main"}))
    (phase,) = seen.phases.to_dict("records")
    assert 5_000_000 <= phase["idle_ns"] < 20_000_000
    raw = phase["instructions"] + phase["rep_iterations"] + phase["idle_ns"]
    assert abs(phase["tsc"] - raw) <= CLOCK_TOLERANCE
    idle = seen.ledger[seen.ledger["idle_ns"] > 0]
    assert idle["idle_ns"].sum() == phase["idle_ns"]
    assert set(zip(idle["function"], idle["layer"], strict=True)) == {("[idle]", "idle")}
    events = events_of(seen)
    naps = events[events["kind"].isin(["idle-begin", "idle-end"])]
    assert naps["kind"].iloc[:2].tolist() == ["idle-begin", "idle-end"]
    assert set(seen.ledger["role"]) >= {"main", "idle"}
    assert disagreements(seen) == []


PRIVILEGED, NO_SUCH_CALL, TEXT_PATCHED, SIGNALLED, CHILDREN, NAPS = range(1, 7)
ODD_PHASES = 12
ODD_FUNCTIONS = {"main", "call", "jump", "on_jump", "on_count", "on_map", "on_skip", "privileged", "no_such_call",
                 "text_patched", "signalled", "children", "naps", "fault_begins", "fault_ends", "crowd",
                 "one_of_a_crowd"}  # fmt: skip


@pytest.fixture(
    scope="session", params=[("linux", "exact"), ("linux", "block"), ("linux+preempt=full", "exact")], ids="-".join
)
def odd(root: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recording:
    """Signals, privileged instructions, calls that do not exist, a kernel that patches itself, children, naps."""
    out = tmp_path_factory.mktemp("odd")
    source = root / "tests" / "guests" / "odd.c"
    guest, mode = request.param
    return run_own(root, out, source, frozenset(ODD_FUNCTIONS), guest, "--mode", mode)


def test_odd_things_add_up(odd: Recording) -> None:
    assert not any(odd.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]
    phases = odd.phases.set_index("number")
    assert phases.index.tolist() == list(range(1, ODD_PHASES + 1))
    counts = ["instructions", "rep_iterations", "idle_ns"]
    assert odd.ledger.groupby("phase")[counts].sum().to_dict() == phases[counts].to_dict()
    if odd.manifest["probe"]["mode"] == "exact":
        assert (phases["tsc"] - phases[counts].sum(axis=1)).abs().max() <= CLOCK_TOLERANCE
    idle = odd.ledger[odd.ledger["idle_ns"] > 0]
    assert set(idle["phase"]) == {NAPS}
    assert not (odd.ledger["role"] == "idle")[odd.ledger["phase"] < SIGNALLED].any()
    assert disagreements(odd) == []


def test_odd_things_are_in_order(odd: Recording) -> None:
    test_system_calls_lie_within_operations(odd)
    test_time_never_goes_back_and_idle_is_what_events_say(odd)
    events = events_of(odd)
    for enter, leave in PAIRS:  # nested, as the kernel faults on the user's stack when it delivers a fault's signal
        these = events[events["kind"].isin([enter, leave])]
        opening = these["kind"] == enter
        depth = opening.map({True: 1, False: -1}).groupby(these["thread"]).cumsum() + ~opening
        assert depth.between(1, 2).all(), enter
        before = these.groupby([these["thread"], depth])[["kind", "name"]].shift()
        assert (before["kind"][opening] != enter).all(), enter
        assert (before["kind"][~opening] == enter).all(), leave
        assert enter == "phase-begin" or (before["name"] == these["name"])[~opening].all(), leave
    unknown = events[events["phase"].eq(NO_SUCH_CALL) & events["kind"].str.startswith("syscall")]
    assert set(unknown["name"]) == {"syscall"}
    assert set(unknown.loc[unknown["kind"] == "syscall-exit", "how"]) == {"failed"}
    work = odd.ledger.groupby(["phase", "operation"], observed=True)["instructions"].sum()
    assert work[NO_SUCH_CALL, "syscall"] > 0
    assert "[pending]" not in work.index.get_level_values("operation")


def test_a_kernel_that_patches_itself_does_not_leave_its_call(odd: Recording) -> None:
    # It serializes the processor with an IRET to itself.
    here = odd.ledger[(odd.ledger["phase"] == TEXT_PATCHED) & (odd.ledger["space"] == "kernel")]
    assert (here["function"] == "text_poke_bp_batch").any(), "the kernel did not patch itself"
    assert set(here["operation"]) <= {"socket", "setsockopt", "close", "syscall", "interrupt"}


# -- what makes the difference -----------------------------------------------------------------------------------------


def pair(compared: Comparison, guest: str) -> Pair:
    return next(one for one in compared.pairs if one.other.spec == guest)


def functions(found: Sequence[Any]) -> list[str]:
    return [function.name for function in found[0].functions]


def test_audit_is_found_first(compared: Comparison) -> None:
    audit = pair(compared, AUDIT)
    first = audit.in_order[0]
    assert first.layer == "security"
    assert first.cost == "instructions"
    assert not first.within_spread
    assert "__audit_syscall_entry" in functions(audit.in_order)
    null_call = next(phase for phase in audit.phases if phase.name == "null-call")
    assert null_call.differs
    assert null_call.instructions.delta > 0
    assert {finding.layer for finding in null_call.findings} <= {"security", "entry", "time"}
    assert "getppid" in null_call.findings[0].operations


def test_clearing_of_pages_is_found_first(compared: Comparison) -> None:
    cleared = pair(compared, NO_CLEARING)
    assert cleared.string_bytes.delta < 0
    first = cleared.byte_findings[0]
    assert first.layer == "mm-alloc"
    assert first.functions[0].name.startswith("clear_page")
    assert first.change.delta < 0
    assert cleared.leads == "rep_bytes"
    null_call = next(phase for phase in cleared.phases if phase.name == "null-call")
    assert not null_call.differs


# -- another kernel ----------------------------------------------------------------------------------------------------


def test_a_newer_kernel_adds_up_as_well(newer: Recording) -> None:
    assert newer.manifest["guest"]["kernel_version"].startswith("6.12.")
    assert failed(newer) == []
    assert set(newer.phases["status"]) == {"ok"}


def test_nothing_is_left_unhooked_there(newer: Recording) -> None:
    assert newer.manifest["probe"]["not_hooked"] == []
    fired = newer.manifest["probe"]["hooks_fired"]  # type: ignore[typeddict-item]
    assert fired["switch-out"] == fired["switch-in"] > 0
    assert min(fired[kind] for kind in ("op", "syscall", "handler", "fault", "timer", "wake", "new")) > 0


def test_its_events_are_the_same_kind_of_thing(newer: Recording) -> None:
    test_switches_form_a_chain(newer)
    test_system_calls_lie_within_operations(newer)
    test_operations_are_entered_as_often_as_the_app_says(newer)
    test_each_window_is_as_long_as_its_ledger(newer)
    pipe_trips(newer)
