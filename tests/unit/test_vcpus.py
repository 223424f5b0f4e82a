"""Several vCPUs: what is refused, what is said of results, and that the plugin's threads do not race.

The whole plugin runs in a little machine of several vCPUs (vcpus_driver.c), under ThreadSanitizer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Final

import pandas as pd
import pytest

from analysis.compare import compare
from analysis.verify import verify
from analysis.views import terminal
from probes import recording
from probes.events import EVENT_KINDS, HOWS
from probes.exec import decode
from probes.exec.configure import Hooks
from probes.exec.log import Log
from probes.exec.said import Phase
from profiler.errors import NotComparable, ProbeLoss, UsageError
from profiler.machine import vcpus
from tests import bench, synthetic

ROOT: Final = Path(__file__).parents[2]
PLUGIN: Final = ROOT / "probes" / "exec" / "plugin"
KERNEL: Final = 0xFFFFFFFF81000000
NAMES: Final = ("read", "page-fault", "timer", "mutex")
PHASES: Final = 3

# -- what is refused, and what QEMU is told ----------------------------------------------------------------------------


def test_one_vcpu_has_instructions_as_its_clock_and_several_have_none() -> None:
    assert "-icount" in vcpus.arguments(1)
    assert vcpus.icount(1) in vcpus.arguments(1)
    for several in (2, 8):
        assert vcpus.arguments(several) == ["-accel", "tcg,thread=multi"]  # never -icount: QEMU 7.2 would hang
        assert vcpus.icount(several) == "off"


@pytest.mark.parametrize(
    ("count", "asked", "version", "mode"),
    [
        (1, None, (7, 2, 22), "exact"), (1, "block", (7, 2, 22), "block"), (2, None, (7, 2, 22), "block"),
        (8, "block", (7, 2, 22), "block"), (2, None, (8, 2, 0), "block"), (2, None, (9, 0, 0), "exact"),
        (2, "exact", (10, 0, 13), "exact"), (2, "block", (11, 1, 3), "block"),
    ],
)  # fmt: skip
def test_the_mode_is_what_qemu_can_count(count: int, asked: str | None, version: tuple[int, ...], mode: str) -> None:
    assert vcpus.mode(count, asked, version) == mode


def test_exact_counts_of_several_vcpus_are_refused_with_the_way_out_where_qemu_has_none() -> None:
    with pytest.raises(UsageError, match=r"7\.2\.22 cannot count exactly with 2 vCPUs.*hang") as caught:
        vcpus.mode(2, "exact", (7, 2, 22))
    assert "--mode block" in caught.value.hint


def test_call_stacks_of_several_vcpus_are_refused() -> None:
    with pytest.raises(UsageError, match="one vCPU only"):
        vcpus.mode(2, None, (10, 0, 0), stacks=True)
    assert vcpus.mode(1, None, (10, 0, 0), stacks=True) == "exact"


@pytest.mark.parametrize("count", [0, -1, 9])
def test_a_number_of_vcpus_that_is_none(count: int) -> None:
    with pytest.raises(UsageError, match="vCPUs"):
        vcpus.mode(count, None, (10, 0, 0))


# -- what is said of results -------------------------------------------------------------------------------------------


def of_two(root: Path, spec: str, seeds: int = 1, off: int = 0) -> list[recording.Recording]:
    """Recordings of two vCPUs, of which the counters of the second are ``off``."""
    phases = synthetic.tour()
    places = synthetic.record(root, spec, phases, range(seeds), qemu={"vcpus": 2, "icount": "off"})
    found = []
    for place in places:
        one = recording.read(place)
        table = one.phases
        counters = [
            {"phase": number, "vcpu": vcpu, "instructions": part, "rep_iterations": rep * vcpu, "idle_ns": idle * vcpu}
            for number, whole, rep, idle in zip(
                table["number"], table["instructions"], table["rep_iterations"], table["idle_ns"], strict=True
            )
            for vcpu, part in ((0, whole // 3), (1, whole - whole // 3 + off))
        ]
        one.manifest["probe"] |= {"statistical": True, "vcpus": counters}
        found.append(one)
    return found


def test_verify_says_that_a_recording_is_statistical_and_holds_each_vcpus_counters(tmp_path: Path) -> None:
    (one,) = of_two(tmp_path, "linux")
    checks = verify(one)
    assert [check.name for check in checks if not check.ok] == []
    said = {check.name: check for check in checks}
    assert "statistical: 2 vCPUs" in said["exactness"].detail
    assert said["exactness"].warn
    assert "does not apply" in said["the app's TSC agrees"].detail
    assert len([check for check in checks if check.name == "vCPUs add up"]) == len(one.phases)


def test_verify_finds_vcpus_that_do_not_add_up(tmp_path: Path) -> None:
    (one,) = of_two(tmp_path, "linux", off=1)
    assert {check.name for check in verify(one) if not check.ok} == {"vCPUs add up"}


def test_a_few_calls_at_the_edges_of_a_window_are_a_note_and_many_are_not(tmp_path: Path) -> None:
    (one,) = of_two(tmp_path, "linux")
    declared = one.manifest["app"]["phases"][0]["calls"]
    for more, ok in ((10, True), (200, False)):
        declared["getppid"] = 1009 + more
        check = next(one for one in verify(one) if one.name == "calls as declared")
        assert (check.ok, check.warn) == (ok, True)


def test_explain_says_that_results_are_statistical(tmp_path: Path) -> None:
    both = [*of_two(tmp_path, "linux", 2), *of_two(tmp_path, "linux+a=1", 2)]
    text = terminal.render(compare(both, against="linux"))
    assert "statistical: 2 vCPUs ran at the same time" in text


def test_one_vcpu_and_two_are_not_compared(tmp_path: Path) -> None:
    single = recording.read(synthetic.record(tmp_path, "linux+a=1", synthetic.tour())[0])
    single.manifest["qemu"]["icount"] = "off"
    with pytest.raises(NotComparable, match="number of vCPUs"):
        compare([*of_two(tmp_path, "linux"), single], against="linux")


# -- the plugin, with threads ------------------------------------------------------------------------------------------


def built(folder: Path, plugin: Path = PLUGIN) -> Path:
    """The machine with the plugin inside, for QEMU's plugin API 4: counters of each vCPU's own."""
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=thread", "-DWL_API=4"]
    units = [ROOT / "tests" / "unit" / "vcpus_driver.c", *sorted(plugin.glob("*.c"))]
    target = folder / "machine"
    subprocess.run(["gcc", *flags, f"-I{plugin}", *units, "-o", target, "-ldl", "-lpthread"], check=True, timeout=120)
    return target


def configured(path: Path) -> Hooks:
    """Tells the plugin what code the machine has (vcpus_driver.c, `code`), and gives what the numbers mean."""
    hooks = Hooks()
    functions = [(0x400000, "a"), (0x410000, "a"), (0x500000, "l"), *((KERNEL + 0x1000 * n, "k") for n in range(12))]
    hooks.functions = [
        (f"f{n}", {"a": "app", "l": "libc", "k": "kernel"}[kind], "vfs") for n, (_, kind) in enumerate(functions)
    ]
    places = [
        ("op", 0x500000, NAMES[0], 0), ("syscall", KERNEL, "", 0), ("handler", KERNEL + 0x1000, NAMES[0], 0),
        ("fault", KERNEL + 0x3000, NAMES[1], 0), ("irq", KERNEL + 0x4000, NAMES[2], HOWS.index("timer")),
        ("stop-entry", KERNEL + 0x6000, "", HOWS.index("blocked")), ("switch-out", KERNEL + 0x6001, "", 0),
        ("switch-in", KERNEL + 0x6004, "", 0), ("wake", KERNEL + 0x7001, "", 0), ("new", KERNEL + 0x8001, "", 0),
        ("lock", KERNEL + 0xB000, NAMES[3], -1), ("lock-end", KERNEL + 0xB001, NAMES[3], -1),
    ]  # fmt: skip
    hooks.kinds = [kind for kind, *_ in places]
    lines = [f"f {start:x} 1000 {kind}" for start, kind in functions]
    lines += [f"h {kind} {address:x} {hooks.number(name)} {disp}" for kind, address, name, disp in places]
    head = f"weaklink-exec 2 {len(functions)} {len(places)} {KERNEL:x} {KERNEL + 0xFFFFFF:x}"
    path.write_text("\n".join([head, *lines, ""]))
    return hooks


def play(machine: Path, out: Path, n: int, seed: int, mode: str = "exact", rounds: int = 3000) -> str:
    """Runs the machine; what it says on stderr."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    numbers = [str(number) for number in (n, seed, rounds, PHASES)]
    command = [machine, *numbers, f"config={out.parent / 'conf'}", f"out={out}", f"mode={mode}"]
    first_race = os.environ | {"TSAN_OPTIONS": "halt_on_error=1"}  # what comes after it may be anything
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=first_race)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel lays out memory as this ThreadSanitizer cannot have it")
    return done.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("vcpus"))


