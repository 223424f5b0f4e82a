"""Real recordings, kept: they still read, still add up, and are still explained in the same words."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from analysis.compare import Comparison
from analysis.verify import verify
from probes import archive, recording
from probes.events import SCHEMA_VERSION
from probes.recording import Recording
from profiler.cli.main import main
from tests.golden import refresh

RECORDINGS = archive.read(refresh.RECORDINGS)
REFRESH = "If this is as it should be: python -m tests.golden.refresh --texts (see tests/golden/README.md)"
LARGEST = 200 << 10


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return refresh.comparison()


def test_all_are_here() -> None:
    found = sorted(str(one.directory.relative_to(refresh.RECORDINGS)) for one in RECORDINGS)
    wanted = [f"{guest}/seed-{seed + 1}" for guest in refresh.GUESTS for seed in range(refresh.SEEDS)]
    assert found == sorted(wanted)


@pytest.mark.parametrize("seen", RECORDINGS, ids=lambda one: f"{one.spec}-{one.seed}")
def test_each_adds_up(seen: Recording) -> None:
    assert seen.manifest["schema"] == SCHEMA_VERSION
    assert seen.phases["name"].tolist() == list(refresh.PHASES)
    assert [f"{check.phase} {check.name}: {check.detail}" for check in verify(seen) if not check.ok] == []


def test_verify_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(refresh.RECORDINGS)]) == 0
    assert capsys.readouterr().out.count("checks hold") == len(RECORDINGS)


def test_a_changed_recording_does_not_add_up(tmp_path: Path) -> None:
    import pyarrow.compute as pc

    seen = RECORDINGS[0]
    tables = {name: seen.table(name) for name in recording.TABLES}
    at = tables["ledger"].schema.get_field_index("instructions")
    tables["ledger"] = tables["ledger"].set_column(at, "instructions", pc.add(tables["ledger"]["instructions"], 1))
    recording.write(tmp_path / "run", seen.manifest, tables, b"")
    wrong = {check.name for check in verify(recording.read(tmp_path / "run")) if not check.ok}
    assert wrong == {"instructions add up"}


def test_it_is_explained_in_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(refresh.RECORDINGS), "--against", "linux"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == refresh.TEXT.read_text(encoding="utf-8").splitlines(), REFRESH
    assert max(map(len, said.splitlines())) <= 80


def test_findings_have_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert refresh.keys() == refresh.KEYS.read_text(encoding="utf-8"), REFRESH
    assert main(["explain", str(refresh.RECORDINGS), "--against", "linux", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == 1


def test_the_causes_come_first(compared: Comparison) -> None:
    audit, no_clearing = (
        next(pair for pair in compared.pairs if pair.other.spec == guest) for guest in refresh.GUESTS[1:]
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


def test_a_report_can_be_made(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(refresh.RECORDINGS), "--against", "linux", "--output", str(page)]) == 0
    assert "__audit_syscall_entry" in page.read_text(encoding="utf-8")


def test_they_are_small_and_name_no_machine() -> None:
    assert refresh.RECORDINGS.stat().st_size < LARGEST
    with zipfile.ZipFile(refresh.RECORDINGS) as archived:
        described = archived.read("recordings.json").decode(errors="replace")
    assert re.findall(r"(?:/[\w.+=-]+){2,}", re.sub(r'"place": "[^"]*"', "", described)) == []
