"""What `weaklink apps new` writes, and the command that it prints, on a real kernel."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from probes import recording
from profiler.cli.main import main
from tests.guests.common import FETCH_FAILED, calls, failed


def test_a_new_app_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["apps", "new", "my-app"]) == 0
    (printed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    weaklink run ")]
    words = shlex.split(printed)[1:]
    words[words.index("--guests") + 1] = "linux"  # of all that are here
    words[words.index("--seeds") + 1] = "1"
    code = main(words)
    if code == FETCH_FAILED:
        pytest.skip("the kernel of linux cannot be fetched from here")
    assert code == 0
    (place,) = recording.find(tmp_path / "out")
    seen = recording.read(place)
    assert failed(seen) == []
    assert seen.phases["status"].tolist() == ["ok", "ok"]
    assert (calls(seen)[1, "read"], calls(seen)[2, "unlink"]) == (1009, 127)
    about = tmp_path / "my-app/app.toml"
    about.write_text(about.read_text().replace("out again?", "out?"))
    capsys.readouterr()
    assert main(words) == 0
    assert "kept" not in capsys.readouterr().err, "what app.toml says of a phase is part of what is recorded"
    assert recording.read(place).manifest["app"]["phases"][0]["question"].endswith("take it out?")
