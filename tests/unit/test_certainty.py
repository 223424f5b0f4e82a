"""What the seeds let be said: the floor, the interval, few seeds, modes, and work that has no layer."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import Comparison, compare
from analysis.intervals import ALL, DRAWN, INSIDE, difference_of_means
from analysis.modes import GAP, MOST, modes
from analysis.statistics import FEW_SEEDS, Change, spread
from analysis.views import html, json, markdown, terminal
from probes import recording
from tests import synthetic
from tests.synthetic import Phase

SEEDS = tuple(range(FEW_SEEDS))
figures = st.integers(min_value=0, max_value=10**6).map(float)
runs_of_8 = st.lists(figures, min_size=8, max_size=8)
HOOK = ("getppid", "security", "hook")


def against(root: Path, other: list[Phase], base: list[Phase] | None = None, seeds: tuple[int, ...] = SEEDS
            ) -> tuple[Comparison, list[str]]:  # fmt: skip
    """A guest against linux, whose seeds each add an instruction, and what the views say of them, in one line each."""
    for spec, phases in (("linux", base or synthetic.tour()), ("linux+x", other)):
        phases = deepcopy(phases)
        phases[0].jitter.setdefault(("getppid", "process", "__x64_sys_getppid"), 1)
        synthetic.record(root, spec, phases, seeds)
    return seen(root)


def seen(root: Path) -> tuple[Comparison, list[str]]:
    recordings = [recording.read(place) for place in recording.find(root)]
    found = compare(recordings, "linux")
    views = terminal.render(found), markdown.render(found).replace("\\", ""), html.render(found, recordings)
    return found, [" ".join(view.split()) for view in views]


def hooked(size: int = 100) -> list[Phase]:
    phases = synthetic.tour()
    phases[0].work[HOOK] = size
    return phases


# -- the floor --------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(figures, min_size=10, max_size=10, unique=True))
def test_of_all_ways_to_deal_runs_out_at_most_two_differ(pool: list[float]) -> None:
    """What makes the floor one: any 5 of 10 runs of one guest against the others."""
    differ = 0
    for chosen in combinations(range(10), 5):
        rest = [pool[at] for at in range(10) if at not in chosen]
        differ += Change(spread([pool[at] for at in chosen]), spread(rest)).verdict == "differs"
    assert differ <= 2


@given(runs_of_8, runs_of_8)
def test_no_difference_is_smaller_than_one_of_a_guest_against_itself(base: list[float], other: list[float]) -> None:
    change = Change(spread(base), spread(other))
    itself = max(abs(one - two) for runs in (base, other) for one in runs for two in runs)
    assert change.noise == itself
    if change.verdict == "differs":
        assert abs(change.delta) > itself


def test_runs_that_overlap_do_not_differ() -> None:
    base, other = [0.0] * 7 + [100.0], [90.0] + [190.0] * 7  # means are 165 apart, ranges are 100 wide
    assert Change(spread(base), spread(other)).verdict == "within seed spread"
    assert Change(spread(base), spread([101.0] + [190.0] * 7)).verdict == "differs"


# -- the interval -----------------------------------------------------------------------------------------------------


@given(runs_of_8, runs_of_8)
def test_an_interval_holds_the_difference_and_changes_its_sign_with_the_sides(base: list[float], other: list[float]
                                                                              ) -> None:  # fmt: skip
    low, high = difference_of_means(base, other)
    delta = sum(other) / 8 - sum(base) / 8
    assert low - 1e-6 <= delta <= high + 1e-6
    assert difference_of_means(other, base) == pytest.approx((-high, -low))
    assert min(other) - max(base) - 1e-6 <= low <= high <= max(other) - min(base) + 1e-6


@given(runs_of_8, runs_of_8, st.integers(min_value=-1000, max_value=1000), st.integers(min_value=1, max_value=9))
def test_it_moves_and_scales_with_the_figures(base: list[float], other: list[float], more: int, times: int) -> None:
    low, high = difference_of_means(base, other)
    moved = difference_of_means([times * one for one in base], [times * one + more for one in other])
    assert moved == pytest.approx((times * low + more, times * high + more), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(figures, min_size=5, max_size=5, unique=True), st.lists(figures, min_size=6, max_size=6, unique=True),
       st.floats(min_value=-1.5e6, max_value=1.5e6))  # fmt: skip
def test_it_holds_what_a_permutation_test_does_not_reject(base: list[float], other: list[float], true: float) -> None:
    """The test itself, all 462 ways, for one difference: both tails below half of what is outside reject it."""
    low, high = difference_of_means(base, other)
    pool = np.array([*base, *(one - true for one in other)])
    ways = np.array(list(combinations(range(11), 5)))
    sums = pool[ways].sum(axis=1)  # of base; the difference of the means falls with it
    tails = [(sums <= sums[0] + 1e-6).sum(), (sums >= sums[0] - 1e-6).sum()]
    assert len(ways) == math.comb(11, 5)
    rejected = min(tails) <= int((1 - INSIDE) / 2 * len(ways))
    if min(abs(true - low), abs(true - high)) > 1e-3:
        assert rejected == (not low < true < high)


def test_it_holds_the_true_difference_as_often_as_it_says() -> None:
    """Guests that seeds move alike, whatever they do: 2,000 campaigns each; four standard errors are 2 %."""
    draw = np.random.default_rng(5)
    kinds = {
        "normal": lambda: draw.normal(0, 1, 8), "skewed": lambda: draw.exponential(1, 8),
        "modes": lambda: draw.choice([0.0, 20.0, 33.0], 8, p=[0.25, 0.6, 0.15]) + draw.normal(0, 0.1, 8),
    }  # fmt: skip
    for kind, runs in kinds.items():
        ends = [difference_of_means(runs().tolist(), (runs() + 7).tolist()) for _ in range(2000)]
        assert 0.93 <= np.mean([low <= 7 <= high for low, high in ends]) <= 0.985, kind


@pytest.mark.parametrize(
    ("values", "shares", "says"),
    [
        ([0.0, 1.0], [0.5, 0.5], 0.93),
        ([2385.0, 2932.0, 3356.0], [0.25, 0.625, 0.125], 0.89),  # as often as in eight runs of FreeBSD's mutex
        ([0.0, 1.0], [0.875, 0.125], 0.66),  # one campaign in three never sees the second
    ],
)
def test_of_modes_against_a_guest_without_it_holds_less_often(values: list[float], shares: list[float], says: float
                                                              ) -> None:  # fmt: skip
    """What docs/explain.md says, of 2,000 campaigns each; noise is a thousandth."""
    draw, width = np.random.default_rng(8), max(values) / 1000
    true = float(np.dot(values, shares))
    held = []
    for _ in range(2000):
        base, other = draw.normal(0, width, 8), draw.choice(values, 8, p=shares) + draw.normal(0, width, 8)
        low, high = difference_of_means(base.tolist(), other.tolist())
        held.append(low <= true <= high)
    assert np.mean(held) == pytest.approx(says, abs=0.03)


def test_of_more_runs_some_ways_are_drawn_always_the_same() -> None:
    assert math.comb(24, 12) > ALL > DRAWN
    runs = [float(one) for one in range(12)]
    ends = difference_of_means(runs, [one + 100 for one in runs])
    assert ends == difference_of_means(runs, [one + 100 for one in runs])
    assert ends[0] < 100 < ends[1]
    assert ends[1] - ends[0] == pytest.approx(2 * 2.07 * 3.606 * math.sqrt(2 / 12), rel=0.08)  # Student's, 22 degrees
    with pytest.raises(ValueError, match="both"):
        difference_of_means([], [1.0])


def test_there_is_none_of_few_runs_nor_of_one() -> None:
    many, few, one = ([float(value) for value in range(count)] for count in (8, 7, 1))
    assert Change(spread(many), spread(many)).interval is not None
    for runs in (few, one):
        assert Change(spread(many), spread(runs)).interval is None
        assert Change(spread(runs), spread(many)).interval is None
    assert Change(spread(one, 8), spread(one, 8)).interval is None


# -- few seeds --------------------------------------------------------------------------------------------------------


def test_seven_seeds_show_a_difference_and_eight_make_it_a_finding(tmp_path: Path) -> None:
    for count, said in ((7, "few seeds"), (8, "certain")):
        found, views = against(tmp_path / str(count), hooked(), seeds=tuple(range(count)))
        pair = found.pairs[0]
        first = pair.findings[0]
        assert first.layer == "security"
        assert (first.certainty, first.change.few, pair.instructions.few) == (said, count < 8, count < 8)
        assert (first.change.interval is None) == (count < 8)
        assert ["): no difference here is a finding." in view for view in views] == [count < 8] * 3
        written = json.findings(found)["comparisons"][0]["findings"][0]
        assert (written["certainty"], written["few_seeds"]) == (said, count < 8)
        assert (written["interval"] is None) == (count < 8)


def test_seeds_that_change_nothing_make_one_run_a_finding_without_an_interval(tmp_path: Path) -> None:
    for count, said in ((7, "few seeds"), (8, "certain")):
        for spec, phases in (("linux", synthetic.tour()), ("linux+x", hooked())):
            synthetic.record(tmp_path / str(count), spec, phases, range(count))
        places = recording.find(tmp_path / str(count))
        (first,) = compare([recording.read(place) for place in places], "linux").pairs[0].phases[0].findings
        assert (first.certainty, first.change.other.runs, first.change.interval) == (said, 1, None)


def test_what_seeds_move_as_much_is_no_finding(tmp_path: Path) -> None:
    other = hooked(1)
    other[0].jitter[HOOK] = 1009 * 40
    noisy = hooked(1)
    noisy[0].jitter[HOOK] = 1009 * 30
    first = against(tmp_path, other, noisy)[0].pairs[0].phases[0].findings
    assert [one.certainty for one in first] == ["within seed spread"]


def test_the_costliest_link_is_none_that_seeds_make(tmp_path: Path) -> None:
    """``write`` costs 90 more in the mean, and seeds move it by 98; ``openat`` costs 50 more under each of them."""
    noisy = ("write", "fs", "generic_perform_write")
    base, other = synthetic.tour(), synthetic.tour()
    for phases in (base, other):
        phases[1].jitter[noisy] = 14 * 211
    other[1].work[noisy] += 90
    other[1].work["openat", "security", "hook"] = 50
    found, views = against(tmp_path, other, base)
    (pair,) = found.pairs
    assert pair.phases[1].differs
    assert pair.link is not None
    assert (pair.link.operation, pair.link.delta) == ("openat", 50 * 211)
    assert ["Costliest link: openat in files, 10,550 more instructions" in view for view in views] == [True] * 3


# -- modes ------------------------------------------------------------------------------------------------------------


def test_modes_by_hand() -> None:
    real = [2929.4, 3356.1, 2381.5, 2929.4, 2388.5, 2930.1, 2934.3, 2935.3]  # FreeBSD's contended mutex, eight seeds
    assert [(round(one.mean), one.runs) for one in modes(real)] == [(2385, 2), (2932, 5), (3356, 1)]
    assert [one.runs for one in modes([1.0, 1.0, 1.0, 2.0, 2.0])] == [3, 2]
    assert modes([1.0] * 8) == modes([0.0] * 8) == modes([5.0]) == modes([]) == ()
    assert modes([1000.0, 1000.0, 1009.0, 1009.0]) == ()  # apart by less than a percent
    assert modes([float(one) for one in range(8)]) == ()


@given(st.lists(figures, min_size=2, max_size=20))
def test_modes_are_all_runs_in_order_and_apart(runs: list[float]) -> None:
    found = modes(runs)
    assert len(found) != 1
    assert len(found) <= MOST
    if found:
        assert sum(one.runs for one in found) == len(runs)
        assert sum(one.runs * one.mean for one in found) == pytest.approx(sum(runs))
        ordered, parts = sorted(runs), []
        for one in found:
            parts.append(ordered[: one.runs])
            del ordered[: one.runs]
        inside = sum(part[-1] - part[0] for part in parts)
        between = [later[0] - earlier[-1] for earlier, later in pairwise(parts)]
        assert min(between) > GAP * inside * (1 - 1e-9)


def test_one_even_distribution_seldom_has_modes() -> None:
    """One gap of 7 is 4 times the other six together in 7/5^6 of all cases; with those of two gaps, below 0.2 %."""
    draw = np.random.default_rng(3)
    for kind in (draw.random, draw.standard_normal):
        found = [len(modes((kind(8) + 10).tolist())) for _ in range(20_000)]
        assert np.mean(np.array(found) == 2) < 3 * 7 / 5**6
        assert np.mean(np.array(found) > 0) < 0.002


def test_modes_are_shown_in_every_view(tmp_path: Path) -> None:
    other = hooked()
    root = tmp_path / "modes"
    for spec, phases in (("linux", synthetic.tour()), ("linux+x", other)):
        for seed in SEEDS:
            one = deepcopy(phases)
            one[0].work[HOOK] = 400 if spec == "linux+x" and seed > 4 else 0 if spec == "linux" else 100
            one[0].jitter["getppid", "process", "__x64_sys_getppid"] = 1
            synthetic.record(root, spec, one, [seed])
    found, views = seen(root)
    assert ["null-call on linux+x 241 (5) and 541 (3)" in view for view in views] == [True] * 3
    written = json.findings(found)["comparisons"][0]["phases"][0]["instructions_per_op"]
    assert written["base"]["modes"] == []
    assert [one["runs"] for one in written["other"]["modes"]] == [5, 3]


# -- what has no layer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "size", "operation", "said"),
    [
        ("base", 99, "getppid", "certain"),
        ("base", 101, "getppid", "unattributed"),  # were it the hook's, there would be no difference
        ("other", 500, "getppid", "certain"),  # were it the hook's too, there would be more of one
        ("base", 500, "openat", "certain"),  # another operation's
    ],
)
def test_no_finding_that_work_without_a_layer_could_undo(tmp_path: Path, side: str, size: int, operation: str,
                                                         said: str) -> None:  # fmt: skip
    sides = {"base": synthetic.tour(), "other": hooked(100)}
    sides[side][0].work[operation, "unattributed", "[unknown]"] = size
    sides[side][0].calls.setdefault(operation, 1)
    found, views = against(tmp_path, sides["other"], sides["base"])
    (first,) = (one for one in found.pairs[0].phases[0].findings if one.layer == "security")
    assert first.certainty == said
    marked = "what has no layer could overturn it"
    assert [marked in view for view in views] == [said == "unattributed"] * 3


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_where_it_could_is_where_it_reaches_the_other_sign(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
                                                           ) -> None:  # fmt: skip
    """Exchanging the guests changes the sign of everything, and of certainty nothing."""
    sizes = data.draw(st.tuples(*[st.integers(min_value=0, max_value=300)] * 4))
    root = tmp_path_factory.mktemp("unattributed")
    for spec, hook, lost in (("linux", *sizes[:2]), ("linux+x", *sizes[2:])):
        phases = synthetic.tour()
        phases[0].work[HOOK] = hook
        phases[0].work["getppid", "unattributed", "[unknown]"] = lost
        synthetic.record(root, spec, phases, range(1))
    recordings = [recording.read(place) for place in recording.find(root)]
    there, back = (compare(recordings, spec).pairs[0].phases[0] for spec in ("linux", "linux+x"))
    assert [one.certainty for one in there.findings] == [one.certainty for one in back.findings]
    for one in there.findings:
        if one.layer == "security":
            delta = sizes[2] - sizes[0]
            assert (one.certainty == "unattributed") == (delta - sizes[1] <= 0 <= delta + sizes[3])


def test_work_without_a_layer_does_not_undo_itself(tmp_path: Path) -> None:
    other = synthetic.tour()
    other[0].work["getppid", "unattributed", "[unknown]"] = 500
    (first,) = against(tmp_path, other)[0].pairs[0].phases[0].findings
    assert (first.layer, first.certainty) == ("unattributed", "certain")
