"""The two parts of a difference add up to it, and do not depend on which side is the base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.split import Floats, split

COSTS = st.floats(min_value=0, max_value=1e9)
# Calls per op are a whole number over a whole number of ops: none, or not absurdly few.
CALLS = st.just(0.0) | st.floats(min_value=1e-6, max_value=1e6)
SIDES = st.lists(st.tuples(CALLS, COSTS, CALLS, COSTS), min_size=1, max_size=30).map(lambda rows: np.array(rows).T)


@given(SIDES)
def test_parts_add_up_to_the_whole(sides: Floats) -> None:
    calls0, cost0, calls1, cost1 = sides
    parts = split(calls0, cost0, calls1, cost1)
    # Of tiny numbers of calls, count and unit part are huge and cancel: the error is relative to the parts.
    largest = np.abs(parts.count) + np.abs(parts.unit) + cost0 + cost1 + 1
    assert (np.abs(parts.count + parts.unit + parts.structural - (cost1 - cost0)) <= 1e-9 * largest).all()


@given(SIDES)
def test_exchanging_the_sides_only_changes_signs(sides: Floats) -> None:
    calls0, cost0, calls1, cost1 = sides
    there, back = split(calls0, cost0, calls1, cost1), split(calls1, cost1, calls0, cost0)
    for one, other in ((there.count, back.count), (there.unit, back.unit), (there.structural, back.structural)):
        np.testing.assert_allclose(one, -other, rtol=1e-12, atol=0)


@given(SIDES)
def test_a_side_against_itself_is_nothing(sides: Floats) -> None:
    calls, cost = sides[:2]
    parts = split(calls, cost, calls, cost)
    assert not parts.count.any()
    assert not parts.unit.any()
    assert not parts.structural.any()


@given(SIDES)
def test_a_cell_without_calls_on_a_side_is_structural_and_only_then(sides: Floats) -> None:
    calls0, cost0, calls1, cost1 = sides
    parts = split(calls0, cost0, calls1, cost1)
    none = (calls0 == 0) | (calls1 == 0)
    assert not parts.count[none].any()
    assert not parts.unit[none].any()
    assert not parts.structural[~none].any()


@pytest.mark.parametrize(
    ("calls0", "cost0", "calls1", "cost1", "count", "unit"),
    [
        (1, 100, 2, 200, 100, 0),  # twice as often, the same each
        (1, 100, 1, 150, 0, 50),  # as often, dearer
        (2, 200, 1, 200, -150, 150),  # half as often, twice as dear: no difference, two causes
        (1, 10, 3, 60, 30, 20),  # (3-1) * (10+20)/2 and (20-10) * (1+3)/2
    ],
)
def test_by_hand(calls0: float, cost0: float, calls1: float, cost1: float, count: float, unit: float) -> None:
    parts = split(*(np.array([float(value)]) for value in (calls0, cost0, calls1, cost1)))
    assert (parts.count[0], parts.unit[0], parts.structural[0]) == (count, unit, 0)
