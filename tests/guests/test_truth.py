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


@pytest.fixture(scope="module")
def isolation() -> Cause:
    """Two phases of one cause, which no seed moves."""
    (found,) = [one for one in causes.load(run.phases_of) if one.name == "page-table isolation"]
    return replace(found, quiet=("clock-read",))


@pytest.fixture(scope="module")
def pair(isolation: Cause, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    out = tmp_path_factory.mktemp("truth")
    try:
        run.measure([isolation], SEEDS, out)
    except ArtifactUnavailable as error:
        pytest.skip(str(error))
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
