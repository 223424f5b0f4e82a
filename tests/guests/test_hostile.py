"""A real guest whose program is hostile in all that it says, and the QEMU that keeps it in."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probes import recording
from profiler.cli.main import main
from tests.fuzz.harness import UNSAFE
from tests.guests.common import FETCH_FAILED
from tests.unit import test_hostile as formats

WAIT_S = 240
"""How long a boot may take on a machine that does other things too."""


def test_a_hostile_program_reaches_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, out = tmp_path / "hostile", tmp_path / "out"
    subprocess.run(
        ["gcc", "-O1", "-pthread", "-o", program, Path(__file__).with_name("hostile.c")], check=True, timeout=60
    )
    words = ["run", str(program), "--guests", "linux", "--seeds", "1", "--out", str(out)]
    weaklink = subprocess.Popen(
        [sys.executable, "-m", "profiler", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        seen = watched(weaklink)
        said, _ = weaklink.communicate(timeout=WAIT_S)
    finally:
        weaklink.kill()
        weaklink.wait()
    if weaklink.returncode == FETCH_FAILED:
        pytest.skip("the kernel cannot be fetched from here")
    text = said.decode()
    assert weaklink.returncode == 0, text
    assert not UNSAFE.search(text), ascii(text)
    held(*seen)

    (place,) = recording.find(out)
    one = recording.read(place)
    console = (place / recording.CONSOLE).read_bytes()
    assert b"\x1b]0;owned\x07" in console, "the guest did write it, and the log has it as it came"
    assert "null-call" not in {str(name) for name in one.phases["name"]}, "nor is its word believed"
    names = {str(name) for name in one.frame("threads")["name"]}
    assert any("<script>" in name for name in names), names
    for verb, check in (
        (["events", "--format", "text"], formats.harmless_text),
        (["events", "--format", "csv"], formats.harmless_csv),
        (["events", "--format", "json"], formats.harmless_json),
        (["switches", "--format", "text"], formats.harmless_text),
        (["switches", "--format", "csv"], formats.harmless_csv),
        (["switches", "--format", "json"], formats.harmless_json),
        (["verify", "--all"], formats.harmless_text),
    ):
        code = main([verb[0], str(out), *verb[1:]])
        answer = capsys.readouterr()
        assert code == 0, answer.err
        check(answer.out)
        assert not UNSAFE.search(answer.err)
    summary = (out / "campaign.json").read_text(encoding="utf-8")
    assert not UNSAFE.search(summary)
    assert [run["state"] for run in json.loads(summary)["runs"]] == ["recorded"]


def watched(weaklink: subprocess.Popen[bytes]) -> tuple[list[str], str, int, int]:
    """QEMU's command line, its status, and the modes of its control socket's directory and of the socket."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and weaklink.poll() is None:
        for process in Path("/proc").iterdir():
            try:
                if not process.name.isdecimal() or f"\nPPid:\t{weaklink.pid}\n" not in (process / "status").read_text():
                    continue
                words = [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0")]
                if not Path(words[0]).name.startswith("qemu-system") or "-qmp" not in words:
                    continue
                socket = Path(words[words.index("-qmp") + 1].removeprefix("unix:").partition(",")[0])
                status = (process / "status").read_text()
                modes = [stat.S_IMODE(path.stat().st_mode) for path in (socket.parent, socket)]
                if "Seccomp:\t2" in status:  # it takes a moment until it is in its sandbox
                    return words, status, modes[0], modes[1]
            except OSError:
                continue
        time.sleep(0.02)
    said = weaklink.communicate()[0].decode() if weaklink.poll() is not None else ""
    if weaklink.returncode == FETCH_FAILED:
        pytest.skip("the kernel cannot be fetched from here")
    pytest.fail(f"no QEMU in a sandbox was seen: {said}")


def held(words: list[str], status: str, folder: int, socket: int) -> None:
    """What the design's security list asks of it."""
    assert "-nodefaults" in words
    sandbox = words[words.index("-sandbox") + 1].split(",")
    assert {"on", "spawn=deny", "elevateprivileges=deny"} <= {*sandbox}
    assert "Seccomp:\t2" in status
    assert not [
        word for word in words if word.startswith(("-net", "-nic", "-usb", "-vnc", "-spice", "-virtfs", "-fsdev"))
    ]
    assert not any("hostfwd" in word or "user,id" in word for word in words)
    assert folder == 0o700
    assert socket & 0o077 == 0 or folder == 0o700
