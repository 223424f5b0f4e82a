"""SQLite on every guest that is there: the same calls of libc on all of them, and all that is measured adds up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import images
from analysis.verify import verify
from images import apps
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from profiler.machine import qemu

FETCH_FAILED = 19
WRITING = {"load", "index", "insert", "insert-log", "update", "delete"}


def other_guests() -> list[str]:
    """The first guest of every kind but Linux whose kernel is in the cache, in each of its runtimes."""
    ready = {guest.kind: guest for guest in reversed(images.list_guests()) if guest.state == "ready"}
    found = [ready[kind] for kind in sorted(ready) if kind != "linux"]
    return [f"{guest.name}:{runtime}" if len(guest.runtimes) > 1 else guest.name
            for guest in found for runtime in guest.runtimes]  # fmt: skip


OTHERS = other_guests()
pytestmark = [
    pytest.mark.skipif(shutil.which(qemu.PROGRAM) is None, reason=f"no {qemu.PROGRAM} on this machine"),
    pytest.mark.timeout(900),  # the first run fetches SQLite and compiles it
]
needs_others = pytest.mark.skipif(not OTHERS, reason="no OSv or FreeBSD kernel: weaklink guests add")


def record(out: Path, guest: str, seeds: str, *more: str) -> list[Recording]:
    code = main(["run", "sqlite", "--guests", guest, "--seeds", seeds, "--out", str(out), *more])
    if code == FETCH_FAILED:
        pytest.skip("SQLite's source package cannot be fetched from here")
    assert code == 0
    return [recording.read(path.parent) for path in sorted(out.rglob("manifest.json"))]


def calls(seen: Recording) -> dict[tuple[int, str], int]:
    """How often each operation was asked for in each phase, without what no app asks for."""
    table = seen.calls
    rows = zip(table["phase"], table["operation"], table["calls"], strict=True)
    return {(int(p), str(o)): int(c) for p, o, c in rows if o not in ("interrupt", "page-fault")}


def failed(seen: Recording) -> list[str]:
    return [f"{check.phase} {check.name}: {check.detail}" for check in verify(seen) if not check.ok]


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return record(tmp_path_factory.mktemp("linux"), "linux", "1-2")


def test_it_adds_up_from_every_seed(linux: list[Recording]) -> None:
    for seen in linux:
        assert failed(seen) == []
        assert set(seen.phases["status"]) == {"ok"}
        assert not seen.phases["idle_ns"].any()  # one thread, memory only: nothing to wait for
        declared = [check for check in verify(seen) if check.name == "calls as declared"]
        assert len(declared) == len(apps.load("sqlite").phases)
    assert calls(linux[0]) == calls(linux[1])


def test_phases_do_what_they_are_called(linux: list[Recording]) -> None:
    names = dict(zip(linux[0].phases["number"], linux[0].phases["name"], strict=True))
    seen = {(names[phase], operation): count for (phase, operation), count in calls(linux[0]).items()}
    assert {phase for phase, operation in seen if operation in ("pwrite", "fsync")} == WRITING
    for phase in ("insert", "update", "delete"):  # a journal file comes and goes with every transaction
        ops = next(one.ops for one in apps.load("sqlite").phases if one.name == phase)
        assert seen[phase, "unlink"] == ops
        assert seen[phase, "open"] == 2 * ops  # the journal, and its folder to be synchronised
    assert ("insert-log", "unlink") not in seen
    assert {phase for phase, operation in seen if operation == "pread"} >= {"lookup", "range", "join", "aggregate"}


def test_its_own_code_is_told_from_libc(linux: list[Recording]) -> None:
    ledger = linux[0].ledger
    own = ledger[ledger["layer"] == "user"]["function"].astype(str)
    assert {"sqlite3VdbeExec", "sqlite3BtreeInsert", "read_lookup_run"} <= set(own)
    assert not own[own.isin(["malloc", "memcpy", "pread"])].any()


def test_a_phase_alone_asks_for_the_same(linux: list[Recording], tmp_path: Path) -> None:
    (alone,) = record(tmp_path, "linux", "1", "--phases", "join,connect")
    assert failed(alone) == []
    here = calls(alone)
    assert here == {key: count for key, count in calls(linux[0]).items() if key[0] in {phase for phase, _ in here}}


@needs_others
@pytest.mark.parametrize("guest", OTHERS or ["none"])
def test_every_other_guest_is_asked_for_the_same(linux: list[Recording], tmp_path: Path, guest: str) -> None:
    (seen,) = record(tmp_path, guest, "1")
    assert failed(seen) == []
    assert set(seen.phases["status"]) == {"ok"}
    assert seen.manifest["app"]["source_sha256"] == linux[0].manifest["app"]["source_sha256"]  # type: ignore[typeddict-item]
    varies = {(phase.number, name) for phase in apps.load("sqlite").phases for name in phase.varies}
    here, there = ({key: n for key, n in calls(one).items() if key not in varies} for one in (seen, linux[0]))
    assert here == there
