"""The judge of nothing: a finding where nothing is, is told, and what is planted is found or not, as it is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.compare import compare
from analysis.comparison import Pair
from probes import recording
from tests import synthetic
from tests.synthetic import Phase
from tests.truth import __main__ as truth
from tests.truth import nothing
from tests.truth.nothing import Held, Outcome

SIDES = nothing.seeds(0)
NULL, FILES, PAGES = range(3)
Recorded = Callable[..., tuple[list[Held], list[Held]]]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Gives both sides of a pair: synthetic runs of the same guest from the pair's seeds."""

    def sides(base: list[Phase], other: list[Phase] | None = None) -> tuple[list[Held], list[Held]]:
        for seeds, phases in zip(SIDES, (base, other or base), strict=True):
            synthetic.record(tmp_path, "linux", phases, tuple(seeds))
        held = {place: recording.read(place) for place in recording.find(tmp_path)}
        names = ("ledger", "phases", "calls", "costly")
        tables = [Held(one.directory, one.manifest, {name: one.table(name) for name in names}) for one in held.values()]
        return ([one for one in tables if one.seed in SIDES[0]],
                [nothing.named(one, "linux+again") for one in tables if one.seed in SIDES[1]])  # fmt: skip

    return sides


def noisy(width: int) -> list[Phase]:
    """Give a tour in which ``get_page`` depends on the seed, by up to ``width`` in all for each seed from the last."""
    phases = synthetic.tour()
    phases[PAGES].jitter["page-fault", "mm-alloc", "get_page"] = width
    return phases


def pair_of(sides: tuple[list[Held], list[Held]]) -> Pair:
    return compare([*sides[0], *sides[1]], "linux", []).pairs[0]


# -- pairs -------------------------------------------------------------------------------------------------------------


def test_no_two_pairs_share_a_seed_and_none_is_used_elsewhere() -> None:
    every = [seed for number in range(nothing.PAIRS) for side in nothing.seeds(number) for seed in side]
    assert len(every) == len({*every}) == 2 * nothing.SIDE * nothing.PAIRS
    assert min(every) >= nothing.FIRST > 1000


def test_every_pair_has_each_size_of_memory_once_and_chance_divides_them() -> None:
    from profiler.plan import Seed

    divided = set()
    for number in range(nothing.PAIRS):
        base, other = nothing.seeds(number)
        assert len(base) == len(other) == 8
        assert len({Seed(seed).memory_mib for seed in [*base, *other]}) == 16
        divided.add(tuple((seed - nothing.FIRST) % 16 for seed in base))
    assert len(divided) == nothing.PAIRS


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0, 300])
def test_of_the_same_nothing_is_said(recorded: Recorded, width: int) -> None:
    assert list(nothing.said(pair_of(recorded(noisy(width))))) == []


def test_a_finding_where_nothing_is_is_told_of_its_phase_and_of_all(recorded: Recorded) -> None:
    changed = synthetic.tour()
    changed[PAGES].work["page-fault", "mm-alloc", "get_page"] += 30
    found = list(nothing.said(pair_of(recorded(synthetic.tour(), changed))))
    assert [(one.phase, one.finding.layer, round(100 * one.share, 1)) for one in found[:1]] == [
        ("fresh-pages", "mm-alloc", 3.3)
    ]
    assert "" in [one.phase for one in found]
    outcome = Outcome("linux", 0, ("null-call", "files", "fresh-pages"), (1, 1), tuple(found), {0.005: ("files",)})
    told = nothing.table([outcome], [0.005])
    assert told.splitlines()[1].split() == ["linux", "1", "3", "1", str(len(found)), "33", "%"]
    assert "MISS: linux, pair 0, fresh-pages: 3.34 % where nothing is: " in told
    assert "MISS: linux, pair 0, over all phases: " in told
    assert "0.5 % is found in fewer than half of the pairs of null-call, fresh-pages" in told


