"""The same seed gives the same bits, whatever the host does meanwhile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from profiler.machine import qemu

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(shutil.which(qemu.PROGRAM) is None, reason=f"no {qemu.PROGRAM} on this machine"),
    pytest.mark.timeout(300),
]


def recorded(out: Path) -> Recording:
    """Phases that threads wait before, so that the vCPU is halted and its clock moved."""
    phases = "condvar-pingpong,shared-poll,tcp-pingpong"
    assert main(["run", "tour", "--guests", "linux", "--seeds", "1", "--phases", phases, "--out", str(out)]) == 0
    (place,) = recording.find(out)
    return recording.read(place)


def test_a_host_that_is_slow_where_a_vcpu_halts_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There QEMU's main thread may move the clock before it has the instructions executed last: see clock.c.
    usual = recorded(tmp_path / "usual")
    library, said = tmp_path / "slow_host.so", tmp_path / "slowed"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wno-nonnull", HERE / "slow_host.c", "-o", library, "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SLOWED", str(said))
    slow = recorded(tmp_path / "slow")
    if not said.exists():
        pytest.skip("this QEMU does not leave a halted vCPU's code in the way that slow_host.c knows")
    assert int(said.read_text()) > 20
    for table in ("phases", "ledger", "events"):
        assert slow.frame(table).equals(usual.frame(table)), table
