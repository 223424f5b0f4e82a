"""A cause that is planted in a real guest is the first finding; ``just truth`` does it with all that are planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.comparison import Pair
from profiler.errors import ArtifactUnavailable
from tests.truth import causes, run
from tests.truth.causes import Cause
from tests.truth.judge import judge

pytestmark = pytest.mark.timeout(300)
SEEDS = "2"


def cause(name: str) -> Cause:
    """A cause with two phases, which no seed moves."""
    (found,) = [one for one in causes.load(run.phases_of) if one.name == name]
    return replace(found, quiet=("clock-read",))


@pytest.fixture(scope="module")
def isolation() -> Cause:
    return cause("page-table isolation")


@pytest.fixture(scope="module")
def out(isolation: Cause, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two guests are recorded."""
    place = tmp_path_factory.mktemp("truth")
    try:
        run.measure([isolation], SEEDS, place, jobs=2)
    except ArtifactUnavailable as error:
        pytest.skip(str(error))
    return place


@pytest.fixture(scope="module")
def pair(isolation: Cause, out: Path) -> Pair:
    return run.compared(isolation, SEEDS, out)


def test_what_is_planted_is_named_and_nothing_else_is(isolation: Cause, pair: Pair) -> None:
    told = judge(isolation, pair)
    assert [(one.phase, one.miss) for one in told] == [("null-call", ""), ("clock-read", "")]
    assert told[0].first is not None
    assert 2 < told[0].first.change.delta < 40, "two writes of CR3 and what leads to them, in every call"


def test_and_a_row_that_says_otherwise_is_a_miss(isolation: Cause, pair: Pair, tmp_path: Path) -> None:
    (hit,) = isolation.hit
    elsewhere = replace(isolation, hit=(replace(hit, layer="vfs"),), quiet=("clock-read",))
    assert [bool(one.miss) for one in judge(elsewhere, pair)] == [True, False]
    backwards = replace(isolation, hit=(replace(hit, phase="clock-read"),), quiet=("null-call",))
    assert [bool(one.miss) for one in judge(backwards, pair)] == [True, True]
    with pytest.raises(run.NotRecorded, match="no recording of seed 1"):
        run.compared(isolation, SEEDS, tmp_path)


def test_what_no_boot_parameter_has_is_planted_by_the_app(out: Path) -> None:
    filtered = cause("seccomp filter")
    run.measure([filtered], "1", out)
    called, quiet = judge(filtered, run.compared(filtered, "1", out))
    assert called.first is not None
    assert (called.first.operations[0], called.first.layer) == ("getppid", "security")
    assert called.first.change.delta > 50, "number, address and six arguments are looked at, in every call"
    assert quiet.miss == ""
