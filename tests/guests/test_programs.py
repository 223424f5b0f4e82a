"""A program of the user's own, in every kind of window, and each way in which that can fail, caused for real."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.calls import phase_calls
from images import GuestSpec
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from tests.guests.common import failed, spec_of

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine"),
    pytest.mark.timeout(300),
]

SOURCE = Path(__file__).with_name("loopback.c")
ROUNDS = 503
SENDS = RECEIVES = 2 * ROUNDS
FLAGS = {
    "dynamic": ["-fPIE", "-pie"], "static": ["-static"], "static-pie": ["-static-pie", "-fPIE"],
    "fixed": ["-no-pie"], "now": ["-fPIE", "-pie", "-Wl,-z,now"], "markers": ["-DMARKERS", "-fPIE", "-pie"],
}  # fmt: skip
SYMBOLS = "symbol:round_trips..symbol:round_trips_done"
LINES = "console:^loopback: ready..console:^loopback: (done|failed)$"


@pytest.fixture(scope="module")
def programs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program, built in every way."""
    folder = tmp_path_factory.mktemp("programs")
    for name, flags in FLAGS.items():
        command = ["gcc", "-O1", "-pthread", f"-I{root / 'probes'}", *flags, str(SOURCE), "-o", str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    return {name: folder / name for name in FLAGS}


def run(program: Path, out: Path, *options: str, guest: str = "linux", arguments: tuple[str, ...] = ()) -> int:
    words = ["run", str(program), "--guests", guest, "--seeds", "1", "--out", str(out), *options, "--", *arguments]
    return main(words)


def recorded(program: Path, out: Path, guest: str = "linux") -> Recording:
    return recording.read(out / program.name / GuestSpec.parse(guest).directory_name() / "seed-1")


def calls(seen: Recording, number: int = 1) -> dict[str, int]:
    counted = phase_calls(seen)
    inside = counted[counted.index.get_level_values("phase") == number]
    names = inside.index.get_level_values("operation")
    return {str(operation): int(count) for operation, count in zip(names, inside.to_numpy(), strict=True)}


@pytest.mark.parametrize(
    ("build", "window"),
    [
        ("dynamic", "exec..exit"),
        ("dynamic", SYMBOLS),
        ("dynamic", LINES),
        ("static", "exec"),
        ("static", SYMBOLS),
        ("static-pie", SYMBOLS),
        ("fixed", SYMBOLS),
    ],
)
def test_every_window_around_the_rounds_has_them(
    programs: dict[str, Path], tmp_path: Path, build: str, window: str
) -> None:
    program = programs[build]
    assert run(program, tmp_path, "--window", window, "--ops", str(ROUNDS), "--op", "round trip") == 0
    seen = recorded(program, tmp_path)
    assert failed(seen) == []
    did = calls(seen)
    assert (did["send"], did["recv"]) == (SENDS, RECEIVES)
    assert seen.manifest["app"]["phases"][0]["ops"] == ROUNDS
    assert seen.phases["ops"].tolist() == [ROUNDS]
    whole = window.startswith("exec")
    assert ("accept" in did, "pthread_create" in did) == (whole, whole), "and what is around them only in the whole"
    functions = set(seen.ledger["function"].astype(str))
    assert {"round_trips", "tcp_sendmsg"} <= functions
    assert not any(seen.manifest["probe"]["trouble"].values())


def test_the_manifest_says_what_the_window_was_and_how_the_program_ended(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    options = ("--window", "exec", "--ops", "503")
    assert run(programs["dynamic"], tmp_path, *options, arguments=("a b", "", "-x")) == 0
    manifest: Any = recorded(programs["dynamic"], tmp_path).manifest
    assert manifest["window"] == {"open": "exec", "close": "exit"}
    assert (manifest["app"]["args"], manifest["app"]["status"]) == (["a b", "", "-x"], 0)
    assert {"libc.so.6", "ld-linux-x86-64.so.2"} <= set(manifest["app"]["libraries"])
    for again, state in ((options, "kept"), (("--ops", "7"), "recorded")):
        assert run(programs["dynamic"], tmp_path, *again, arguments=("a b", "", "-x")) == 0
        assert json.loads((tmp_path / "campaign.json").read_text())["runs"][0]["state"] == state


def test_a_program_with_markers_says_itself_what_it_did(programs: dict[str, Path], tmp_path: Path) -> None:
    program = programs["markers"]
    assert run(program, tmp_path, "--window", "marker") == 0
    seen = recorded(program, tmp_path)
    assert failed(seen) == []
    assert seen.phases[["number", "name", "ops"]].to_numpy().tolist() == [[7, "rounds", ROUNDS]]
    off = seen.phases["tsc"] - seen.phases["instructions"] - seen.phases["rep_iterations"] - seen.phases["idle_ns"]
    assert off.abs().max() <= 100, "its own clock is checked"
    assert calls(seen, 7)["send"] == SENDS


def test_a_file_that_was_named_is_there(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("what the file says\n")
    cat = Path("/bin/cat")
    window = ("--window", "exec..console:^what the file says$", "--file", f"/etc/my/conf={tmp_path / 'conf'}")
    assert run(cat, tmp_path, *window, arguments=("/etc/my/conf",)) == 0
    assert "what the file says" in (tmp_path / "cat/linux/seed-1/console.log").read_text()


def test_the_end_of_a_child_does_not_close_the_window(programs: dict[str, Path], tmp_path: Path) -> None:
    assert run(programs["dynamic"], tmp_path, arguments=("fork",)) == 0
    assert calls(recorded(programs["dynamic"], tmp_path))["send"] == SENDS


def test_any_thread_may_end_the_program(programs: dict[str, Path], tmp_path: Path) -> None:
    assert run(programs["dynamic"], tmp_path, arguments=("other",)) == 0
    did = calls(recorded(programs["dynamic"], tmp_path))
    assert (did["send"], did["exit"]) == (SENDS, 1)


@pytest.mark.parametrize(
    ("build", "runtime", "window"),
    [
        ("static", "static", SYMBOLS),
        ("static", "static", "exec"),
        ("dynamic", "glibc", LINES),
        ("dynamic", "glibc", "exec"),
        ("now", "libc", "exec"),  # bound before it begins: OSv's own linker knows no LD_BIND_NOW
    ],
)
def test_osv_runs_the_same_file(
    programs: dict[str, Path], tmp_path: Path, build: str, runtime: str, window: str
) -> None:
    guest = spec_of(f"osv:{runtime}")
    assert run(programs[build], tmp_path, "--window", window, guest=guest) == 0
    seen = recorded(programs[build], tmp_path, guest)
    assert failed(seen) == []
    did = calls(seen)
    assert (did["send"], did["recv"]) == (SENDS, RECEIVES)
    status = seen.manifest["app"]["status"]  # type: ignore[typeddict-item]
    assert status == (0 if window == "exec" else None), "behind its window a program may do what it will"


# -- failures ----------------------------------------------------------------------------------------------------------


def failure(out: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((out / "campaign.json").read_text())["runs"][0]
    assert entry["state"] == "failed"
    assert (out / entry["console"]).is_file()
    error: dict[str, Any] = entry["error"]
    return error


@pytest.mark.parametrize(
    ("argument", "says"), [("exit3", "ended with status 3"), ("crash", "was killed by signal 11 (SIGSEGV)")]
)
def test_a_program_that_fails_is_the_apps_failure(
    programs: dict[str, Path], tmp_path: Path, argument: str, says: str
) -> None:
    assert run(programs["dynamic"], tmp_path, arguments=(argument,)) == 23
    error = failure(tmp_path)
    assert error["name"] == "app failed"
    assert says in error["message"]
    assert "loopback: done" in error["message"], "the end of what it said is shown"
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("console:never said", "the window never opened: console:never said"),
        ("symbol:leave", "the window never opened: symbol:leave"),
        ("exec..console:never said", "the window never closed: console:never said"),
    ],
)
def test_a_window_that_is_missed_is_named(programs: dict[str, Path], tmp_path: Path, window: str, says: str) -> None:
    assert run(programs["static"], tmp_path, "--window", window) == 24
    assert says in failure(tmp_path)["message"]


def test_a_window_that_does_not_close_meets_the_limit(programs: dict[str, Path], tmp_path: Path) -> None:
    assert run(programs["dynamic"], tmp_path, "--limit", "10", arguments=("forever",)) == 16
    assert "exec..exit" in failure(tmp_path)["hint"]


def test_a_window_may_close_though_the_program_goes_on(programs: dict[str, Path], tmp_path: Path) -> None:
    assert run(programs["dynamic"], tmp_path, "--window", LINES, arguments=("forever",)) == 0
    assert calls(recorded(programs["dynamic"], tmp_path))["recv"] == RECEIVES


def test_a_symbol_that_is_nowhere_is_refused(
    programs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(programs["static"], tmp_path, "--window", "symbol:no_such_function") == 2
    assert "no function no_such_function" in capsys.readouterr().err