@pytest.mark.parametrize(("n", "seed", "mode"), [(2, 1, "exact"), (2, 2, "block"), (3, 3, "exact"), (8, 4, "exact")])
def test_vcpus_do_not_race_and_all_adds_up(machine: Path, tmp_path: Path, n: int, seed: int, mode: str) -> None:
    hooks = configured(tmp_path / "conf")
    assert play(machine, tmp_path / "out", n, seed, mode) == ""
    said = [Phase(number, f"p{number}", "ok", 1, None, "") for number in range(PHASES)]
    tables = decode.decode(tmp_path / "out", hooks, said)  # which holds each vCPU's cells against its counters
    assert set(tables.trouble.values()) == {0}
    assert tables.lost_events == 0
    assert len(tables.vcpus) == n * PHASES
    ledger, phases = tables.ledger.to_pandas(), tables.phases.to_pandas().set_index("number")
    for column in ("instructions", "idle_ns"):
        assert ledger.groupby("phase")[column].sum().to_dict() == phases[column].to_dict()
    assert all(sum(one["instructions"] for one in tables.vcpus if one["vcpu"] == v) > 1000 for v in range(n))
    assert Log.at(tmp_path / "out", [0] * n).ordered, "so they are merged as they are read"
    events = tables.events.read_pandas()
    assert events["time"].is_monotonic_increasing
    one_at_a_time(events)
    nested(events)


