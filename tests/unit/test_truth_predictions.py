"""The judge of predictions: what is off by more than a tenth is a miss, and so is a difference where none is."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from analysis.statistics import Change, spread
from probes.recording import Recording
from profiler import recorded
from tests.entered import AUDIT, EACH, Phase, Recorded, app_phases, audited, call, recorder, unit_phases
from tests.truth import __main__ as truth
from tests.truth import causes, predictions
from tests.truth.causes import Cause, Hit
from tests.truth.predictions import ENOUGH, Foretold, not_foretold, too_few, wrong
from tests.truth.run import phases_of


def known_phases() -> list[Phase]:
    """Give what an app does, all of it in functions that the units enter too."""
    return [call("write", 2, 1), call("getppid", 1)]


SURE = Change(spread([1000.0, 1002.0]), spread([1100.0, 1102.0]))
UNSURE = Change(spread([1000.0, 1200.0]), spread([1100.0, 1102.0]))


@pytest.mark.parametrize(
    ("change", "foreseen", "miss"),
    [
        (SURE, 100.0, ""),
        (SURE, 109.9, ""),
        (SURE, 90.1, ""),
        (SURE, 111.0, "off by +11 %"),
        (SURE, 89.0, "off by -11 %"),
        (SURE, -100.0, "off by -200 %"),
        (SURE, 0.0, "off by -100 %"),
        (UNSURE, 0.0, ""),
        (UNSURE, 199.0, ""),
        (UNSURE, 201.0, "nothing is there"),
        (UNSURE, -201.0, "nothing is there"),
    ],
)
def test_a_tenth_is_the_limit(change: Change, foreseen: float, miss: str) -> None:
    assert miss in wrong(change, foreseen)
    assert bool(wrong(change, foreseen)) == bool(miss)


@pytest.mark.parametrize(
    ("foreseen", "unsure", "left", "said"),
    [
        (1000.0, 0.0, 0.51, ""),
        (1000.0, 99.0, 0.51, ""),
        (1000.0, 99.0, 0.49, "of 49 % at most"),
        (1000.0, 101.0, 0.51, "sure to ±101"),
        (-1000.0, 101.0, 0.51, "sure to ±101"),
        (0.0, 0.0, 1.0, ""),
        (50.0, 49.0, 1.0, ""),  # nothing, surely: less than a thousandth of the base
        (50.0, 51.0, 1.0, "sure to ±51"),
    ],
)
def test_what_is_not_foretold_is_known_before(foreseen: float, unsure: float, left: float, said: str) -> None:
    assert not_foretold(100_000.0, foreseen, unsure, left, 0.5) == said


def test_a_prediction_that_is_planted_wrong_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call enters a hook on both guests, and it costs 220 more on the other: in the tour, in the app or not."""
    recording: Recorded = recorder(tmp_path)

    def hooked(spec: str, phases: list[Phase], cost: int) -> list[Recording]:
        with monkeypatch.context() as patch:
            patch.setitem(EACH, AUDIT, cost)
            return recording(spec, audited(phases, cost))

    units = [hooked("linux", unit_phases(), 100), hooked("linux+x=1", unit_phases(), 320)]
    base = hooked("linux", known_phases(), 100)
    for more, miss in ((220, ""), (205, ""), (260, "off by -15 %"), (150, "off by +47 %"), (0, "nothing is there")):
        other = hooked("linux+x=1", known_phases(), 100 + more)
        told = predictions.foretell("app", "audit", units, [base, other], "instructions")
        assert miss in told.miss
        assert (told.open, told.right) == ("", not miss)
        assert told.predicted == pytest.approx(220 * 3 * 101)
        assert told.by_units == pytest.approx(1)


def test_what_is_not_foretold_of_an_app_is_in_neither_sum(tmp_path: Path) -> None:
    """An operation in functions that the units never enter costs ten times what it is charged for elsewhere."""
    recording: Recorded = recorder(tmp_path)
    units = [recording("linux", unit_phases()), recording("linux+x=1", audited(unit_phases()))]
    phases = [*known_phases(), call("fcntl", 1)]
    dear = [*audited(known_phases()), *audited([call("fcntl", 1)], 2200)]  # entered ten times
    told = predictions.foretell("app", "audit", units, [recording("linux", phases), recording("linux+x=1", dear)],
                                "instructions")  # fmt: skip
    assert told.right
    assert told.change is not None
    assert told.whole is not None
    assert told.change.delta == pytest.approx(220 * 3 * 101)
    assert told.whole.delta == pytest.approx((220 * 3 + 2200) * 101)
    assert told.left == pytest.approx(3 / 4, abs=0.02)
    assert [(operation, round(known, 2)) for operation, _, known in told.rest] == [("fcntl", round(90 / 290, 2))]
    too_much = [recording(spec, app_phases()) for spec in ("linux", "linux+x=1")]  # five calls of fcntl
    assert "at most" in predictions.foretell("app", "audit", units, too_much, "instructions").open


