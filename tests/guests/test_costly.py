"""Costly instructions on real kernels: known numbers of them in user code, and what a call of each kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from probes.recording import Recording
from tests.guests.common import failed, record, spec_of

pytestmark = pytest.mark.timeout(900)  # the first run fetches a kernel
N, PAGES = 1003, 211  # ops in apps/costly
IN_USER_CODE = {
    "pauses": {"pause": N},
    "locks": {"lock": 2 * N},
    "exchanges": {"lock": N},
    "faulting": {"lock": 2 * PAGES, "pause": 2 * PAGES},
    "faulting_last": {"xsave": PAGES},
}
FUNCTIONS = (*IN_USER_CODE, "neither")


def counted(seen: Recording) -> pd.DataFrame:
    frame = seen.frame("costly")
    return frame.assign(**{name: frame[name].astype(str) for name in frame if frame[name].dtype == "category"})


def by_function(costly: pd.DataFrame) -> dict[str, dict[str, int]]:
    sums = costly.groupby(["function", "instruction"])["count"].sum()
    return {name: sums[name].to_dict() for name in costly["function"].unique()}


@pytest.mark.parametrize("mode", ["exact", "block"])
@pytest.mark.parametrize("spec", ["linux", "freebsd", "osv", "osv:static"])
def test_what_user_code_executes_is_counted_to_the_last(tmp_path: Path, spec: str, mode: str) -> None:
    seen = record("costly", spec_of(spec), tmp_path, "--mode", mode)
    assert failed(seen) == []
    costly = counted(seen)
    user = costly[(costly["space"] == "user") & costly["function"].isin(FUNCTIONS)]
    want = dict(IN_USER_CODE)
    if mode == "block":  # where they fault they are counted twice
        user = user[~user["function"].isin(["faulting", "faulting_last"])]
        want = {name: counts for name, counts in want.items() if not name.startswith("faulting")}
    assert by_function(user) == want


@pytest.fixture(scope="module")
def tour_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recording]:
    """Gives two phases of the tour in a guest, recorded once."""

    @cache
    def recorded(spec: str) -> Recording:
        return record("tour", spec_of(spec), tmp_path_factory.mktemp("tour"), "--phases", "null-call,clock-read")

    return recorded


def in_phase(seen: Recording, name: str) -> pd.Series:
    """What is said of a phase."""
    return seen.phases.set_index("name").loc[name]


@pytest.mark.parametrize("spec", ["linux", "linux+pti=on", "freebsd", "freebsd+vm.pmap.pti=1", "osv", "osv:static"])
def test_a_null_call_goes_in_and_comes_back(tour_of: Callable[[str], Recording], spec: str) -> None:
    seen = tour_of(spec)
    ops = int(in_phase(seen, "null-call")["ops"])
    costly = counted(seen)
    of_calls = costly[costly["operation"] == "getppid"].groupby("instruction")["count"].sum().to_dict()
    if spec == "osv":  # the call is a call
        assert of_calls == {}
    elif spec == "osv:static":  # it saves what a thread has of extended state around each call, and leaves by a jump
        assert of_calls == {"syscall": ops, "xsave": 2 * ops}
    else:
        isolated = {"cr3": 2 * ops} if "pti" in spec else {}
        assert of_calls == {"syscall": ops, "swapgs": 2 * ops, "sysret": ops, **isolated}


def test_page_table_isolation_is_off_and_a_variant_switches_it_on(tour_of: Callable[[str], Recording]) -> None:
    # The kernel heeds pti=on and hands it to the app all the same; that is no option it does not know.
    off, on = (tour_of(spec) for spec in ("linux", "linux+pti=on"))
    assert [seen.manifest["guest_reports"]["pti"] for seen in (off, on)] == ["off", "on"]
    each = [in_phase(seen, "null-call")["instructions"] / 10_007 for seen in (off, on)]
    assert 2 < each[1] - each[0] < 40, "two writes of CR3 and what leads to them, in every call"


@pytest.mark.parametrize(("spec", "calls"), [("osv", 1), ("osv:static", 1), ("linux", 0)])
def test_reading_a_clock_that_is_a_device(tour_of: Callable[[str], Recording], spec: str, calls: int) -> None:
    seen = tour_of(spec)
    ops = int(in_phase(seen, "clock-read")["ops"])
    costly = counted(seen)
    mmio = costly[(costly["instruction"] == "mmio") & (costly["operation"] == "clock_gettime")]
    assert mmio["count"].sum() == calls * ops
    assert set(mmio["layer"]) <= {"emulation"}
