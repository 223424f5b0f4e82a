"""An app whose calls, and the ways in which they are left, are known to the last one: on every kernel at hand."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from analysis.verify import verify
from analysis.views.folded import folded
from probes.recording import Recording
from tests.guests.common import failed, kind_of, record, spec_of

pytestmark = pytest.mark.timeout(300)

KINDS = ("linux", "linux-6.12", "osv:libc", "osv:static", "freebsd")
RECURSION, TAILS, JUMPS, THREADS, SIGNALS, DEEP = range(1, 7)
OPS = {RECURSION: 31, TAILS: 53, JUMPS: 37, THREADS: 41, SIGNALS: 17, DEEP: 3}
WARM = 2  # rounds of each phase before its window, counted by the probe all the same
DEPTH, DEEP_CALLS, SHOWN = 7, 700, 512
COUNTS = ["instructions", "calls", "rep_iterations", "rep_bytes", "idle_ns"]


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    """The same run without call stacks, and with them."""
    spec = spec_of(request.param)
    without, stacks = tmp_path_factory.mktemp("without"), tmp_path_factory.mktemp("with")
    return record("stacks", spec, without), record("stacks", spec, stacks, "--stacks")


def calls(seen: Recording, phase: int) -> Counter[str]:
    """How often each stack was entered, as the functions of the app's own in it, from the phase's run on."""
    frames, stacks = seen.frame("frames"), seen.frame("stacks")
    names, callers = frames["function"].astype(str).tolist(), frames["caller"].tolist()
    found: Counter[str] = Counter()
    for stack, entered in stacks[stacks["phase"] == phase][["stack", "calls"]].itertuples(index=False):
        path: list[str] = []
        while stack >= 0:
            path.append(names[stack])
            stack = callers[stack]
        own = [name.removeprefix("stacks_") for name in path[::-1] if name.startswith("stacks_")]
        if path[0].startswith("stacks_"):
            found[" ".join(own)] += int(entered)
    return +found


def test_stacks_add_up(both: tuple[Recording, Recording]) -> None:
    seen = both[1]
    assert failed(seen) == []
    assert "stacks add up to the ledger" in [check.name for check in verify(seen)]
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]
    happened = seen.manifest["probe"]["stacks_seen"]  # type: ignore[typeddict-item]
    assert (happened["resync"], happened["full"]) == (0, 0)
    assert happened["unwound"] == 3 * (OPS[JUMPS] + WARM)  # three longjmps in each round


def test_the_ledger_is_the_same(both: tuple[Recording, Recording]) -> None:
    keys = ["phase", "role", "operation", "function", "space"]
    ledgers = [one.ledger.astype(dict.fromkeys(keys[1:], str)) for one in both]
    if kind_of(both[0]) == "osv":  # its kernel does not do the same twice: see test_osv.py
        ledgers = [one[one["function"].str.startswith("stacks_")] for one in ledgers]
    sums = [one.groupby(keys)[COUNTS].sum() for one in ledgers]
    pd.testing.assert_frame_equal(*sums)
    without, stacks = both[0].frame("events"), both[1].frame("events")
    assert (without["stack"] == -1).all()
    assert (stacks["stack"] >= 0).all()
    if kind_of(both[0]) == "osv":
        return
    assert without.drop(columns="stack").astype(str).equals(stacks.drop(columns="stack").astype(str))


def test_recursion(both: tuple[Recording, Recording]) -> None:
    ops, found = OPS[RECURSION], calls(both[1], RECURSION)
    downs = [" ".join(["down"] * depth) for depth in range(1, DEPTH + 1)]
    expected = dict.fromkeys(downs, ops)
    # The second stacks_leaf is a tail call: it takes the place of the stacks_down that calls it.
    expected |= {f"{path} leaf": 2 * ops for path in downs[:-1]}
    expected |= {"leaf": ops, f"{downs[-1]} leaf": ops}
    assert found == expected


def test_more_calls_than_are_shown(both: tuple[Recording, Recording]) -> None:
    ops, found = OPS[DEEP], calls(both[1], DEEP)
    assert sum(count for path, count in found.items() if path.endswith("down")) == DEEP_CALLS * ops
    assert sum(count for path, count in found.items() if path.endswith("leaf")) == 2 * DEEP_CALLS * ops
    frames = both[1].frame("frames")["caller"].tolist()
    depths: list[int] = []
    for caller in frames:
        depths.append(1 if caller < 0 else depths[caller] + 1)
    assert max(depths) == SHOWN


def test_tail_calls(both: tuple[Recording, Recording]) -> None:
    ops = OPS[TAILS]
    assert calls(both[1], TAILS) == {
        "first": ops, "first leaf": ops, "second": ops, "second leaf": ops, "third": 2 * ops, "third leaf": 2 * ops,
    }  # fmt: skip


def test_longjmp_goes_back_to_the_frame_that_it_means(both: tuple[Recording, Recording]) -> None:
    ops, found = OPS[JUMPS], calls(both[1], JUMPS)
    sinks = [" ".join(["sink"] * depth) for depth in range(1, DEPTH + 1)]
    expected = {"jump": ops, "jump leaf": ops, "nested": ops, "nested jump": ops, "nested jump leaf": ops}
    expected |= {f"{where} {path}": ops for path in sinks for where in ("jump", "nested jump")}
    expected |= {" ".join(["again"] * depth): ops for depth in range(1, 6)}
    expected["again again again leaf"] = ops  # the third of five
    assert found == expected


def test_threads_have_stacks_of_their_own(both: tuple[Recording, Recording]) -> None:
    ops, found = OPS[THREADS], calls(both[1], THREADS)
    # Where its leaf is called last, stacks_mine has gone.
    assert found == {"mine": ops, "leaf": ops, "thread theirs": ops, "thread theirs leaf": ops}
    theirs = [line for line in folded(both[1], [THREADS]) if ";stacks_theirs" in line]
    assert len(theirs) == 2
    assert not any("main" in line.split(";")[0] and "threads_run" in line for line in theirs)
    assert all(";stacks_thread;stacks_theirs" in line for line in theirs)


def test_handlers_of_signals(both: tuple[Recording, Recording]) -> None:
    if kind_of(both[1]) == "osv":
        pytest.skip("OSv runs handlers in threads of their own")
    stacks, ops = both[1].frame("stacks"), OPS[SIGNALS]
    lines = [line for line in folded(both[1], [SIGNALS]) if "stacks_handler" in line]
    assert len(lines) == 2
    assert all("signals_run;stacks_raise;kill;" in line for line in lines), lines
    frames = both[1].frame("frames")
    handler = frames[frames["function"] == "stacks_handler"]["frame"]
    mine = stacks[(stacks["phase"] == SIGNALS) & stacks["stack"].isin(handler)]
    assert mine["calls"].sum() == ops


# -- exceptions --------------------------------------------------------------------------------------------------------

ROUNDS, UNWOUND = 41, 12  # in exceptions.cc; how often a round goes on in a frame further down


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize(("spec", "linked"), [("linux", "-static"), ("linux", "-pie"), ("osv:static", "-static")])
def test_exceptions_go_back_to_the_frame_that_catches_them(tmp_path: Path, spec: str, linked: str) -> None:
    program, source = tmp_path / "exceptions", Path(__file__).with_name("exceptions.cc")
    subprocess.run(["g++", "-O1", "-fPIE", linked, source, "-o", program], check=True, timeout=60)
    window = ("--window", "symbol:stacks_rounds..symbol:stacks_over", "--ops", str(ROUNDS))
    seen = record(str(program), spec_of(spec), tmp_path / "out", "--stacks", *window)
    assert failed(seen) == []
    happened = seen.manifest["probe"]["stacks_seen"]  # type: ignore[typeddict-item]
    assert (happened["unwound"], happened["full"]) == (UNWOUND * ROUNDS, 0)
    assert linked == "-pie" or happened["resync"] == 0  # the machine's libraries have functions without names
    thrown, cleaned = ([" ".join([name] * depth) for depth in range(1, DEPTH + 1)] for name in ("throw", "cleaned"))
    once = ["catch", "outside", "outside leaf", "outside again", "outside again leaf"]
    once += [f"{where} {path}" for where in ("catch", "outside again") for path in thrown]
    once += [f"catch {path}{leaf}" for path in cleaned for leaf in ("", " leaf")]
    expected = {f"rounds {path}": ROUNDS for path in once} | {"rounds catch leaf": 3 * ROUNDS}
    assert calls(seen, 1) == expected | {"over": 1}