def test_no_switch_of_the_plain_kernel_is_left_out() -> None:
    known = causes.load(phases_of)
    chosen = {name for name, _, _ in predictions.switches(known)}
    assert len(chosen) >= 6
    left = [one for one in known if one.name not in chosen]
    assert all(one.base != "linux" or one.app != "tour" or "+planted_" in one.other for one in left)
    assert ("audit of system calls", "linux-6.12+audit=1", "instructions") in predictions.switches(known, "linux-6.12")


def test_six_switches_must_be_right_in_each_app() -> None:
    many = [replace(told(), what=str(number)) for number in range(ENOUGH)]
    others = [replace(one, app="crowd") for one in many]
    assert not too_few([*many, *others])
    for bad in ({"miss": "off"}, {"open": "seeds"}, {"change": UNSURE}, {"what": "0"}):
        assert too_few([*many, *others[:-1], replace(others[-1], **bad)]) == f"crowd: only {ENOUGH - 1} switches"


# -- between kernels ---------------------------------------------------------------------------------------------------


def test_between_kernels_all_is_foretold_from_recordings_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(predictions.KEPT) - recorded.archives().keys() == {"crowd"}, "which is with the tests"
    monkeypatch.setattr(predictions, "KEPT", ("crowd", "redis"))  # the quickest
    rows = {(one.app, one.what): one for one in predictions.of_kernels([], tmp_path)}
    assert len(rows) == 6 + 2, "every guest from every other"
    assert not any(one.miss for one in rows.values())
    for base, other in permutations(["linux", "osv:libc", "freebsd"], 2):
        row = rows["crowd", f"{other} from {base}"]
        assert row.right != ((base, other) == ("freebsd", "osv:libc")), "that one is too small to be sure of"
    assert rows["redis", "osv:glibc from linux"].open.startswith("sure to ±"), "and so is this"
    assert rows["redis", "linux from osv:glibc"].open == "of 0 % at most", "they hardly overlap"


# -- the table ---------------------------------------------------------------------------------------------------------

ROW = Cause("audit", "linux", "linux+audit=1", "why", (Hit("null-call", ("getppid",), "security", "instructions"),),
            ("clock-read",))  # fmt: skip


def told(miss: str = "", change: Change | None = SURE, shut: str = "") -> Foretold:
    return Foretold("sqlite", "audit", "instructions", change, 104.0, 0.9, 0.344, SURE, (("fcntl", 0.165, 0.58),), miss,
                    shut)  # fmt: skip


def test_a_line_says_what_was_measured_and_what_was_foretold() -> None:
    rows = [told(), told("off"), told(shut="seeds"), told(change=UNSURE), told("no recording", None)]
    lines = predictions.table(rows, "planted").splitlines()
    assert [line.split()[2:] for line in lines[1:6]] == [
        ["1,001", "+100", "+9.99", "%", "+104", "90", "%", "+4.0", "%", "34", "%", "100", "%", "right"],
        ["1,001", "+100", "+9.99", "%", "+104", "90", "%", "+4.0", "%", "34", "%", "100", "%", "MISS:", "off"],
        ["1,001", "+100", "+9.99", "%", "+104", "90", "%", "+4.0", "%", "34", "%", "100", "%", "not", "foretold:",
         "seeds"],
        ["1,100", "+1", "+0.09", "%", "+104", "90", "%", "34", "%", "1", "%", "right:", "nothing"],
        ["MISS:", "no", "recording"],
    ]  # fmt: skip
    assert lines[7:] == ["1 right, 2 missed, 1 not foretold, 1 right that there is nothing",
                         "sqlite, not foretold: fcntl 16.5 % (known: 58 %)"]  # fmt: skip


def test_the_exit_code_says_whether_all_was_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_app: list[str] = []

    def rows(_: object, base: str, out: Path) -> list[Foretold]:
        return [replace(told("off" if {app, base} & {*wrong_app} else ""), app=app, what=str(number))
                for app in ("sqlite", "crowd") for number in range(1 if "few" in wrong_app else ENOUGH)]  # fmt: skip

    monkeypatch.setattr(causes, "load", lambda _: [ROW])
    monkeypatch.setattr(truth, "absent", lambda _: "")
    monkeypatch.setattr(predictions, "measure", lambda *_: None)
    monkeypatch.setattr(predictions, "of_switches", rows)
    monkeypatch.setattr(predictions, "of_kernels", lambda *_: [told("off" if "kernels" in wrong_app else "")])
    words = ["--only", "predictions", "--out", str(tmp_path)]
    assert truth.main(words) == 0
    assert "MISS" not in capsys.readouterr().out
    for name in ("crowd", "linux-6.12", "kernels", "few"):
        wrong_app[:] = [name]
        assert truth.main(words) == 1
        assert "MISS: " in capsys.readouterr().out
    wrong_app.clear()
    monkeypatch.setattr(truth, "absent", lambda _: "no linux here")
    assert truth.main(words) == 0, "what comes with weaklink needs no kernel"
    assert "not judged: no linux here" in capsys.readouterr().out
