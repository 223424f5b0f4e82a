"""Real guests with two vCPUs that run at the same time: what holds of every such run, never a figure of one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.verify import verify
from probes.recording import Recording
from tests.guests.common import failed, kind_of, record, spec_of

# The last of them for OSv, which evens out its CPUs ten times a second: the others are over by then.
PHASES = "null-call,mutex-contended,condvar-pingpong,pipe-throughput"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=["linux", "osv", "freebsd"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The tour's phases of several threads, with two vCPUs."""
    out = tmp_path_factory.mktemp("two")
    return record("tour", spec_of(request.param), out, "--vcpus", "2", "--phases", PHASES)


def test_it_adds_up_and_says_what_it_is(two: Recording) -> None:
    assert failed(two) == []
    assert any("statistical" in check.detail for check in verify(two))
    probe, machine = two.manifest["probe"], two.manifest["qemu"]
    assert (probe["statistical"], machine["vcpus"], machine["icount"]) == (True, 2, "off")
    assert "thread=multi" in machine["command"]
    assert "-icount" not in machine["command"]
    assert (probe["lost_events"], set(probe["trouble"].values())) == (0, {0})


def test_both_vcpus_work(two: Recording) -> None:
    work = pd.DataFrame(two.manifest["probe"]["vcpus"]).groupby("vcpu")["instructions"].sum()
    assert sorted(work.index) == [0, 1]
    assert (work > 10_000).all(), work.to_dict()
    events = two.frame("events", ["time", "vcpu"])
    assert set(events["vcpu"]) == {0, 1}
    assert events["time"].is_monotonic_increasing


def running(events: pd.DataFrame, vcpu: int, threads: set[int]) -> np.ndarray:  # type: ignore[type-arg]
    """Begin and end of each time in which a vCPU runs one of the threads."""
    switches = events[(events["kind"] == "switch") & (events["vcpu"] == vcpu)]
    times, who = switches["time"].to_numpy(), switches["value"].to_numpy()[:-1]
    return np.stack([times[:-1], times[1:]], axis=1)[np.isin(who, list(threads))]


def test_threads_of_the_app_run_at_the_same_time(two: Recording) -> None:
    if kind_of(two) == "osv":
        pytest.skip("OSv leaves threads that wait for each other on one CPU")
    events = two.frame("events", ["time", "vcpu", "thread", "kind", "value", "how"])
    app = set(events.loc[events["kind"] == "op-enter", "thread"].tolist())
    first, second = (running(events, vcpu, app) for vcpu in (0, 1))
    assert len(first)
    assert len(second)
    overlap = np.minimum(first[:, 1, None], second[None, :, 1]) - np.maximum(first[:, 0, None], second[None, :, 0])
    assert (overlap > 0).sum() > 10
    ipis = events[(events["kind"] == "irq-exit") & (events["how"] == "ipi")]
    assert set(ipis["vcpu"]) == {0, 1}  # each interrupts the other
