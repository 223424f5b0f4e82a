"""The probe and strace see the same of a program with threads, signals and odd calls; ``just equality`` does it all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import pytest

from probes.recording import Recording
from tests.equality import linux, probe
from tests.equality.sequences import Missing, Thread

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    try:
        return linux.record("threads", "linux", tmp_path_factory.mktemp("equality"))
    except Missing as missing:
        pytest.skip(str(missing))


def test_the_probe_sees_what_strace_sees(seen: Recording) -> None:
    found = linux.compare_one("threads", seen)
    assert found.differences == []
    assert found.threads == 8
    assert found.alike > 900, "four threads that take 40 turns each"
    assert found.results > 0.98 * found.alike
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]


@pytest.mark.parametrize("name", ["getpid", "syscall", "restart_syscall", "setitimer"])
def test_and_would_not_if_it_missed_one(seen: Recording, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = probe.threads

    def without(one: Recording) -> Mapping[int, Thread]:
        found = whole(one)
        for thread in found.values():
            names = [call.name for call in thread.calls]
            if "restart_syscall" in names and "setitimer" in names:  # the program's first thread
                del thread.calls[len(names) - 1 - names[::-1].index(name)]
        return found

    monkeypatch.setattr(probe, "threads", without)
    assert len(linux.compare_one("threads", seen).differences) == 1
