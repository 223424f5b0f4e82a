"""The universal scalability law: held against published fits, and against curves whose coefficients are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from analysis.crossover import lead
from analysis.scaling import POINTS, Interval, Scaling, fit
from analysis.statistics import student
from profiler.errors import NotComparable

# SPEC SDM91 on a Sun SPARCcenter 2000 (October 1994): users, scripts per hour.  The data set ``specsdm91`` of the R
# package usl 3.0 (S. Moeding, N. J. Gunther), whose README gives the coefficients, their standard errors and residuals.
SDM91 = ((1, 64.9), (18, 995.9), (36, 1652.4), (72, 1853.2), (108, 1828.9), (144, 1775.0), (216, 1702.2))
# A server at Cisco, 1 to 32 clients: B. Schwartz, "Practical Scalability Analysis with the Universal Scalability Law"
# (2015), with coefficients; the Rust crate usl 0.3 (C. Hale) has them in its tests to seven digits.
CISCO = (
    955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.8, 7867.61, 8278.71, 8646.7, 9047.84,
    9426.55, 9645.37, 9897.24, 10097.6, 10240.5, 10532.39, 10798.52, 11151.43, 11518.63, 11806.0, 12089.37, 12075.41,
    12177.29, 12211.41, 12158.93, 12155.27, 12118.04, 12140.4, 12074.39,
)  # fmt: skip
# A ray tracer on an SGI Origin 2000, by processors: the data set ``raytracer`` of the package usl 3.0, whose tests give
# contention 0.0578 and a rate of 21.8488, and coherence, which would be negative, as 0.
RAYTRACER = ((1, 20), (4, 78), (8, 130), (12, 170), (16, 190), (20, 200), (24, 210), (28, 230), (32, 260), (48, 280),
             (64, 310))  # fmt: skip


def law(loads: np.ndarray, rate: float, sigma: float, kappa: float) -> np.ndarray:
    return rate * loads / (1 + sigma * (loads - 1) + kappa * loads * (loads - 1))


def drawn(rate: float, sigma: float, kappa: float, last: int = 24, noise: float = 0.0, seed: int = 1
          ) -> list[tuple[float, float]]:  # fmt: skip
    loads = np.arange(1.0, last + 1)
    errors = 1 + noise * np.random.default_rng(seed).normal(size=last)
    return list(zip(loads.tolist(), (law(loads, rate, sigma, kappa) * errors).tolist(), strict=True))


def error(value: Interval, freedom: int) -> float:
    assert value.low is not None
    assert value.high is not None
    return (value.high - value.low) / 2 / student(freedom)


def test_the_published_fit_of_specsdm91() -> None:
    found = fit(SDM91, "users")
    assert found.sigma.value == pytest.approx(0.0277285, abs=5e-8)
    assert found.kappa.value == pytest.approx(0.0001044, abs=5e-8)
    assert found.rate.value == pytest.approx(89.9952330, abs=5e-7)
    errors = [error(value, found.freedom) for value in (found.sigma, found.kappa, found.rate)]
    assert errors == pytest.approx([0.0091217, 0.0000199, 14.2134894], rel=2e-3)
    assert found.residuals == pytest.approx([-25.10, -81.66, 111.09, 3.05, -49.99, -46.60, 56.00], abs=6e-3)
    assert round(found.peak.value) == 97  # ``signif(peak.scalability(u), 2)``


def test_the_published_fit_of_the_cisco_server() -> None:
    found = fit(list(enumerate(CISCO, 1)), "clients")
    assert found.sigma.value == pytest.approx(0.02671591, rel=1e-5)
    assert found.kappa.value == pytest.approx(7.690945e-4, rel=1e-5)
    assert found.rate.value == pytest.approx(995.6486, rel=1e-5)
    assert int(found.peak.value) == 35
    assert found.at(35.0) == pytest.approx(12341.7454, rel=1e-5)


def test_what_another_clamps_is_refused() -> None:
    # The same data: without coherence the best contention is what is published.
    loads, measured = np.array(RAYTRACER, dtype=float).T
    shapes = loads / (1 + np.linspace(0.05, 0.07, 2001)[:, None] * (loads - 1))
    rates = shapes @ measured / (shapes**2).sum(axis=1)
    best = ((measured - rates[:, None] * shapes) ** 2).sum(axis=1).argmin()
    assert (0.05 + 1e-5 * best, rates[best]) == (pytest.approx(0.0578, abs=5e-5), pytest.approx(21.8488, abs=1e-3))
    with pytest.raises(NotComparable, match=r"not bend enough from 1 to 64 processors: kappa is -0\.0002"):
        fit(RAYTRACER, "processors")


def test_the_t_of_tables() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 8: 2.306, 10: 2.228, 29: 2.045, 30: 2.042, 120: 1.980}
    assert {freedom: round(student(freedom), 3) for freedom in table} == table
    assert round(student(7, 0.99), 3) == 3.499
    with pytest.raises(ValueError, match="at least 1"):
        student(0)


SIGMA = st.floats(0.01, 0.6)
KAPPA = st.floats(0.0005, 0.05)
RATE = st.floats(1e-6, 1e9)


@settings(deadline=None)
@given(RATE, SIGMA, KAPPA)
def test_a_curve_without_noise_is_found_exactly(rate: float, sigma: float, kappa: float) -> None:
    found = fit(drawn(rate, sigma, kappa))
    assert (found.rate.value, found.sigma.value, found.kappa.value) == pytest.approx((rate, sigma, kappa), rel=1e-6)
    assert found.peak.value == pytest.approx(np.sqrt((1 - sigma) / kappa), rel=1e-6)


@settings(deadline=None)
@given(SIGMA, KAPPA, st.floats(1e-6, 1e9), st.integers(0, 1000))
def test_the_unit_of_throughput_changes_neither_coefficient(sigma: float, kappa: float, unit: float, seed: int) -> None:
    points = drawn(1.0, sigma, kappa, noise=0.0002, seed=seed)
    one, other = fit(points), fit([(load, value * unit) for load, value in points])
    for mine, theirs in ((one.sigma, other.sigma), (one.kappa, other.kappa), (one.peak, other.peak)):
        assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.02, 0.4), st.floats(0.002, 0.03), st.integers(0, 10_000))
def test_noise_moves_the_coefficients_as_far_as_the_intervals_say(sigma: float, kappa: float, seed: int) -> None:
    found = fit(drawn(1000.0, sigma, kappa, noise=0.003, seed=seed))
    for value, truth in ((found.sigma, sigma), (found.kappa, kappa), (found.rate, 1000.0)):
        assert abs(value.value - truth) <= 6 * error(value, found.freedom)


def _level(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Where two laws cross, by halving: between 1 and 24."""
    low, high = 1.0, 24.0
    ahead = law(np.array([low]), *one)[0] > law(np.array([low]), *other)[0]
    for _ in range(60):
        middle = (low + high) / 2
        same = (law(np.array([middle]), *one)[0] > law(np.array([middle]), *other)[0]) == ahead
        low, high = (middle, high) if same else (low, middle)
    return low


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    mine, theirs = (1.3, 0.08, 0.01), (1.0, 0.05, 0.002)
    truths = (1.3, 0.08, 0.01, np.sqrt(0.92 / 0.01), _level(mine, theirs))
    loads, rng, held = np.arange(1.0, 25), np.random.default_rng(7), np.zeros(5, dtype=int)
    for _ in range(400):
        # Errors as the fit takes them to be: of the same size at every load.
        one, other = (fit(list(zip(loads, law(loads, *terms) + 0.02 * rng.normal(size=24), strict=True)))
                      for terms in (mine, theirs))  # fmt: skip
        found = lead(one, other)
        assert found is not None
        (crossing,) = found.crossings
        values = (one.rate, one.sigma, one.kappa, one.peak, crossing)
        held += [(value.low or 0) <= truth <= (value.high or 99) for value, truth in zip(values, truths, strict=True)]
    assert (held >= 0.925 * 400).all(), held
    assert (held <= 0.975 * 400).all(), held


