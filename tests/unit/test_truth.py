"""The judge of planted causes: what names the cause is right, and whatever else is said is a miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.compare import compare
from analysis.comparison import Pair
from images import GuestSpec, apps
from probes import recording
from profiler.errors import ArtifactUnavailable, UsageError
from profiler.subject import Known
from tests import synthetic
from tests.synthetic import Phase
from tests.truth import __main__ as truth
from tests.truth import causes, run
from tests.truth.causes import Cause, Hit, Misstated
from tests.truth.judge import judge, table

HOOKS = Cause(
    "hooks", "linux", "linux+x=1", "every system call pays for them",
    (Hit("null-call", ("getppid",), "security", "instructions"),), ("fresh-pages",),
)  # fmt: skip
CLEARING = Cause(
    "clearing", "linux", "linux+x=1", "pages are not cleared",
    (Hit("fresh-pages", ("page-fault",), "mm-alloc", "rep_bytes"),), ("null-call", "files"),
)  # fmt: skip
NULL, FILES, PAGES = range(3)


@pytest.fixture
def against(tmp_path: Path) -> Callable[..., Pair]:
    """Gives the comparison of the tour with another, over two seeds."""

    def compared(other: list[Phase], base: list[Phase] | None = None) -> Pair:
        synthetic.record(tmp_path, "linux", base or synthetic.tour(), (0, 1))
        synthetic.record(tmp_path, "linux+x=1", other, (0, 1))
        recordings = [recording.read(place) for place in recording.find(tmp_path)]
        return compare(recordings, "linux", []).pairs[0]

    return compared


def misses(cause: Cause, pair: Pair) -> dict[str, str]:
    return {one.phase: one.miss for one in judge(cause, pair) if one.miss}


# -- what is right -----------------------------------------------------------------------------------------------------


def test_a_cause_that_is_named_is_right(against: Callable[..., Pair]) -> None:
    told = judge(HOOKS, against(synthetic.audit(synthetic.tour())))
    assert [(one.phase, one.miss, one.beside) for one in told] == [("null-call", "", ()), ("fresh-pages", "", ())]
    assert told[0].first is not None
    assert told[0].first.change.delta == pytest.approx(220)


def test_so_is_one_that_shows_in_string_bytes(against: Callable[..., Pair]) -> None:
    pair = against(synthetic.no_clearing(synthetic.tour()))
    assert misses(CLEARING, pair) == {}
    in_other_cost = Cause(
        "clearing", "linux", "linux+x=1", "why", (Hit("fresh-pages", ("page-fault",), "mm-alloc", "instructions"),),
        ("files",),
    )  # fmt: skip
    assert "another finding is first; this is number 2" in misses(in_other_cost, pair)["fresh-pages"]


# -- what is a miss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "layer"), [("getpid", "security"), ("getppid", "entry")])
def test_another_cell_is_a_miss(against: Callable[..., Pair], operation: str, layer: str) -> None:
    wrong = Cause(
        "x", "linux", "linux+x=1", "why", (Hit("null-call", (operation,), layer, "instructions"),), ("files",)
    )
    assert "another finding is first; this is none at all" in misses(
        wrong, against(synthetic.audit(synthetic.tour()))
    )["null-call"]  # fmt: skip


def test_a_second_place_is_a_miss(against: Callable[..., Pair]) -> None:
    phases = synthetic.audit(synthetic.tour())
    phases[NULL].work["getppid", "sched", "reschedule"] = 500
    assert misses(HOOKS, against(phases)) == {"null-call": "another finding is first; this is number 2"}


@pytest.mark.parametrize(("beside", "miss"), [(50, ""), (60, "79 %"), (-30, ""), (-40, "122 %")])
def test_the_first_has_to_be_nearly_all(against: Callable[..., Pair], beside: int, miss: str) -> None:
    """Of 220: what is beside it, or makes up for it, may be a fifth of what is left."""
    phases = synthetic.audit(synthetic.tour())
    phases[NULL].work["getppid", "entry", "entry_SYSCALL_64"] += beside
    found = misses(HOOKS, against(phases))
    assert found == ({"null-call": f"first, and {miss} of the difference"} if miss else {})


def test_nothing_at_all_is_a_miss(against: Callable[..., Pair]) -> None:
    assert misses(HOOKS, against(synthetic.tour())) == {"null-call": "no difference beyond the seed spread"}


def test_what_seeds_move_as_much_is_a_miss(against: Callable[..., Pair]) -> None:
    noisy = synthetic.tour()
    noisy[NULL].jitter["getppid", "entry", "entry_SYSCALL_64"] = 300 * noisy[NULL].ops
    assert misses(HOOKS, against(synthetic.audit(noisy), noisy)) == {
        "null-call": "no difference beyond the seed spread"
    }


def test_a_phase_that_did_not_run_is_a_miss(against: Callable[..., Pair]) -> None:
    phases = synthetic.audit(synthetic.tour())
    phases[PAGES].status, phases[PAGES].reason = "unsupported", "no pages"
    found = misses(HOOKS, against(phases))
    assert found == {"fresh-pages": "not compared: not supported by this guest, linux+x=1: no pages"}


# -- where nothing must be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [1, 10])
def test_a_finding_in_a_quiet_phase_is_a_miss(against: Callable[..., Pair], more: int) -> None:
    phases = synthetic.audit(synthetic.tour())
    phases[PAGES].work["page-fault", "mm-alloc", "get_page"] += more
    found = misses(HOOKS, against(phases))
    assert found.keys() == {"fresh-pages"}
    assert f"nothing was planted, {100 * more / (868 + more):.1f} % of the phase" in found["fresh-pages"]


def test_even_if_another_makes_up_for_it(against: Callable[..., Pair]) -> None:
    phases = synthetic.audit(synthetic.tour())
    phases[PAGES].work["page-fault", "mm-alloc", "get_page"] += 30
    phases[PAGES].work["page-fault", "entry", "asm_exc_page_fault"] -= 30
    (told,) = [one for one in judge(HOOKS, against(phases)) if one.miss]
    assert (told.phase, len(told.beside)) == ("fresh-pages", 1)


def test_below_the_floor_it_is_quiet(against: Callable[..., Pair]) -> None:
    phases = synthetic.audit(synthetic.tour())
    phases[PAGES].jitter["page-fault", "mm-alloc", "get_page"] = 10 * phases[PAGES].ops
    assert misses(HOOKS, against(phases)) == {}


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_row_with_a_loud_quiet_phase_is_no_right_row(against: Callable[..., Pair]) -> None:
    phases = synthetic.audit(synthetic.tour())
    guests = {HOOKS.name: (HOOKS.base, HOOKS.other)}
    right = table(judge(HOOKS, against(phases)), guests)
    assert right.splitlines()[0] == "1 causes: 1 right, 0 missed"
    assert right.splitlines()[3].split() == [
        "hooks", "null-call", "getppid,", "security", "getppid,", "security", "+220.0", "100", "%", "1", "of", "1",
        "right",
    ]  # fmt: skip
    assert "MISS" not in right
    phases[PAGES].work["page-fault", "mm-alloc", "get_page"] += 30
    wrong = table(judge(HOOKS, against(phases)), guests)
    assert wrong.splitlines()[0] == "1 causes: 0 right, 1 missed"
    assert wrong.splitlines()[3].endswith("0 of 1  MISS")
    assert "MISS: hooks in fresh-pages: a finding where nothing was planted" in wrong
    assert "linux+x=1 executes 30 more instructions per op" in wrong


def test_the_exit_code_says_whether_all_is_right(
    against: Callable[..., Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs: dict[str, Pair] = {}
    monkeypatch.setattr(causes, "load", lambda _: [HOOKS, CLEARING])
    monkeypatch.setattr(truth, "measure", lambda *_: None)
    monkeypatch.setattr(truth, "compared", lambda cause, *_: pairs[cause.name])
    pairs["hooks"] = against(synthetic.audit(synthetic.tour()))
    pairs["clearing"] = pairs["hooks"]
    assert truth.main(["hooks", "--out", str(tmp_path)]) == 0
    assert truth.main(["--only", "causes", "--out", str(tmp_path)]) == 1
    assert "MISS: clearing in fresh-pages" in capsys.readouterr().out
    assert truth.main(["no such", "--out", str(tmp_path)]) == 2

    def not_recorded(*_: object) -> Pair:
        raise run.NotRecorded("linux+x=1 has no recording of seed 1")

    monkeypatch.setattr(truth, "compared", not_recorded)
    assert truth.main(["hooks", "--out", str(tmp_path)]) == 1
    assert "null-call, fresh-pages: linux+x=1 has no recording of seed 1" in capsys.readouterr().out


def test_a_kernel_that_is_not_here_is_neither_right_nor_wrong(
    against: Callable[..., Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))  # where nobody has added a kernel
    elsewhere = replace(HOOKS, name="elsewhere", base="osv:libc", other="osv:libc+trace=x")
    assert (run.lacking(elsewhere), run.lacking(HOOKS)) == ("no osv here", "")
    measured: list[list[Cause]] = []
    pair = against(synthetic.audit(synthetic.tour()))
    monkeypatch.setattr(causes, "load", lambda _: [HOOKS, elsewhere])
    monkeypatch.setattr(truth, "measure", lambda here, *_: measured.append(here))
    monkeypatch.setattr(truth, "compared", lambda *_: pair)
    assert truth.main(["--only", "causes", "--out", str(tmp_path)]) == 0
    assert measured == [[HOOKS]]
    said = capsys.readouterr().out
    assert said.startswith("2 causes: 1 right, 0 missed, 1 not judged\n")
    assert "0 of 1  not judged: no osv here" in said
    assert "MISS" not in said
    assert truth.main(["elsewhere", "--out", str(tmp_path)]) == ArtifactUnavailable.exit_code, "nothing was judged"
    assert measured == [[HOOKS]]


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_guests_of_one_kernel_run_the_same_phases_and_each_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[str, list[str], Path]] = []

    def note(subject: Known, guests: str, seeds: str, out: Path, options: object) -> None:
        recorded.append((guests, [phase["name"] for phase in subject.phases(None)], out))
        if guests == "linux+x=1":
            raise UsageError("no such thing")

    monkeypatch.setattr(run, "record", note)
    pages = replace(HOOKS, name="pages", other="linux+y=1", hit=CLEARING.hit, quiet=("clock-read",))
    known = [replace(one, hit=(replace(one.hit[0], phase=phase),), quiet=("clock-read",))
             for one, phase in ((HOOKS, "null-call"), (pages, "page-touch"))]  # fmt: skip
    still = replace(known[0], name="still", app="beside", hit=(replace(HOOKS.hit[0], phase="sleep"),), quiet=("turns",))
    with pytest.raises(UsageError, match="no such thing"):
        run.measure([*known, still], "1", tmp_path)
    of_the_tour, beside = ["null-call", "clock-read", "page-touch"], ["sleep", "turns"]
    guests = [("linux", of_the_tour), ("linux", beside), ("linux+x=1", of_the_tour), ("linux+y=1", of_the_tour)]
    assert [one[:2] for one in recorded] == guests, "a failure does not stop the others"
    assert len({place for _, _, place in recorded}) == 3, "a campaign has its directory for itself"


def test_what_is_planted_is_linked_into_what_runs_on_linux_and_changes_nothing_else(tmp_path: Path) -> None:
    plain = run.app_of("beside")
    with run.planted(plain, "linux+planted_rule=1") as app:
        assert app.sources == (*plain.sources, "planted.c")
        assert (app.name, app.phases, app.cflags) == (plain.name, plain.phases, plain.cflags)
        functions = apps.build(app, "linux-static", tmp_path).own
        assert functions is not None
        assert {"planted", "beside_sleep_run"} <= functions


# -- what is planted ---------------------------------------------------------------------------------------------------


def test_the_causes_are_as_they_must_be() -> None:
    found = causes.load(run.phases_of)
    assert len(found) == len({one.name for one in found}) == len({(one.base, one.other) for one in found})
    for one in found:
        base, other = GuestSpec.parse(one.base), GuestSpec.parse(one.other)
        assert base.name == other.name
        assert len({*base.options} ^ {*other.options}) <= 2, f"{one.name}: one switch, with what it needs"


GOOD = """
[[cause]]
name = "x"
base = "linux"
other = "linux+x=1"
why = "because"
hit = [{ phase = "null-call", operations = ["getppid"], layer = "entry", cost = "instructions" }]
quiet = ["clock-read"]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"clock-read"', '"clock-rad"', "no phase clock-rad"),
        ('"clock-read"', '"null-call"', "named twice"),
        ('"clock-read"', "", "say why"),
        ('"because"', '""', "say why"),
        ('"entry"', '"entrance"', "no layer entrance"),
        ('"linux+x=1"', '"linux"', "nothing is planted"),
    ],
)
def test_a_cause_that_cannot_be_judged_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    place = tmp_path / "causes.toml"
    place.write_text(GOOD)
    assert causes.load(lambda _: ["null-call", "clock-read"], place)[0].hit == (
        Hit("null-call", ("getppid",), "entry", "instructions"),
    )
    place.write_text(GOOD.replace(old, new))
    with pytest.raises(Misstated, match=said):
        causes.load(lambda _: ["null-call", "clock-read"], place)
