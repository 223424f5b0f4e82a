"""The real FreeBSD guest: counts that are known, rules that always hold, what an option changes, and its panics.

Its kernel is the user's: without one, nothing here runs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import images
from analysis.verify import CLOCK_TOLERANCE
from images import GuestSpec, Program, apps, store
from images.apps import freebsd
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from tests.guests.common import ADDING, events_of, failed, ready
from tests.guests.test_outcomes import pipe_trips

HERE = Path(__file__).parent


GUEST = ready("freebsd")
if not GUEST:  # one line for all of them
    pytest.skip(f"no FreeBSD kernel: {ADDING['freebsd']}", allow_module_level=True)
pytestmark = pytest.mark.timeout(300)
ISOLATED = f"{GUEST}+vm.pmap.pti=1"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tour, without and with page-table isolation: other ways into the kernel and out of it."""
    out = tmp_path_factory.mktemp("tour")
    assert main(["run", "tour", "--guests", f"{GUEST},{ISOLATED}", "--seeds", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture(params=[GUEST, ISOLATED], ids=["plain", "isolated"])
def seen(out: Path, request: pytest.FixtureRequest) -> Recording:
    return recording.read(out / "tour" / GuestSpec.parse(request.param).directory_name() / "seed-1")


def test_it_adds_up(seen: Recording) -> None:
    assert failed(seen) == []
    status = seen.phases.set_index("name")["status"].astype(str)
    assert status["epoll-100"] == "unsupported"
    assert set(status.drop("epoll-100")) == {"ok"}
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]
    assert seen.manifest["probe"]["not_hooked"] == []  # type: ignore[typeddict-item]


def test_the_app_from_inside_sees_the_same_time(seen: Recording) -> None:
    phases = seen.phases[seen.phases["status"] == "ok"]
    off = phases["tsc"] - phases["instructions"] - phases["rep_iterations"] - phases["idle_ns"]
    assert off.abs().max() <= CLOCK_TOLERANCE, off.tolist()


def test_operations_are_entered_as_often_as_the_app_says(seen: Recording) -> None:
    events = events_of(seen)
    counts = events[(events["kind"] == "op-enter") & (events["phase"] >= 0)].groupby(["phase", "name"]).size()
    for phase in seen.manifest["app"]["phases"]:
        if phase["name"] == "epoll-100":
            continue
        number = phase["number"]
        entered = counts.loc[number].to_dict() if number in counts.index.levels[0] else {}
        fixed = {name: count for name, count in entered.items() if name not in phase["varies"]}
        assert fixed == phase["calls"], phase["name"]


def test_a_null_call_is_one_system_call_and_nothing_else(seen: Recording) -> None:
    events = events_of(seen)
    ops = next(phase["ops"] for phase in seen.manifest["app"]["phases"] if phase["name"] == "null-call")
    calls = events[(events["phase"] == 1) & events["kind"].str.startswith("syscall-")]
    assert calls.groupby("kind").size().to_dict() == {"syscall-enter": ops, "syscall-exit": ops}
    assert set(calls["name"]) == {"getppid"}


def test_every_fresh_page_is_one_fault(seen: Recording) -> None:
    events = events_of(seen)
    pages = next(phase for phase in seen.manifest["app"]["phases"] if phase["name"] == "page-touch")
    faults = events[(events["phase"] == pages["number"]) & (events["kind"] == "fault-enter")]
    assert len(faults) == pages["ops"]


def test_threads_are_followed_through_their_ends(seen: Recording) -> None:
    """A thread that ends is switched away from by other code than one that waits."""
    events = events_of(seen)
    phase = next(phase for phase in seen.manifest["app"]["phases"] if phase["name"] == "thread-create")
    inside = events[events["phase"] == phase["number"]]
    assert (inside["kind"] == "switch").sum() >= 2 * phase["ops"]
    calls = inside[inside["kind"] == "syscall-enter"]["name"].value_counts()
    assert (calls["thr_new"], calls["thr_exit"]) == (phase["ops"], phase["ops"])


def test_a_byte_through_a_pipe_is_a_stop_and_a_wake_each_way(seen: Recording) -> None:
    pipe_trips(seen)


def test_there_is_no_device_to_wait_for(seen: Recording) -> None:
    assert not seen.ledger["function"].astype(str).eq("[device-wait]").any()
    events = events_of(seen)
    assert set(events[events["kind"] == "irq-enter"]["name"]) <= {"timerint"}


def test_the_same_seed_is_the_same_run(out: Path, tmp_path: Path) -> None:
    assert main(["run", "tour", "--guests", GUEST, "--seeds", "1", "--out", str(tmp_path)]) == 0
    for name in ("ledger.parquet", "events.parquet"):
        first, second = (folder / "tour" / GUEST / "seed-1" / name for folder in (out, tmp_path))
        assert first.read_bytes() == second.read_bytes(), name


def test_the_recording_says_what_was_run_and_how(seen: Recording) -> None:
    reports = seen.manifest["guest_reports"]
    isolated = "pti=1" in seen.manifest["guest"]["spec"]
    assert (reports["clocksource"], reports["pti"], reports["vendor"]) == ("tsc", "on" if isolated else "off",
                                                                           "AuthenticAMD")  # fmt: skip
    assert seen.manifest["app"]["target"] == "freebsd-static"  # type: ignore[typeddict-item]
    assert "unknown_options" not in reports


def test_the_kernel_knows_its_clock_to_the_hertz(out: Path) -> None:
    console = (out / "tour" / GUEST / "seed-1/console.log").read_text(errors="replace")
    assert 'Timecounter "TSC" frequency 1000000000 Hz' in console


# -- how it fails ------------------------------------------------------------------------------------------------------


def crash(folder: Path, how: str) -> Program:
    system = images.sysroot(images.check(GuestSpec(GUEST)), progress=print)
    assert system is not None
    flags = ["gcc", "-O1", "-w", *freebsd.flags(system)]
    subprocess.run([*flags, f'-DCRASH="{how}"', "-c", HERE / "crash_freebsd.c", "-o", folder / "crash.o"], check=True)
    target = folder / "crash"
    subprocess.run([*flags, *freebsd.link(system, [str(folder / "crash.o")]), "-o", target], check=True, timeout=60)
    digest = store.sha256_file(target)
    return Program(target, digest, "", digest)


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("panic", 15, "panic: kdb_sysctl_panic"),
        ("fault", 15, "Fatal trap 12"),
        ("stack", 15, "Fatal double fault"),
        ("null", 23, "the program was killed by signal 11 (SIGSEGV)"),
        ("exit", 23, "the program ended with status 3"),
    ],
)
def test_each_way_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str, code: int, words: str
) -> None:
    program = crash(tmp_path, how)
    monkeypatch.setattr(apps, "build", lambda *asked, **more: program)
    assert main(["run", "tour", "--guests", GUEST, "--seeds", "1", "--out", str(tmp_path / "out")]) == code
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_an_option_that_the_kernel_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = f"{GUEST}+vm.pmap.ptti=1"
    assert main(["run", "tour", "--guests", spec, "--seeds", "1", "--out", str(tmp_path)]) == 2
    assert "does not know the option vm.pmap.ptti=1" in capsys.readouterr().err