def refusal(points: list[tuple[float, float]]) -> str:
    with pytest.raises(NotComparable) as refused:
        fit(points)
    return str(refused.value)


def test_few_points_are_refused() -> None:
    points = drawn(1.0, 0.1, 0.01, last=POINTS)
    assert fit(points).freedom == POINTS - 3
    assert refusal(points[1:]).startswith("5 different numbers of threads are too few")
    assert refusal([*points[1:], *points[1:]]).startswith("5 different"), "the same load again is no other load"
    assert refusal([]).startswith("0 different")


def test_values_that_are_none_are_refused() -> None:
    points = drawn(1.0, 0.1, 0.01)
    for bad in ((0.0, 1.0), (3.0, 0.0), (3.0, -1.0), (3.0, float("nan")), (float("inf"), 1.0)):
        assert refusal([*points, bad]).startswith("there are numbers of threads below 1")


def test_coefficients_that_are_negative_are_refused_with_their_value() -> None:
    more = refusal([(load, load**1.3) for load in range(1, 9)])
    assert more.startswith("sigma is negative, -0.101 [-0.125, -0.077]: from 1 to 8 threads each adds more")
    loads = np.arange(1.0, 25)
    assert refusal(list(zip(loads, law(loads, 1.0, 0.5, -0.0003), strict=True))).startswith(
        "kappa is negative, -0.0003"
    )
    assert refusal(list(zip(loads, law(loads, 1.0, -0.0005, 0.01), strict=True))).startswith(
        "sigma is negative, -0.0005"
    )


