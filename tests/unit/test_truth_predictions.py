"""The judge of predictions: what is off by more than a tenth is a miss, and so is a difference where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.statistics import Change, spread
from profiler import recorded
from tests.entered import Recorded, app_phases, audited, recorder, unit_phases
from tests.truth import __main__ as truth
from tests.truth import causes, predictions
from tests.truth.causes import Cause, Hit
from tests.truth.predictions import Foretold, wrong
from tests.truth.run import phases_of

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


def test_a_prediction_that_is_planted_wrong_is_a_miss(tmp_path: Path) -> None:
    recording: Recorded = recorder(tmp_path)
    units = [recording("linux", unit_phases()), recording("linux+x=1", audited(unit_phases()))]
    base = recording("linux", app_phases())
    for cost, miss in ((220, ""), (205, ""), (260, "off by -15 %"), (150, "off by +47 %")):
        other = recording("linux+x=1", audited(app_phases(), cost))
        told = predictions.foretell("app", "audit", units, [base, other], "instructions")
        assert told.miss == miss
        assert told.predicted == pytest.approx(220 * 8 * 101, rel=0.01)
    same = predictions.foretell("app", "audit", units, [base, base], "instructions")
    assert "nothing is there" in same.miss


def test_no_switch_of_the_plain_kernel_is_left_out() -> None:
    known = causes.load(phases_of)
    chosen = predictions.switches(known)
    assert len(chosen) >= 6
    left = [one for one in known if one not in chosen]
    assert all(one.base != "linux" or one.app != "tour" or "+planted_" in one.other for one in left)


def test_between_kernels_all_is_foretold_from_recordings_that_are_here() -> None:
    """The app's threads go round a ring of mutexes, as the tour's do: that much is foretold, and polling is not."""
    assert {"tour", "sqlite", "redis"} <= recorded.archives().keys()
    ring = predictions.of_kernels("crowd", "mutex-", ("mutex-contended",), "osv:libc")
    assert (ring.app, ring.miss, ring.asked) == ("crowd mutex", "", pytest.approx(1.0, abs=0.01))
    assert ring.change is not None
    assert ring.predicted == ring.plain == pytest.approx(ring.change.delta, rel=0.1)
    assert predictions.of_kernels("crowd", "herd-", ("shared-poll",), "osv:libc").miss


# -- the table ---------------------------------------------------------------------------------------------------------

ROW = Cause("audit", "linux", "linux+audit=1", "why", (Hit("null-call", ("getppid",), "security", "instructions"),),
            ("clock-read",))  # fmt: skip


def told(miss: str = "", change: Change | None = SURE) -> Foretold:
    return Foretold("sqlite", "audit", "instructions", change, 104.0, 30.0, 0.344, 0.909, miss)


def test_a_line_says_what_was_measured_and_what_was_foretold() -> None:
    lines = predictions.table([told(), told("off"), told(change=UNSURE), told("no recording", None)], "planted")
    assert [line.split()[2:] for line in lines.splitlines()[1:]] == [
        ["1,001", "+100", "+9.99", "%", "+104", "+4.0", "%", "+30", "34", "%", "91", "%", "right"],
        ["1,001", "+100", "+9.99", "%", "+104", "+4.0", "%", "+30", "34", "%", "91", "%", "MISS:", "off"],
        ["1,100", "+1", "+0.09", "%", "+104", "+30", "34", "%", "91", "%", "right:", "nothing"],
        ["MISS:", "no", "recording"],
    ]  # fmt: skip


def test_the_exit_code_says_whether_all_was_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_app: list[str] = []
    monkeypatch.setattr(causes, "load", lambda _: [ROW])
    monkeypatch.setattr(truth, "absent", lambda _: "")
    monkeypatch.setattr(predictions, "measure", lambda *_: None)
    monkeypatch.setattr(predictions, "of_switch", lambda cause, app, out: told("off" if app in wrong_app else ""))
    monkeypatch.setattr(predictions, "of_kernels", lambda *_: told("off" if "kernels" in wrong_app else ""))
    words = ["--only", "predictions", "--out", str(tmp_path)]
    assert truth.main(words) == 0
    assert "MISS" not in capsys.readouterr().out
    for name in ("crowd", "kernels"):
        wrong_app[:] = [name]
        assert truth.main(words) == 1
        assert "MISS: off" in capsys.readouterr().out
    wrong_app.clear()
    monkeypatch.setattr(truth, "absent", lambda _: "no linux here")
    assert truth.main(words) == 0, "what comes with weaklink needs no kernel"
    assert "not judged: no linux here" in capsys.readouterr().out
