"""The plugin is compiled once per QEMU, compiler and source, and what is missing is said."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probes.exec import build
from profiler.errors import DiskFull, ProbeBuild, ToolMissing
from tests.conftest import SmallDisk

Script = Callable[[str, str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Puts an executable shell script in tmp_path/bin."""

    def make(name: str, body: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return make


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# Says its version, writes down that it ran, and makes what -o asks for.
COMPILER = """\
if [ "$1" = --version ]; then echo "counting cc $CC_VERSION"; exit 0; fi
echo "$@" >>"{log}"
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo compiled >"$2"; shift; done"""


@pytest.fixture
def compiler(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A compiler that counts; gives the command lines so far."""
    log = tmp_path / "log"
    monkeypatch.setenv("CC", str(script("counting-cc", COMPILER.format(log=log))))
    return lambda: log.read_text().splitlines() if log.exists() else []


class TestVersions:
    @pytest.mark.parametrize(
        ("version", "api"),
        [("7.2.22", 1), ("8.2.0", 1), ("9.0.2", 2), ("9.1.0", 3), ("9.2.4", 4), ("10.0.13", 4), ("10.1.0", 5),
         ("10.2.0", 6), ("11.0.0", 7), ("11.1.3", 7), ("12.0.0", 7)],
    )  # fmt: skip
    def test_each_has_its_interface(self, version: str, api: int) -> None:
        assert build.api_of(numbers(version)) == api


class TestCache:
    def test_a_second_time_nothing_is_compiled(self, tmp_path: Path, compiler: Callable[[], list[str]]) -> None:
        first = build.plugin(numbers("7.2.22"), tmp_path / "cache")
        assert first.read_text() == "compiled\n"
        assert build.plugin(numbers("7.2.22"), tmp_path / "cache") == first
        (line,) = compiler()
        assert "-DWL_API=1 " in line
        assert sorted(path.name for path in (tmp_path / "cache/probe").iterdir()) == [first.name], "nothing half left"

    def test_another_qemu_or_compiler_is_another_plugin(
        self, tmp_path: Path, compiler: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = build.plugin(numbers("10.0.13"), tmp_path / "cache")
        second = build.plugin(numbers("11.1.0"), tmp_path / "cache")
        monkeypatch.setenv("CC_VERSION", "2")
        third = build.plugin(numbers("11.1.0"), tmp_path / "cache")
        assert len({first, second, third}) == 3
        assert [("-DWL_API=4" in line, "-DWL_API=7" in line) for line in compiler()] == [
            (True, False), (False, True), (False, True)]  # fmt: skip

    def test_another_source_is_another_plugin(
        self, tmp_path: Path, compiler: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch,
        root: Path,
    ) -> None:  # fmt: skip
        first = build.plugin(numbers("7.2.22"), tmp_path / "cache")
        shutil.copytree(root / "probes/exec/plugin", tmp_path / "source/plugin")
        monkeypatch.setattr(build, "resources", SimpleNamespace(files=lambda package: tmp_path / "source"))
        assert build.plugin(numbers("7.2.22"), tmp_path / "cache") == first, "the same source elsewhere"
        with (tmp_path / "source/plugin/insn.h").open("a") as file:
            file.write("/* changed */\n")
        assert build.plugin(numbers("7.2.22"), tmp_path / "cache") != first
        assert len(compiler()) == 2

    def test_others_may_not_put_a_plugin_there(self, tmp_path: Path, compiler: Callable[[], list[str]]) -> None:
        made = build.plugin(numbers("7.2.22"), tmp_path / "cache")
        assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700


class TestTrouble:
    def test_a_compiler_that_cannot_link_the_whole_program_compiles_its_files(
        self, tmp_path: Path, compiler: Callable[[], list[str]], script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusing = 'case "$*" in *-flto*) echo "ld: not for me" >&2; exit 1;; esac\n'
        monkeypatch.setenv("CC", str(script("old-cc", refusing + COMPILER.format(log=tmp_path / "log"))))
        assert build.plugin(numbers("7.2.22"), tmp_path / "cache").read_text() == "compiled\n"
        assert len(compiler()) == 1

    def test_a_source_that_does_not_compile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "source/plugin").mkdir(parents=True)
        (tmp_path / "source/plugin/probe.c").write_text("int f(void) { return nothing_here; }\n" * 20)
        monkeypatch.setattr(build, "resources", SimpleNamespace(files=lambda package: tmp_path / "source"))
        monkeypatch.delenv("CC", raising=False)
        if shutil.which("cc") is None:
            pytest.skip("no C compiler on this machine")
        with pytest.raises(ProbeBuild, match="nothing_here") as caught:
            build.plugin(numbers("7.2.22"), tmp_path / "cache")
        assert len(str(caught.value).splitlines()) <= 9, "the first complaints are enough"
        assert "apt-get install" in caught.value.hint
        assert list((tmp_path / "cache/probe").iterdir()) == []

    def test_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CC", raising=False)
        real: Any = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name, **more: real(name, path=str(tmp_path)))
        with pytest.raises(ToolMissing) as caught:
            build.plugin(numbers("7.2.22"), tmp_path / "cache")
        assert "as root: apt-get install --no-install-recommends gcc libc6-dev" in caught.value.hint
        assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("version", ["7.2.22", "9.0.0", "9.1.0", "10.0.13", "10.1.0", "10.2.0", "11.1.0"])
def test_the_real_source_compiles_for_every_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(build, "_FLAGS", (*(flag for flag in build._FLAGS if flag != "-O2"), "-O0", "-Werror"))
    made = build.plugin(numbers(version), tmp_path / "cache")
    assert made.read_bytes()[:4] == b"\x7fELF"


@pytest.mark.parametrize("size", ["64k", "400k", "600k"])
def test_where_there_is_no_room_it_says_so(tmp_path: Path, small_disk: SmallDisk, size: str) -> None:
    folder = small_disk(tmp_path / "full", size)
    with pytest.raises(DiskFull, match=r"no room left for the probe in .*full"):
        build.plugin((7, 2, 22), folder)
    assert not list((folder / "probe").iterdir())


def test_commas_in_paths_do_not_split_the_option(tmp_path: Path) -> None:
    odd = tmp_path / "a,b"
    said = build.argument(odd / "p.so", odd / "c", odd / "o", "exact")
    twice = str(odd).replace(",", ",,")
    assert said == f"file={twice}{os.sep}p.so,config={twice}{os.sep}c,out={twice}{os.sep}o,mode=exact"


def test_a_compiler_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text("this is no program\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(ProbeBuild, match="cc cannot be run") as caught:
        build.plugin((7, 2, 22), tmp_path / "cache")
    assert "as root: apt-get install" in caught.value.hint