def test_what_does_not_bend_is_refused() -> None:
    loads = np.arange(1.0, 17)
    for curve in (loads * 3, law(loads, 1.0, 0.1, 0.0)):
        assert refusal(list(zip(loads, curve, strict=True))).startswith("throughput does not bend enough from 1 to 16")


@given(st.integers(4, 20), st.integers(0, 100))
def test_a_plateau_is_refused(cap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(load), min(load, cap) * (1 + 0.002 * rng.normal())) for load in range(1, 33)]
    said = refusal(points)
    assert "(a plateau)" in said
    level = float(said.split("level from ")[1].split()[0])
    assert abs(level - cap) <= 1


def test_the_same_at_any_load_is_a_plateau() -> None:
    assert refusal([(load, 5.0) for load in range(1, 9)]).startswith(
        "throughput is level from 1 threads on (a plateau)"
    )


@given(SIGMA, KAPPA)
def test_the_law_itself_is_no_plateau(sigma: float, kappa: float) -> None:
    fit(drawn(1.0, sigma, kappa, noise=0.0002))


def test_who_is_ahead_until_when() -> None:
    osv, linux = fit(drawn(1.3, 0.08, 0.01, noise=0.01)), fit(drawn(1.0, 0.05, 0.002, noise=0.01, seed=2))
    found = lead(osv, linux)
    assert found is not None
    assert found.leads == (0, 1)
    (crossing,) = found.crossings
    truth = _level((1.3, 0.08, 0.01), (1.0, 0.05, 0.002))
    assert crossing.low is not None
    assert crossing.high is not None
    assert crossing.low < truth < crossing.high < truth + 1
    said = found.said(("osv", "linux"))
    assert said.startswith(f"osv is ahead until N = {crossing}, then linux (measured from 1 to 24 threads)")
    back = lead(linux, osv)
    assert back is not None
    assert back.leads == (1, 0)
    assert back.crossings[0].value == pytest.approx(crossing.value)


def test_exact_curves_cross_at_a_point() -> None:
    found = lead(fit(drawn(1.3, 0.08, 0.01)), fit(drawn(1.0, 0.05, 0.002)))
    assert found is not None
    (crossing,) = found.crossings
    assert (crossing.low, crossing.high) == pytest.approx((crossing.value, crossing.value), abs=1e-6)


def test_no_crossover_is_said() -> None:
    slow, fast = fit(drawn(1.0, 0.05, 0.002)), fit(drawn(2.0, 0.05, 0.002, last=12))
    found = lead(slow, fast)
    assert found is not None
    assert found.said(("a", "b"), "clients") == (
        "b is ahead at all numbers from 1 to 12 clients: no crossover in the measured range."
    )


def test_the_same_guest_again_is_not_told_apart() -> None:
    one = fit(drawn(1.0, 0.05, 0.002, noise=0.01))
    for other in (one, fit(drawn(1.0, 0.05, 0.002, noise=0.01, seed=2))):
        found = lead(one, other)
        assert found is not None
        assert found.said(("a", "b")) == "a and b cannot be told apart from 1 to 24 threads."


def test_nothing_in_common_is_not_compared() -> None:
    low, high = drawn(1.0, 0.05, 0.01, last=8), drawn(1.0, 0.05, 0.01, last=40)[8:]
    assert lead(fit(low), fit(high)) is None


@settings(deadline=None)
@given(SIGMA, KAPPA, SIGMA, KAPPA, st.floats(0.5, 2))
@example(0.1, 0.01, 0.2, 0.02, 1.0)  # level at the first load
@example(0.2, 0.02, 0.1, 0.01, 1.0)
@example(0.25, 0.03125, 0.5, 0.032507923579001806, 1.0)  # ... but for the last bit
def test_between_crossings_the_leader_has_more(
    sigma: float, kappa: float, other_sigma: float, other_kappa: float, rate: float
) -> None:
    one, other = fit(drawn(1.0, sigma, kappa)), fit(drawn(rate, other_sigma, other_kappa))
    found = lead(one, other)
    assert found is not None
    assume(found.apart)
    edges = [1.0, *(crossing.value for crossing in found.crossings), 24.0]
    assert all(before != after for before, after in pairwise(found.leads))
    for place, who in enumerate(found.leads):
        middle = (edges[place] + edges[place + 1]) / 2
        ahead: Scaling = (one, other)[who]
        behind: Scaling = (one, other)[1 - who]
        assert ahead.at(middle) >= behind.at(middle) * (1 - 1e-9)
