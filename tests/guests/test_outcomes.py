"""An app whose calls fail, and whose threads stop, come and go, a known number of times: on every kernel at hand."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from probes.exec import configure
from probes.recording import Recording
from tests.guests.common import events_of, kind_of, record, spec_of

pytestmark = pytest.mark.timeout(300)

KINDS = ("linux", "linux-6.12", "osv:libc", "osv:static", "osv:glibc", "freebsd")
ROUNDS, SIGNALS, YIELDS, TURNS, THREADS, SLEEPS, TRIPS = 31, 17, 2 * 101, 2 * 3, 11, 7, 401
RESULTS, SIGNAL, YIELD, SPIN, THREAD, SLEEP = 1, 2, 3, 4, 5, 6  # phases
PIPE = 6  # of the tour


@pytest.fixture(scope="module", params=KINDS)
def spec(request: pytest.FixtureRequest) -> str:
    return spec_of(request.param)


@pytest.fixture(scope="module")
def seen(spec: str, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record("outcomes", spec, tmp_path_factory.mktemp("outcomes"))


def inside(seen: Recording, phase: int) -> pd.DataFrame:
    events = events_of(seen)
    return events[events["phase"] == phase]


def counted(events: pd.DataFrame, kind: str) -> dict[tuple[str, str], int]:
    """How often each (name, how) is there."""
    these = events[events["kind"] == kind]
    return {(str(name), str(how)): int(n) for (name, how), n in these.groupby(["name", "how"]).size().items()}


def test_nothing_odd_happened(seen: Recording) -> None:
    assert set(seen.phases["status"].astype(str)) == {"ok"}
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]


# -- results -----------------------------------------------------------------------------------------------------------


def test_calls_of_libc_say_whether_they_failed(seen: Recording) -> None:
    did = counted(inside(seen, RESULTS), "op-exit")
    both, failing, working = ("open", "close", "lseek"), ("opendir", "mmap", "posix_memalign"), ("malloc",)
    expected = {(name, how): ROUNDS for name in both for how in ("ok", "failed")}
    expected |= {(name, "failed"): ROUNDS for name in failing} | {(name, "ok"): ROUNDS for name in working}
    expected[("free", "")] = ROUNDS  # it returns nothing
    assert did == expected | {("clock_nanosleep", "failed"): ROUNDS}


def test_system_calls_of_the_apps_own_say_so_too(seen: Recording) -> None:
    did = counted(inside(seen, RESULTS), "syscall-exit")
    nested = not seen.manifest["guest"]["spec"].endswith(":libc")  # else libc is the kernel, and needs no such calls
    assert did[("close", "failed")] == ROUNDS * (1 + nested)
    assert did[("getppid", "ok")] == ROUNDS
    assert did.get(("clock_nanosleep", "failed"), 0) == ROUNDS * nested
    assert not [key for key in did if key[1] == ""]


def test_of_a_call_whose_way_back_a_handler_takes_nothing_is_said(seen: Recording) -> None:
    events = inside(seen, SIGNAL)
    sent = counted(events, "op-exit")
    assert sent == {("kill", "ok" if kind_of(seen) == "osv" else ""): SIGNALS}  # OSv's handlers have their own thread


def test_calls_take_what_the_ledger_charges_for_them(seen: Recording) -> None:
    """To the instruction, where no call is open at the window's edge and none faults."""
    events = inside(seen, RESULTS)
    exits = events[events["kind"] == "op-exit"].groupby("name")["value"].sum()
    ledger = seen.ledger[seen.ledger["phase"] == RESULTS].groupby("operation", observed=True)["instructions"].sum()
    own = [name for name in exits.index if name != "close"]  # a bare close() is charged as one, too
    assert len(own) > 5
    assert exits[own].to_dict() == {name: int(ledger[name]) for name in own}


def test_registers_could_be_read(seen: Recording) -> None:
    assert seen.manifest["probe"]["capabilities"]["results"] == {"available": True, "reason": ""}  # type: ignore


# -- switches ----------------------------------------------------------------------------------------------------------


def whys(events: pd.DataFrame) -> dict[str, int]:
    return {str(how): int(n) for how, n in events[events["kind"] == "switch"]["how"].value_counts().items() if n}


def test_threads_that_give_way_are_seen_to(seen: Recording) -> None:
    found = whys(inside(seen, YIELD))
    assert "" not in found
    if seen.manifest["guest"]["spec"] == "linux":  # 6.1 mostly lets who yields go on
        assert found.get("yielded", 0) < YIELDS
    else:
        assert YIELDS - 4 <= found["yielded"] <= YIELDS


def test_threads_that_spin_are_preempted(seen: Recording) -> None:
    events = inside(seen, SPIN)
    spinning = events[events["thread"].isin(events.loc[events["name"].isin(["sem_post", "sem_wait"]), "thread"])]
    found = whys(spinning)
    assert found["preempted"] >= TURNS - 1
    assert "yielded" not in found


