"""The judge of faults can say no: a process left behind, a result gone, a figure changed, a page that says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from probes import archive, recording
from tests.faults import campaign, scene
from tests.faults.__main__ import main
from tests.faults.judge import Row, Told, table
from tests.faults.kind import Kind
from tests.faults.scene import MARK, Ended, NoStrike, References, Scene, differs, run_words


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "place", "linux", 0, References(tmp_path / "undisturbed"))
    yield made
    made.wrong.append("looked at")
    made.close()


@pytest.fixture(scope="module")
def two(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same recording, twice."""
    folder = tmp_path_factory.mktemp("two")
    archive.unpack(root / "tests/golden/linux.recordings", folder / "a")
    first = recording.find(folder / "a")[0]
    shutil.copytree(first, folder / "b")
    return first, folder / "b"


def test_a_process_left_behind_is_counted_and_ended(one: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "GONE_S", 0.3)
    marked = {**os.environ, MARK: one._mark}
    sleeper = [sys.executable, "-c", "import os, time; os.setsid(); print(1, flush=True); time.sleep(60)"]
    planted = subprocess.Popen(sleeper, env=marked, stdout=subprocess.PIPE)
    other = subprocess.Popen(["sleep", "60"])
    assert planted.stdout is not None
    planted.stdout.read(1)
    assert one.processes() == [planted.pid]
    one.count_orphans()
    assert (one.orphans, planted.wait(10)) == (1, -9)
    assert one.wrong[0].startswith("left behind: python")
    assert other.poll() is None, "nobody else's"
    other.kill()
    other.wait()
    planted.stdout.close()
    one.count_orphans()
    assert one.orphans == 1


def test_a_result_that_is_gone_or_changed_is_lost(one: Scene) -> None:
    place = one.out / "tour/linux/seed-1"
    place.mkdir(parents=True)
    for name in ("manifest.json", "ledger.parquet", "phases.parquet"):
        (place / name).write_text(name)
    (one.out / "campaign.json").write_text("{}")
    one.remember()
    (one.out / "campaign.json").write_text("another")
    (place / "console.log").write_text("more is no loss")
    one.count_lost()
    assert (one.lost, one.wrong) == (0, [])
    (place / "ledger.parquet").unlink()
    (place / "phases.parquet").write_text("x")
    one.count_lost()
    assert one.lost == 2


def test_a_changed_figure_is_wrong(two: tuple[Path, Path]) -> None:
    first, second = two
    assert differs(first, second) == ""
    ledger = pq.read_table(second / "ledger.parquet")
    column = ledger.schema.get_field_index("instructions")
    more = ledger["instructions"].to_pylist()
    more[3] += 1
    changed = ledger.set_column(column, ledger.schema.field(column), [more])
    pq.write_table(changed, second / "ledger.parquet")
    assert "damaged" in differs(first, second)
    (second / recording.SUMS).unlink()
    assert differs(first, second) == "another ledger"
    (second / "phases.parquet").unlink()
    assert "phases.parquet" in differs(first, second)


def test_halves_and_temporary_files_are_wrong(one: Scene) -> None:
    (one.out / "tour/linux/seed-2").mkdir(parents=True)
    (one.out / ".work-x").mkdir()
    (one._temporary / "weaklink-run-x").mkdir()
    one.leftovers()
    assert len(one.wrong) == 3


def test_another_class_or_silence_is_wrong(one: Scene) -> None:
    one.expect(Ended(15, "weaklink: guest panic: gave up"), 15, "guest panic")
    assert one.wrong == []
    one.expect(Ended(29, "weaklink: internal error"), 15, "guest panic")
    assert len(one.wrong) == 2


def test_a_page_that_is_silent_or_has_markup_of_a_guests_is_wrong(one: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(text: str) -> list[str]:
        one.wrong.clear()
        monkeypatch.setattr(Scene, "weaklink", lambda *words, **more: Ended(3, ""))
        (one.place / "page.html").write_text(text)
        scene.page(one, ["gave up"], failed=True)
        return one.wrong

    good = '<h2 id="failed">One run failed</h2><h3>tour on linux, seed 2</h3><pre>gave up</pre></section>'
    assert says(good) == []
    assert says(good.replace("gave up", "")) != []
    assert says("") != []
    assert says(f"{good}<script>alert(1)</script>") != []
    assert says(f"{good}\x1b[31m") != []


def test_whatever_a_kind_raises_is_a_miss_of_that_repetition(tmp_path: Path) -> None:
    def happen(scene: Scene) -> None:
        raise NoStrike("too late") if scene.number else ValueError("a bug")

    kind = Kind("broken", "", happen)
    told = [campaign.repeat(kind, "linux", number, tmp_path / str(number), References(tmp_path)) for number in (0, 1)]
    assert [one.wrong for one in told] == [("ValueError: a bug",), ("not struck: too late",)]
    assert Row("broken", "linux", tuple(told)).miss


def test_the_table_and_what_makes_a_row_wrong() -> None:
    right = Told((), 0, 0, 0, 3.0)
    rows = [Row("good", "linux", (right, right)), Row("elsewhere", "osv", why="no osv kernel here")]
    rows += [Row(name, "linux", (right, Told((), *counts, 1.0))) for name, counts in
             (("orphan", (1, 0, 0)), ("loss", (0, 2, 0)), ("figure", (0, 0, 3)))]  # fmt: skip
    rows.append(Row("class", "linux", (right, Told(("exit 29",), 0, 0, 0, 1.0))))
    assert [row.miss for row in rows] == [False, False, True, True, True, True]
    assert Row("nothing ran", "linux").miss
    said = table(rows)
    assert "class, repetition 1" not in said
    assert "class on linux, repetition 1: exit 29" in said
    assert said.endswith("5 rows judged, 4 not right")
    assert "2 of 2" in said
    assert "not judged" in said


def test_the_kinds_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    names = [kind.name for kind in campaign.KINDS]
    assert len(names) == len(set(names)) >= 20
    assert main(["no-such"]) == 2
    assert "qemu-killed" in capsys.readouterr().err
    words = run_words(("./program", "--limit", "5", "--", "crash"), "linux", "3", Path("out"))
    assert words == [
        "run",
        "./program",
        "--limit",
        "5",
        "--guests",
        "linux",
        "--seeds",
        "3",
        "--out",
        "out",
        "--",
        "crash",
    ]