def test_where_only_markers_are_hooked_phases_are_timed_and_nothing_else_is_seen(machine: Path, tmp_path: Path) -> None:
    """Mode ``marks``, what the probe's cost is compared with: whatever else it did would be cost."""
    configured(tmp_path / "conf")
    fired = {}
    for mode in ("exact", "marks"):
        assert play(machine, tmp_path / "out", 1, 1, mode) == ""
        fired[mode] = sum(json.loads((tmp_path / "out" / "summary.json").read_text())["fired"])
    assert fired["exact"] > 1000
    assert fired["marks"] == 0
    (events,) = Log.at(tmp_path / "out", [0]).pieces()
    assert [EVENT_KINDS[kind] for kind in events["kind"]] == ["phase-begin", "phase-end"] * PHASES
    assert events["value"].tolist() == [phase for phase in range(PHASES) for _ in range(2)]
    took = bench.times(tmp_path / "out" / "summary.json")
    assert list(took) == list(range(PHASES))
    assert all(ms > 0 for ms in took.values())


def one_at_a_time(events: pd.DataFrame) -> None:
    """Each vCPU goes on with the thread that it switched to, and no thread is on two vCPUs."""
    where: dict[int, int] = {}
    early = 0
    for vcpu, own in events.groupby("vcpu"):
        switches = own[own["kind"] == "switch"]
        following = own["thread"].shift(-1).loc[switches.index].dropna()
        assert (following == switches["value"].loc[following.index]).all(), vcpu
    switches = events[events["kind"] == "switch"]
    for event in switches.itertuples():
        early += where.pop(event.thread, event.vcpu) != event.vcpu
        early += where.setdefault(event.value, event.vcpu) != event.vcpu
    # The machine's kernel lets go of every second thread before it has switched: where two vCPUs then swap theirs, the
    # events of that are in no order that would do for both.
    assert early < 0.02 * len(switches), (early, len(switches))


def nested(events: pd.DataFrame) -> None:
    """What a thread enters it leaves before it enters the same again, on whatever vCPU."""
    for what in ("op", "syscall"):
        pairs = events[events["kind"].isin([f"{what}-enter", f"{what}-exit"])]
        for thread, own in pairs.groupby("thread"):
            kinds = own["kind"].astype(str).tolist()
            assert all(a != b for a, b in pairwise(kinds)), (what, thread)


@pytest.mark.parametrize(
    ("file", "was", "becomes"),
    [
        ("vcpus.h", "if (several())", "if (!m)"),
        ("threads.c", "__ATOMIC_RELEASE", "__ATOMIC_RELAXED"),
        ("threads.h", "__atomic_store_n(&t->waker, operation, __ATOMIC_RELAXED)", "t->waker = operation"),
    ],
)
def test_the_machine_finds_a_race_where_there_is_one(tmp_path: Path, file: str, was: str, becomes: str) -> None:
    """Without locks, without the order of a hand-over, and without atoms where two write."""
    plugin = tmp_path / "plugin"
    shutil.copytree(PLUGIN, plugin)
    text = (plugin / file).read_text()
    assert was in text
    (plugin / file).write_text(text.replace(was, becomes))
    configured(tmp_path / "conf")
    assert "data race" in play(built(tmp_path, plugin), tmp_path / "out", 4, 1)


def test_cells_of_a_vcpu_that_do_not_add_up_are_refused(machine: Path, tmp_path: Path) -> None:
    hooks = configured(tmp_path / "conf")
    play(machine, tmp_path / "out", 2, 1)
    raw = (tmp_path / "out" / "ledger.bin").read_bytes()
    (tmp_path / "out" / "ledger.bin").write_bytes(
        raw[: -len(raw) // decode._CELL.itemsize // 2 * decode._CELL.itemsize]
    )
    with pytest.raises(ProbeLoss, match="do not add up"):
        decode.decode(tmp_path / "out", hooks, [Phase(n, f"p{n}", "ok", 1, None, "") for n in range(PHASES)])