# -- what is planted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "found"), [(0.0005, []), (0.005, ["null-call", "files"]), (0.2, None)])
def test_what_is_planted_is_found_if_it_is_more_than_seeds_move(
    recorded: Recorded, size: float, found: list[str] | None
) -> None:
    base, other = recorded(noisy(3000))  # 15 seeds apart that is 1.3 % of the phase
    pair = pair_of((base, other))
    places = nothing.largest([*base, *other])
    assert places[PAGES] == ("page-fault", "mm-alloc", "get_page")
    sizes = {phase.number: size * phase.instructions.base.mean * phase.ops for phase in pair.phases}
    planted = [nothing.plant(one, places, sizes) for one in other]
    changed = pair_of((base, planted))
    grown = changed.phases[NULL].instructions.delta - pair.phases[NULL].instructions.delta
    assert grown == pytest.approx(size * pair.phases[NULL].instructions.base.mean, rel=0.01)
    assert list(nothing.discovered(changed, places)) == (
        ["null-call", "files", "fresh-pages"] if found is None else found
    )


def test_what_is_planted_in_a_function_of_cxx_is_found_under_the_name_that_is_shown(recorded: Recorded) -> None:
    phases = synthetic.tour()
    phases[PAGES].work["page-fault", "mm-alloc", "_ZN5sched3cpu8scheduleEv"] = 900
    base, other = recorded(phases)
    places = nothing.largest([*base, *other])
    assert places[PAGES][2] == "_ZN5sched3cpu8scheduleEv"
    changed = pair_of((base, [nothing.plant(one, places, dict.fromkeys(places, 50_000)) for one in other]))
    assert "fresh-pages" in list(nothing.discovered(changed, places))


def test_what_is_found_elsewhere_or_the_other_way_is_not_what_was_planted(recorded: Recorded) -> None:
    base, other = recorded(synthetic.tour())
    places = nothing.largest([*base, *other])
    for size, elsewhere in ((-50_000, places), (50_000, {**places, NULL: ("getppid", "process", "__x64_sys_getppid")})):
        changed = pair_of((base, [nothing.plant(one, places, dict.fromkeys(places, size)) for one in other]))
        assert "null-call" not in list(nothing.discovered(changed, elsewhere))


def test_a_function_that_some_runs_lack_is_not_the_place(recorded: Recorded) -> None:
    base, other = recorded(synthetic.tour())
    rows = base[0].tables["ledger"].filter([
        row["function"] != "handle_mm_fault" for row in base[0].tables["ledger"].to_pylist()])  # fmt: skip
    lacking = replace(base[0], tables={**base[0].tables, "ledger": rows})
    assert nothing.largest([*base, *other])[PAGES][2] == "handle_mm_fault"
    assert nothing.largest([lacking, *base[1:], *other])[PAGES][2] == "get_page"


def test_the_exit_code_says_whether_anything_was_said(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = synthetic.tour()
    changed[PAGES].work["page-fault", "mm-alloc", "get_page"] += 30
    told = tuple(nothing.said(pair_of(recorded(synthetic.tour(), changed))))
    wrong: set[tuple[str, int]] = set()
    monkeypatch.setattr(truth, "absent", lambda _: "")
    monkeypatch.setattr(nothing, "measure", lambda *_: None)
    monkeypatch.setattr(nothing, "outcome", lambda guest, number, _: Outcome(
        guest, number, ("fresh-pages",), (8, 8), told if (guest, number) in wrong else (),
        dict.fromkeys(nothing.SIZES, ())))  # fmt: skip
    words = ["--only", "nothing", "--pairs", "2", "--out", str(tmp_path)]
    assert truth.main(words) == 0
    assert "MISS" not in capsys.readouterr().out
    wrong.add(("freebsd", 1))
    assert truth.main(words) == 1
    assert "MISS: freebsd, pair 1, fresh-pages" in capsys.readouterr().out
