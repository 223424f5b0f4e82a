"""The real OSv guest in its three runtimes: counts that are known, rules that always hold, and its panics.

Its kernel is the user's: without one, nothing here runs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import images
from analysis.verify import CLOCK_TOLERANCE
from images import GuestSpec, Program, apps, libraries, store
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from tests.guests.common import ADDING, events_of, failed, ready
from tests.guests.test_outcomes import pipe_trips

RUNTIMES = ("libc", "static", "glibc")
HERE = Path(__file__).parent
MARKER = HERE.parent.parent / "probes"


GUEST = ready("osv")
if not GUEST:  # one line for all of them
    pytest.skip(f"no OSv kernel: {ADDING['osv']}", allow_module_level=True)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tour in each runtime; the first is the default, so it is asked for without its name."""
    out = tmp_path_factory.mktemp("tour")
    guests = ",".join([GUEST, *(f"{GUEST}:{runtime}" for runtime in RUNTIMES[1:])])
    assert main(["run", "tour", "--guests", guests, "--seeds", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(out: Path, runtime: str) -> Recording:
    return recording.read(out / "tour" / GuestSpec(GUEST, runtime).directory_name() / "seed-1")


def test_it_adds_up(seen: Recording) -> None:
    assert failed(seen) == []
    status = seen.phases.set_index("name")["status"].astype(str)
    assert status["fork-wait"] == "unsupported"
    assert set(status.drop("fork-wait")) == {"ok"}
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]


def test_the_app_from_inside_sees_the_same_time(seen: Recording) -> None:
    phases = seen.phases[seen.phases["status"] == "ok"]
    off = phases["tsc"] - phases["instructions"] - phases["rep_iterations"] - phases["idle_ns"]
    assert off.abs().max() <= CLOCK_TOLERANCE, off.tolist()


def entered(seen: Recording) -> dict[int, dict[str, int]]:
    """How often each operation was entered in each phase, all threads."""
    events = events_of(seen)
    counts = events[(events["kind"] == "op-enter") & (events["phase"] >= 0)].groupby(["phase", "name"]).size()
    return {
        phase["number"]: counts.loc[phase["number"]].to_dict() if phase["number"] in counts.index.levels[0] else {}
        for phase in seen.manifest["app"]["phases"]
    }


def test_operations_are_entered_as_often_as_the_app_says(seen: Recording) -> None:
    counts = entered(seen)
    for phase in seen.manifest["app"]["phases"]:
        if phase["name"] != "fork-wait":
            fixed = {name: count for name, count in counts[phase["number"]].items() if name not in phase["varies"]}
            assert fixed == phase["calls"], phase["name"]


def test_only_the_kernels_own_libc_needs_no_system_calls(seen: Recording, runtime: str) -> None:
    events = events_of(seen)
    ops = next(phase["ops"] for phase in seen.manifest["app"]["phases"] if phase["name"] == "null-call")
    calls = events[(events["phase"] == 1) & events["kind"].str.startswith("syscall-")]
    assert calls.groupby("kind").size().to_dict() == (
        {} if runtime == "libc" else {"syscall-enter": ops, "syscall-exit": ops}
    )
    assert set(calls["name"]) <= {"getppid"}


def test_a_byte_through_a_pipe_is_a_stop_and_a_wake_each_way(seen: Recording) -> None:
    pipe_trips(seen)


def test_nothing_waits_for_the_disk_in_a_window(seen: Recording) -> None:
    assert not seen.ledger["layer"].astype(str).eq("device-wait").any()


def test_a_repeat_is_nearly_the_same(out: Path, tmp_path: Path) -> None:
    """The same seed gives the same instructions but for what the disk's answers shift: 0.05 %, once 0.4 %, was seen."""
    spec = GuestSpec(GUEST, "static")
    assert main(["run", "tour", "--guests", str(spec), "--seeds", "1", "--out", str(tmp_path)]) == 0
    place = Path("tour") / spec.directory_name() / "seed-1"
    spent = [recording.read(where / place).phases.set_index("name")["instructions"] for where in (out, tmp_path)]
    assert "--settle" in recording.read(tmp_path / place).manifest["guest"]["append"]
    assert ((spent[0] - spent[1]).abs() / spent[0]).dropna().max() < 0.02


def test_the_recording_says_what_was_run_and_how(seen: Recording, runtime: str) -> None:
    guest = seen.manifest["guest"]
    declared = images.check(GuestSpec(GUEST)).runtimes[runtime]
    assert (guest["spec"], guest["runtime"]) == (f"{GUEST}:{runtime}", runtime)
    assert (guest["fair"], guest["libc_in_kernel"]) == (declared.fair, runtime == "libc")
    assert seen.manifest["app"]["target"] == declared.app
    reports = seen.manifest["guest_reports"]
    assert (reports["clocksource"], reports["pti"], reports["vendor"]) == ("hpet", "off", "AuthenticAMD")


def test_the_same_sources_and_a_default_that_is_named(out: Path) -> None:
    manifests = [json.loads(path.read_text()) for path in sorted(out.rglob("manifest.json"))]
    assert len({manifest["app"]["source_sha256"] for manifest in manifests}) == 1
    assert len({manifest["app"]["sha256"] for manifest in manifests}) == 2, "one for static, one for the other two"
    assert {manifest["guest"]["spec"] for manifest in manifests} == {f"{GUEST}:{runtime}" for runtime in RUNTIMES}


def test_the_libraries_lie_where_the_loader_said(out: Path) -> None:
    """Were a base wrong, the functions there would not be libc's, and no operation would be entered."""
    seen = recording.read(out / "tour" / GuestSpec(GUEST, "glibc").directory_name() / "seed-1")
    of_libc = seen.ledger[seen.ledger["layer"].astype(str) == "libc"]
    assert {"getppid", "pipe", "malloc"} & set(of_libc["function"].astype(str))
    assert pd.Series({name: sum(counts.values()) for name, counts in entered(seen).items()}).sum() > 10_000


def linked(folder: Path) -> Program:
    """A program that needs a library that needs another; each spins in a function of its own."""
    names = ("app", "libfirst.so.1", "libsecond.so.1")
    for part in (2, 1, 0):  # what is needed comes first
        kind = ["-shared", "-fPIC"] if part else ["-fPIE", "-pie", "-Wl,-z,now"]
        needs = [f"-L{folder}", "-Wl,--allow-shlib-undefined", *(f"-l:{name}" for name in names[part + 1 : part + 2])]
        subprocess.run(
            ["gcc", "-O1", "-fno-plt", *kind, f"-DPART={part}", f"-DSPIN=spin_{part}", f"-I{MARKER}",
             HERE / "linked.c", "-o", folder / names[part], *needs],
            check=True, timeout=60,
        )  # fmt: skip
    interpreter, system = libraries.libraries(apps.build(apps.load("tour"), "linux-pie", store.cache_dir()).elf)
    digest = store.sha256_file(folder / "app")
    own = {f"/usr/lib/{name}": folder / name for name in names[1:]}
    return Program(folder / "app", digest, "linux-pie", digest, None, {**system, **own}, interpreter)


@pytest.mark.parametrize("runtime", ["libc", "glibc"])
def test_libraries_of_the_apps_own_are_seen_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    program = linked(tmp_path)
    monkeypatch.setattr(apps, "build", lambda *asked, **more: program)
    spec = GuestSpec(GUEST, runtime)
    command = [
        "run",
        "tour",
        "--guests",
        str(spec),
        "--seeds",
        "1",
        "--phases",
        "null-call",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(command) == 0
    ledger = recording.read(tmp_path / "o/tour" / spec.directory_name() / "seed-1").ledger
    own = ledger[ledger["function"].astype(str).str.startswith("spin_")]
    assert set(own["layer"].astype(str)) == {"user"}
    spent = own.groupby(own["function"].astype(str))["instructions"].sum()
    assert spent["spin_0"] > 1000
    for part in (1, 2):  # the same loop, twice and three times as often; entering and leaving it is a few instructions
        assert spent[f"spin_{part}"] == pytest.approx((part + 1) * spent["spin_0"], abs=40), spent.to_dict()


# -- how it fails ------------------------------------------------------------------------------------------------------


def crash(folder: Path, how: str, static: bool) -> Program:
    flags = ["-static"] if static else ["-fPIE", "-pie"]
    target = folder / "crash"
    subprocess.run(
        ["gcc", "-O1", "-w", *flags, f'-DCRASH="{how}"', HERE / "crash.c", "-o", target], check=True, timeout=60
    )
    digest = store.sha256_file(target)
    return Program(target, digest, "", digest)


@pytest.mark.parametrize(
    ("runtime", "how", "code", "words"),
    [
        ("static", "null", 15, "Aborted"),
        ("static", "noncanonical", 15, "general protection fault"),
        ("libc", "undefined", 15, "DUMMY_HANDLER for invalid_opcode"),
        ("libc", "libc", 15, "page fault outside application"),
        ("libc", "null-call", 15, "trying to execute null pointer"),
        ("static", "stack", 15, "trying to execute or access missing symbol"),
        ("static", "no-interrupts", 15, "Assertion failed: "),
        ("libc", "abort", 15, "Aborted"),
        ("static", "abort", 25, "before the app was ready"),
        ("static", "exit", 25, "before the app was ready"),
    ],
)
def test_each_way_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runtime: str, how: str,
    code: int, words: str,
) -> None:  # fmt: skip
    program = crash(tmp_path, how, runtime == "static")
    monkeypatch.setattr(apps, "build", lambda *asked, **more: program)
    spec = f"{GUEST}:{runtime}"
    assert main(["run", "tour", "--guests", spec, "--seeds", "1", "--out", str(tmp_path / "out")]) == code
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_an_idle_machine_is_ended_by_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = crash(tmp_path, "pause", static=True)
    monkeypatch.setattr(apps, "build", lambda *asked, **more: program)
    spec = f"{GUEST}:static"
    command = ["run", "tour", "--guests", spec, "--seeds", "1", "--limit", "4", "--out", str(tmp_path / "out")]
    assert main(command) == 25
    assert "not booted after 4 CPU seconds" in capsys.readouterr().err


def test_an_option_that_the_kernel_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tour", "--guests", f"{GUEST}+frobnicate", "--seeds", "1", "--out", str(tmp_path)]) == 2
    assert "does not know the option frobnicate" in capsys.readouterr().err
