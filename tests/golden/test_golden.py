"""Real recordings, kept: they still read, still add up, and are still explained in the same words."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from analysis.compare import Comparison
from analysis.verify import verify
from probes import recording
from probes.events import SCHEMA_VERSION
from profiler import recorded
from profiler.cli.main import main
from tests.golden import refresh
from tests.golden.refresh import ALL, GOLDEN, Golden
from tests.guests.common import calls
from tests.traces_agree import disagreements

REFRESH = "If this is as it should be: python -m tests.golden.refresh --texts (see tests/golden/README.md)"
LARGEST = 3_000_000  # bytes of all archives: what a refresh adds to the repository for ever

LINUX = GOLDEN["linux"]
each = pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
every = pytest.mark.parametrize("golden", ALL.values(), ids=ALL)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return LINUX.comparison()


@every
def test_all_are_here(golden: Golden) -> None:
    found = sorted((one.spec, one.seed) for one in golden.recordings())
    assert found == sorted((guest, seed + 1) for guest in golden.guests for seed in range(golden.seeds))


def test_the_ones_that_come_with_weaklink_are_golden() -> None:
    kept = {golden.place for golden in GOLDEN.values()}
    assert set(recorded.archives().values()) <= kept


@every
def test_the_trace_of_each_agrees_with_its_ledger(golden: Golden) -> None:
    first = {one.spec: one for one in sorted(golden.recordings(), key=lambda one: -one.seed)}
    assert [text for one in first.values() for text in disagreements(one)] == []


@every
def test_each_adds_up(golden: Golden) -> None:
    for seen in golden.recordings():
        assert seen.manifest["schema"] == SCHEMA_VERSION
        wrong = [f"{check.phase} {check.name}: {check.detail}" for check in verify(seen) if not check.ok]
        assert wrong == [], f"{seen.spec} seed {seen.seed}"


def test_sqlite_asks_for_the_same_from_every_seed() -> None:
    found: dict[str, list[dict[tuple[int, str], int]]] = {}
    for one in GOLDEN["sqlite"].recordings():
        found.setdefault(one.spec, []).append(calls(one))
    assert {spec: seeds for spec, seeds in found.items() if seeds != seeds[:1] * len(seeds)} == {}
    assert set(map(len, found.values())) == {GOLDEN["sqlite"].seeds}


@every
def test_verify_says_so(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(golden.place)]) == 0
    assert capsys.readouterr().out.count("checks hold") == len(golden.guests) * golden.seeds


def test_a_changed_recording_does_not_add_up(tmp_path: Path) -> None:
    import pyarrow.compute as pc

    seen = LINUX.recordings()[0]
    tables = {name: seen.table(name) for name in recording.TABLES}
    at = tables["ledger"].schema.get_field_index("instructions")
    tables["ledger"] = tables["ledger"].set_column(at, "instructions", pc.add(tables["ledger"]["instructions"], 1))
    recording.write(tmp_path / "run", seen.manifest, tables, b"")
    wrong = {check.name for check in verify(recording.read(tmp_path / "run")) if not check.ok}
    assert wrong == {"instructions add up"}


@each
def test_it_is_explained_in_the_same_words(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(golden.place), "--against", golden.guests[0]]) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == golden.text.read_text(encoding="utf-8").splitlines(), REFRESH
    assert max(map(len, said.splitlines())) <= 80


def test_one_machine_has_the_same_prices_for_it() -> None:
    said = refresh.priced()
    assert said.splitlines() == refresh.PRICED.read_text(encoding="utf-8").splitlines(), REFRESH
    assert max(map(len, said.splitlines())) <= 80


def test_findings_have_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert refresh.keys() == refresh.KEYS.read_text(encoding="utf-8"), REFRESH
    assert main(["explain", str(LINUX.place), "--against", "linux", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == 1


def test_the_causes_come_first(compared: Comparison) -> None:
    audit, no_clearing = (
        next(pair for pair in compared.pairs if pair.other.spec == guest) for guest in LINUX.guests[1:]
    )
    first = audit.in_order[0]
    assert (first.layer, first.functions[0].name) == ("security", "__audit_syscall_entry")
    assert audit.leads == "instructions"
    assert audit.instructions.delta > 0
    # Small objects are cleared by memset, pages by clear_page; in these phases there are more of the former.
    cleared = {(finding.layer, finding.functions[0].name) for finding in no_clearing.byte_findings[:2]}
    assert cleared == {("copy", "memset"), ("mm-alloc", "clear_page_rep")}
    assert no_clearing.leads == "rep_bytes"
    assert all(finding.change.delta < 0 for finding in no_clearing.byte_findings[:2])


@each
def test_a_report_can_be_made(golden: Golden, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(golden.place), "--against", golden.guests[0], "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert all(guest in text for guest in golden.guests)


def test_the_emulators_share_is_said_in_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    tour = GOLDEN["tour"]
    assert main(["explain", str(tour.place), "--against", tour.guests[0], "--format", "markdown"]) == 0
    shares = re.findall(r"left out as the emulator's: ([\d.]+)% and ([\d.]+)%", capsys.readouterr().out)
    assert any(float(other) > 0 for _, other in shares)  # OSv's clock is the HPET


def test_they_are_small() -> None:
    assert sum(golden.place.stat().st_size for golden in ALL.values()) < LARGEST


@every
def test_they_name_no_machine(golden: Golden) -> None:
    with zipfile.ZipFile(golden.place) as archived:
        described = json.loads(archived.read("recordings.json"))
    for entry in described:
        del entry["place"]
    # Paths in the guest are the app's own business; a home or a scratch directory of whoever recorded is not.
    assert re.findall(r"/(?:home|root|work|Users|var/tmp)/[\w./+=-]*", json.dumps(described)) == []
