"""Modelled cycles: hand-computed figures, and what holds whatever the counts and prices are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.cycles import Modelled, Range, bounds, modelled
from analysis.prices import CLASSES, Price, PriceList
from analysis.split import Floats

FEW = ("instruction", "string_bytes", "iret", "lock")
COUNTS = st.lists(st.integers(0, 10_000), min_size=len(FEW), max_size=len(FEW))
PRICES = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 500) | st.just(math.inf)), min_size=len(FEW), max_size=len(FEW)
)
SIGNS = {"more": "fewer", "fewer": "more", "same": "same", "depends on prices": "depends on prices"}


def counts(**named: float) -> Floats:
    return np.array([float(named.get(name, 0)) for name in CLASSES])


def prices(**named: tuple[float, float]) -> PriceList:
    return PriceList("toy", "Toy", {name: Price(*ends, ("here",), "so") for name, ends in named.items()}, {})


def few(values: list[int]) -> Floats:
    return counts(**dict(zip(FEW, values, strict=True)))


def some(ends: list[tuple[int, float]]) -> PriceList:
    """With ends in order; a class that is not among FEW has no price."""
    return prices(**{name: (min(one), max(one)) for name, one in zip(FEW, ends, strict=True)})


def corners(delta: Floats, ends: Mapping[str, Price]) -> list[float]:
    """The difference at every combination of lowest and highest prices."""
    at = [(float(delta[CLASSES.index(name)]), price) for name, price in ends.items()]
    return [sum(count * price for (count, _), price in zip(at, chosen, strict=True) if count)
            for chosen in itertools.product(*((price.low, price.high) for _, price in at))]  # fmt: skip


def test_a_sum_by_hand() -> None:
    toy = prices(instruction=(0.5, 2), string_bytes=(1 / 32, 1 / 4), syscall=(38, 82), swapgs=(26, 26))
    base = counts(instruction=100, syscall=1, swapgs=2)
    other = counts(instruction=60, string_bytes=64)
    found = modelled(base, other, toy)
    assert found.machine == "toy"
    assert found.base == Range(0.5 * 100 + 38 + 52, 2 * 100 + 82 + 52)
    assert found.other == Range(0.5 * 60 + 2, 2 * 60 + 16)
    # -40 instructions, +64 bytes, -1 SYSCALL, -2 SWAPGS
    assert found.delta == Range(-80 + 2 - 82 - 52, -20 + 16 - 38 - 52)
    assert (found.sign, found.decider, found.unlimited) == ("fewer", None, {})


def test_ranges_that_overlap_and_a_sign_that_is_certain() -> None:
    toy = prices(instruction=(0.2, 6), lock=(18, 26))
    found = modelled(counts(instruction=1000, lock=5), counts(instruction=1010, lock=5), toy)
    assert found.base.high > found.other.low
    assert found.delta == Range(2, 60)  # the prices of both sides are the same ones
    assert found.sign == "more"


def test_a_sign_that_depends_says_on_which_price_and_where_it_turns() -> None:
    toy = prices(instruction=(0.5, 2), lock=(20, 20), iret=(100, 600))
    found = modelled(counts(instruction=400), counts(instruction=100, lock=1, iret=1), toy)
    assert found.delta == Range(100 + 20 - 600, 600 + 20 - 150)
    assert found.sign == "depends on prices"
    assert found.decider is not None
    # 300 instructions against 20 and an IRET, from 150 to 600: iret is the wider, by 500 to 450.
    assert (found.decider.name, found.decider.delta) == ("iret", 1)
    assert (found.decider.below, found.decider.above) == (130, 580)
    cheap, dear = (prices(instruction=(0.5, 2), lock=(20, 20), iret=ends) for ends in ((100, 130), (580, 600)))
    assert modelled(counts(instruction=400), counts(instruction=100, lock=1, iret=1), cheap).sign == "fewer"
    assert modelled(counts(instruction=400), counts(instruction=100, lock=1, iret=1), dear).sign == "more"


def test_what_has_no_price_is_not_nothing() -> None:
    toy = prices(instruction=(0.5, 2))
    found = modelled(counts(instruction=100), counts(instruction=10, rdmsr=3, wrmsr=1), toy)
    assert found.base == Range(50, 200)
    assert found.other == Range(5, math.inf)
    assert found.delta == Range(-180, math.inf)
    assert found.unlimited == {"rdmsr": (0, 3), "wrmsr": (0, 1)}
    assert found.sign == "depends on prices"
    assert found.decider is not None
    assert (found.decider.name, found.decider.below) == ("rdmsr", None)
    assert found.decider.above == 60  # 180 / 3, even if MSR writes are free


def test_what_has_no_price_and_is_the_same_on_both_sides_does_not_matter() -> None:
    toy = prices(instruction=(0.5, 2))
    found = modelled(counts(instruction=100, iret=3), counts(instruction=10, iret=3), toy)
    assert found.delta == Range(-180, -45)
    assert found.sign == "fewer"
    assert found.unlimited == {"iret": (3, 3)}
    assert (found.base.high, found.other.high) == (math.inf, math.inf)


def test_two_without_a_limit_leave_nothing_certain() -> None:
    found = modelled(counts(iret=5), counts(rdmsr=7, instruction=1), prices(instruction=(0.5, 2)))
    assert found.delta == Range(-math.inf, math.inf)
    assert found.decider is not None
    assert (found.decider.name, found.decider.below, found.decider.above) == ("rdmsr", None, None)


def test_the_same_is_the_same_even_without_prices() -> None:
    found = modelled(counts(iret=5, lock=0.1 + 0.2), counts(iret=5, lock=0.3), prices(instruction=(0.5, 2)))
    assert (found.delta, found.sign, found.decider) == (Range(0, 0), "same", None)


@given(COUNTS, COUNTS, PRICES)
def test_the_range_of_a_difference_is_that_of_all_prices(base: list[int], other: list[int],
                                                         ends: list[tuple[int, float]]) -> None:  # fmt: skip
    toy = some(ends)
    found = modelled(few(base), few(other), toy).delta
    each = corners(few(other) - few(base), toy.prices)
    finite = [one for one in each if not math.isnan(one)]  # inf - inf: anything
    low, high = (-math.inf, math.inf) if len(finite) < len(each) else (min(each), max(each))
    assert (found.low, found.high) == (low, high)


@given(COUNTS, COUNTS, PRICES)
def test_exchanging_the_sides_only_changes_signs(base: list[int], other: list[int],
                                                 ends: list[tuple[int, float]]) -> None:  # fmt: skip
    toy = some(ends)
    there, back = modelled(few(base), few(other), toy), modelled(few(other), few(base), toy)
    assert back.sign == SIGNS[there.sign]
    assert (back.base, back.other) == (there.other, there.base)
    assert (back.delta.low, back.delta.high) == (-there.delta.high, -there.delta.low)
    if there.decider and back.decider:
        assert (there.decider.name, there.decider.delta) == (back.decider.name, -back.decider.delta)
        assert (there.decider.below, there.decider.above) == (back.decider.below, back.decider.above)
    assert (there.decider is None) == (back.decider is None)


@given(COUNTS, COUNTS, PRICES, PRICES)
def test_a_wider_price_never_makes_a_sign_certain(base: list[int], other: list[int], ends: list[tuple[int, float]],
                                                  more: list[tuple[int, float]]) -> None:  # fmt: skip
    narrow = modelled(few(base), few(other), some(ends))
    hull = [(min(*one, *two), max(*one, *two)) for one, two in zip(ends, more, strict=True)]
    wide = modelled(few(base), few(other), some(hull))  # type: ignore[arg-type]
    assert wide.delta.low <= narrow.delta.low <= narrow.delta.high <= wide.delta.high
    # With prices that may be nothing, "more" may become "same or more": never the other way.
    assert wide.sign in (narrow.sign, "depends on prices") or narrow.sign == "same"
    if narrow.sign == "depends on prices":
        assert wide.sign == "depends on prices"


@given(COUNTS, COUNTS, PRICES)
def test_taking_a_price_away_never_makes_a_sign_certain(base: list[int], other: list[int],
                                                        ends: list[tuple[int, float]]) -> None:  # fmt: skip
    toy = some(ends)
    signs = [modelled(few(base), few(other), PriceList("toy", "Toy", left, {})).sign
             for name in FEW if (left := {key: price for key, price in toy.prices.items() if key != name})]  # fmt: skip
    if modelled(few(base), few(other), toy).sign == "depends on prices":
        assert set(signs) == {"depends on prices"}


@given(COUNTS, COUNTS, COUNTS, PRICES, st.integers(1, 100))
def test_counts_add_up_and_scale(one: list[int], two: list[int], three: list[int], ends: list[tuple[int, float]],
                                 times: int) -> None:  # fmt: skip
    toy = some(ends)
    apart = [modelled(few(one), few(values), toy) for values in (two, three)]
    whole = modelled(2 * few(one), few(two) + few(three), toy)
    assert whole.other.low == sum(part.other.low for part in apart)
    assert whole.other.high == sum(part.other.high for part in apart)
    # Parts of a difference may use a price's ends in opposite ways, the whole may not.
    assert whole.delta.low >= sum(part.delta.low for part in apart)
    assert whole.delta.high <= sum(part.delta.high for part in apart)
    many = modelled(times * few(one), times * few(two), toy)
    assert (many.delta.low, many.delta.high) == (times * apart[0].delta.low, times * apart[0].delta.high)
    assert (many.sign, many.base.low) == (apart[0].sign, times * apart[0].base.low)


@given(COUNTS, COUNTS, PRICES)
def test_it_is_never_wider_than_the_difference_of_the_ranges(base: list[int], other: list[int],
                                                             ends: list[tuple[int, float]]) -> None:  # fmt: skip
    found = modelled(few(base), few(other), some(ends))
    assert found.delta.low >= found.other.low - found.base.high
    assert found.delta.high <= found.other.high - found.base.low


@given(COUNTS, COUNTS, PRICES)
def test_beyond_where_the_decider_turns_the_sign_is_certain(base: list[int], other: list[int],
                                                            ends: list[tuple[int, float]]) -> None:  # fmt: skip
    toy = some(ends)
    found = modelled(few(base), few(other), toy)
    decider = found.decider
    if decider is None:
        return
    price = toy.prices[decider.name]
    above = "more" if decider.delta > 0 else "fewer"

    def sign(low: float, high: float) -> str:
        changed: Modelled = modelled(few(base), few(other), PriceList(
            "toy", "Toy", {**toy.prices, decider.name: Price(low, high, ("here",), "so")}, {}))  # fmt: skip
        return changed.sign

    if decider.above is not None:
        assert price.low <= decider.above < price.high
        assert sign(decider.above + 1e-6 * (1 + decider.above), price.high) == above
    if decider.below is not None:
        assert price.low < decider.below <= price.high
        assert sign(price.low, decider.below - min(1e-6 * (1 + decider.below), decider.below - price.low)) in (
            SIGNS[above], "same")  # fmt: skip


def test_bounds_of_many_rows_are_those_of_each() -> None:
    toy = prices(instruction=(0.5, 2), iret=(0, math.inf))
    rows = np.stack([counts(instruction=3), counts(instruction=-3, iret=1), counts(iret=-1)])
    least, most = bounds(rows, *toy.ends)
    assert least.tolist() == [1.5, -6, -math.inf]
    assert most.tolist() == [6, math.inf, 0]