def test_who_sleeps_stops_as_often_and_is_woken_by_the_timer(seen: Recording) -> None:
    events = inside(seen, SLEEP)
    main = events[events["kind"] == "phase-begin"]["thread"].iloc[0] if len(events) else 0
    slept = events[(events["kind"] == "switch") & (events["thread"] == main)]
    assert slept["how"].tolist() == ["blocked"] * SLEEPS
    woken = events[(events["kind"] == "wake") & (events["value"] == main)]
    assert woken["how"].tolist() == ["woken"] * SLEEPS
    interrupts = events[events["kind"] == "irq-exit"]
    assert set(woken["name"]) <= set(interrupts["name"])
    assert set(interrupts["how"]) == {"timer"}
    assert whys(events[events["thread"] != main]).keys() <= {"yielded", "blocked"}  # the idle thread, a kernel thread


def pipe_trips(seen: Recording) -> None:
    """Hold, of a recording of the tour, that a byte through a pipe is a stop and a wake-up each way."""
    events = inside(seen, PIPE)
    stops, woken = whys(events), counted(events, "wake")[("write", "woken")]
    assert abs(stops["blocked"] - woken) <= 3, "whoever stops is woken by a write, but at the window's edges"
    assert abs(sum(stops.values()) - 2 * TRIPS) <= 4


@pytest.mark.parametrize("wanted", [kind for kind in KINDS if not kind.startswith("linux")])
def test_each_byte_through_a_pipe_wakes_who_waits_for_it(wanted: str, tmp_path: Path) -> None:
    """Not on Linux, and behind other phases not elsewhere: who is woken goes first, and answers before one asks."""
    alone = record("tour", spec_of(wanted), tmp_path, "--phases", "pipe-pingpong")
    pipe_trips(alone)
    assert abs(counted(inside(alone, PIPE), "wake")[("write", "woken")] - 2 * TRIPS) <= 2


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_come_and_go(seen: Recording) -> None:
    events = inside(seen, THREAD)
    new = events[events["kind"] == "thread-new"]
    assert len(new) == THREADS
    assert new["value"].is_unique
    made_by = events[
        (events["kind"] == "wake") & events["value"].isin(new["value"]) & (events["name"] == "pthread_create")
    ]
    assert set(new["value"]) <= set(made_by.loc[made_by["how"] == "woken", "value"])
    gone = events[events["kind"] == "thread-exit"]["thread"]
    assert set(gone) <= set(new["value"])
    assert len(gone) in (THREADS - 1, THREADS)  # the last one may end after the window
    assert whys(events)["exited"] == len(gone)


def test_threads_have_names(seen: Recording) -> None:
    events, threads = inside(seen, THREAD), seen.frame("threads").set_index("thread")
    new = events.loc[events["kind"] == "thread-new", "value"].tolist()
    made = threads.loc[new]
    assert made["name"].tolist() == [f"worker-{number}" for number in range(THREADS)]
    assert set(made["role"].astype(str)) == {"app"}
    assert set(made["creator"]) == {0}
    assert set(made["process"]) == {0}
    assert (threads.loc[0, "role"], threads.loc[0, "creator"], threads.loc[0, "process"]) == ("main", -1, 0)
    assert (threads["name"] != "").all()
    kernels = threads[threads["role"].isin(["kernel", "idle"])]
    assert set(kernels["process"]) == {-1}


def test_without_the_symbols_a_recording_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(kind: str) -> dict[str, Any]:
        text = (resources.files("probes.maps") / kind / "hooks.toml").read_text(encoding="utf-8")
        for name in ("__schedule", "__get_task_comm", "__set_task_comm", "wake_up_new_task"):
            text = text.replace(f"{name} =", f"{name}_gone =").replace(f'"{name}"', f'"{name}_gone"')
        return tomllib.loads(text)

    monkeypatch.setattr(configure, "load_rules", renamed)
    seen = record("outcomes", "linux", tmp_path, "--phases", "threads,sleeps")
    able, missing = seen.manifest["probe"]["capabilities"], seen.manifest["probe"]["not_hooked"]
    for name in ("why threads stop", "ends of threads", "new threads", "names of threads"):
        assert able[name]["available"] is False, name
        assert able[name]["reason"], name
    assert {"stop-entry", "thread-name", "new"} <= {entry["what"] for entry in missing}
    assert able["context switches"]["available"] is True
    events = events_of(seen)
    assert not set(events["kind"]) & {"thread-new", "thread-exit"}
    assert set(events.loc[events["kind"] == "switch", "how"].astype(str)) == {""}
    assert set(seen.frame("threads")["name"].astype(str)) == {""}
