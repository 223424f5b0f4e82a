"""The page of a campaign of which runs failed, or recordings are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from probes import archive, recording
from profiler.cli import failures
from profiler.cli.main import main


def campaign_with_a_failure(root: Path, message: str) -> None:
    runs = [
        {"app": "tour", "guest": "linux", "seed": 1, "state": "recorded"},
        {"app": "tour", "guest": "linux", "seed": 2, "state": "failed", "trace": "in there",
         "error": {"name": "guest panic", "message": message, "hint": "look"}},
        {"app": "tour", "guest": "linux", "seed": 3, "state": "running"},
    ]  # fmt: skip
    (root / "campaign.json").write_text(json.dumps({"guests": ["linux"], "runs": runs}))


def test_a_failed_run_is_shown_with_its_evidence_and_nothing_of_it_is_markup(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.unpack(root / "tests/golden/linux.recordings", tmp_path)
    campaign_with_a_failure(tmp_path, "gave up:\n  | Oops: 0000 <script>alert(1)</script>\x1b[31m")
    damaged = recording.find(tmp_path)[0]
    (damaged / "ledger.parquet").write_bytes(b"nothing")
    assert main(["report", str(tmp_path)]) == 22, "one could not be read"
    page = (tmp_path / "report.html").read_text()
    assert "3 runs failed" in page
    assert "tour on linux, seed 2: guest panic" in page
    assert "Oops: 0000 &lt;script&gt;alert(1)" in page
    assert "\x1b" not in page
    assert "tour on linux, seed 3: not finished" in page
    assert "recording invalid" in page
    assert 'id="short"' in page, "and the others are compared"
    assert "ledger.parquet" in capsys.readouterr().err


def test_where_every_run_failed_there_is_a_page_that_says_why(tmp_path: Path) -> None:
    campaign_with_a_failure(tmp_path, "gave up")
    assert main(["report", str(tmp_path)]) == 22
    page = (tmp_path / "report.html").read_text()
    assert "no run in" in page
    assert "gave up" in page


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 3}', '{"runs": [3]}', '{"runs": [{"state": []}]}', "[" * 9999])
def test_what_a_campaign_says_is_not_trusted(tmp_path: Path, text: str) -> None:
    (tmp_path / "campaign.json").write_text(text)
    assert failures.of(tmp_path) == []
