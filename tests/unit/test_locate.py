"""Where the libraries are: what ld.so says of it, and what is not believed.  A script stands in for QEMU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from images import GuestSpec, KernelImage, Loaded, Program
from images.model import Bootable
from profiler.errors import GuestExit, GuestPanic
from profiler.machine import boot, locate
from tests.unit.test_machine import command, script

CONSOLE = (Path(__file__).parent / "consoles/osv-located.log").read_text()


def test_a_recorded_console() -> None:
    assert locate.parse(CONSOLE.splitlines()) == {"/app": 0x200000201000, "libc.so.6": 0x200021000000}


def says(name: str, base: int, size: int) -> list[str]:
    return [f"     2: file={name} [0];  generating link map",
            f"     2:   dynamic: 0x{base:016x}  base: 0x{base:016x}   size: 0x{size:016x}"]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no file"),
        (says("/app", 0x1000, 0x1000)[:1], "no file"),
        (says("/app", 0x1001, 0x1000), "nothing can be"),
        (says("/app", 0x1000, 0), "nothing can be"),
        (says("/app", 0xFFFF_8000_0000_0000, 0x1000), "nothing can be"),
        (says("/app", 0x1000, 0x1000) + says("/app", 0x9000, 0x1000), "twice"),
        (says("/app", 0x1000, 0x2000) + says("libc.so.6", 0x2000, 0x1000), "in one place"),
        ([line for n in range(300) for line in says(f"lib{n}", 0x1000 * (n + 1), 0x1000)], "more than"),
    ],
    ids=range(8),
)
def test_what_cannot_be(lines: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        locate.parse(lines)


@pytest.fixture
def bootable(tmp_path: Path) -> Bootable:
    program = Program(
        tmp_path / "app", "", "", "", frozenset({"main"}), {"/lib/libc.so.6": tmp_path / "libc"}, "/lib/ld.so"
    )
    (tmp_path / "disk").write_bytes(b"disk")
    kernel = KernelImage(tmp_path / "k", tmp_path / "s", "0" * 64, "v", "x")
    return Bootable(
        GuestSpec("osv"), "osv", kernel, "q35", None, "run", ("^Aborted$",), 64, program=program,
        user=(Loaded(tmp_path / "ld.so", 0x1000, frozenset()),), disk=tmp_path / "disk", locate="dry",
    )  # fmt: skip


def find(bootable: Bootable, folder: Path, text: str, steps: list[str] | None = None) -> tuple[Loaded, ...]:
    (folder / "said").write_text(text)
    qemu = script(folder, f"cat {folder}/said; exec sleep 60")
    return locate.find(
        bootable, command(qemu, disk=bootable.disk), folder / "cache", ([] if steps is None else steps).append
    )


def test_it_is_asked_once_for_the_same_start(bootable: Bootable, tmp_path: Path) -> None:
    expected = (
        *bootable.user,
        Loaded(tmp_path / "app", 0x200000201000, frozenset({"main"})),
        Loaded(tmp_path / "libc", 0x200021000000, frozenset()),
    )
    steps: list[str] = []
    assert find(bootable, tmp_path, CONSOLE, steps) == expected
    assert find(bootable, tmp_path, "", steps) == expected
    assert len(steps) == 1
    (tmp_path / "disk").write_bytes(b"other")
    with pytest.raises(locate.Unlocated):
        find(replace(bootable, panics=("^OSv",)), tmp_path, CONSOLE.splitlines()[0] + "\n")


def test_nothing_is_booted_where_nothing_is_to_be_found(bootable: Bootable, tmp_path: Path) -> None:
    assert locate.find(replace(bootable, locate=None), command(Path("/no/qemu")), tmp_path, print) == bootable.user


def test_a_library_that_was_not_given_is_refused(bootable: Bootable, tmp_path: Path) -> None:
    with pytest.raises(locate.Unlocated) as caught:
        find(bootable, tmp_path, CONSOLE.replace("libc.so.6", "libodd.so"))
    assert isinstance(caught.value.failure, GuestExit)
    assert "libodd.so" in str(caught.value.failure)
    assert b"libodd.so" in caught.value.console


def test_a_loader_that_never_ends_is_not_heard_out(
    bootable: Bootable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate, "LIMITS", boot.Limits(boot_s=20.0, run_s=20.0))
    qemu = script(tmp_path, f"exec yes '{says('/app', 0x1000, 0x1000)[0]}'")
    with pytest.raises(locate.Unlocated, match="names more than 256 files"):
        locate.find(bootable, command(qemu, disk=bootable.disk), tmp_path / "cache", print)


def test_a_panic_on_the_way_is_the_guests(bootable: Bootable, tmp_path: Path) -> None:
    with pytest.raises(locate.Unlocated) as caught:
        find(bootable, tmp_path, "OSv v1\nAborted\n")
    assert isinstance(caught.value.failure, GuestPanic)
