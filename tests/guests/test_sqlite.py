"""SQLite on every guest that is there: the same calls of libc on all of them, and all that is measured adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

import images
from analysis.verify import verify
from images import apps
from probes.recording import Recording
from tests.guests.common import calls, failed, record

WRITING = {"load", "index", "insert", "insert-log", "update", "delete"}


def other_guests() -> list[str]:
    """The first guest of every kind but Linux whose kernel is in the cache, in each of its runtimes."""
    ready = {guest.kind: guest for guest in reversed(images.list_guests()) if guest.state == "ready"}
    found = [ready[kind] for kind in sorted(ready) if kind != "linux"]
    return [f"{guest.name}:{runtime}" if len(guest.runtimes) > 1 else guest.name
            for guest in found for runtime in guest.runtimes]  # fmt: skip


OTHERS = other_guests()
pytestmark = pytest.mark.timeout(900)  # the first run fetches SQLite and compiles it
needs_others = pytest.mark.skipif(not OTHERS, reason="no OSv or FreeBSD kernel: weaklink guests add")


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record("sqlite", "linux", tmp_path_factory.mktemp("linux"))


def test_it_adds_up(linux: Recording) -> None:
    assert failed(linux) == []
    assert set(linux.phases["status"]) == {"ok"}
    assert not linux.phases["idle_ns"].any()  # one thread, memory only: nothing to wait for
    declared = [check for check in verify(linux) if check.name == "calls as declared"]
    assert len(declared) == len(apps.load("sqlite").phases)


def test_phases_do_what_they_are_called(linux: Recording) -> None:
    names = dict(zip(linux.phases["number"], linux.phases["name"], strict=True))
    seen = {(names[phase], operation): count for (phase, operation), count in calls(linux).items()}
    assert {phase for phase, operation in seen if operation in ("pwrite", "fsync")} == WRITING
    for phase in ("insert", "update", "delete"):  # a journal file comes and goes with every transaction
        ops = next(one.ops for one in apps.load("sqlite").phases if one.name == phase)
        assert seen[phase, "unlink"] == ops
        assert seen[phase, "open"] == 2 * ops  # the journal, and its folder to be synchronised
    assert ("insert-log", "unlink") not in seen
    assert {phase for phase, operation in seen if operation == "pread"} >= {"lookup", "range", "join", "aggregate"}


def test_its_own_code_is_told_from_libc(linux: Recording) -> None:
    ledger = linux.ledger
    own = ledger[ledger["layer"] == "user"]["function"].astype(str)
    assert {"sqlite3VdbeExec", "sqlite3BtreeInsert", "read_lookup_run"} <= set(own)
    assert not own[own.isin(["malloc", "memcpy", "pread"])].any()


def test_a_phase_alone_from_another_seed_asks_for_the_same(linux: Recording, tmp_path: Path) -> None:
    alone = record("sqlite", "linux", tmp_path, "--seeds", "2-2", "--phases", "join,connect")
    assert failed(alone) == []
    here = calls(alone)
    assert here == {key: count for key, count in calls(linux).items() if key[0] in {phase for phase, _ in here}}


@needs_others
@pytest.mark.parametrize("guest", OTHERS or ["none"])
def test_every_other_guest_is_asked_for_the_same(linux: Recording, tmp_path: Path, guest: str) -> None:
    seen = record("sqlite", guest, tmp_path)
    assert failed(seen) == []
    assert set(seen.phases["status"]) == {"ok"}
    assert seen.manifest["app"]["source_sha256"] == linux.manifest["app"]["source_sha256"]  # type: ignore[typeddict-item]
    varies = {(phase.number, name) for phase in apps.load("sqlite").phases for name in phase.varies}
    here, there = ({key: n for key, n in calls(one).items() if key not in varies} for one in (seen, linux))
    assert here == there
