"""The C compiler as it is run for apps, launchers and FreeBSD's init; a script stands in for one that misbehaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images import compiler
from images.compiled import compiled
from profiler.errors import AppBuild, DiskFull, ToolMissing
from tests.conftest import SmallDisk


def test_a_compiler_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(AppBuild, match="compiling it took more than 1 s"):
        compiler.run(["sleep", "60"], tmp_path, "it", seconds=1)


def test_what_it_refuses_is_told_in_its_first_words(tmp_path: Path) -> None:
    script = "for line in 1 2 3 4 5 6 7 8 9; do echo error $line >&2; done; exit 1"
    with pytest.raises(AppBuild, match=r"error 1\n") as caught:
        compiler.run(["sh", "-c", script], tmp_path, "it")
    assert "error 9" not in str(caught.value)
    assert caught.value.hint == "it does not compile here"


@pytest.mark.parametrize("more", range(4, 64, 12))
def test_where_there_is_no_room_it_is_the_disk_and_not_the_source(
    tmp_path: Path, small_disk: SmallDisk, more: int
) -> None:
    """The assembler or the linker is in another state each time, and says the same in other words."""
    folder = small_disk(tmp_path / "full", f"{4 + more}k")
    table = ",".join(str(number) for number in range(16_000))
    (tmp_path / "big.c").write_text(f"const int big[] = {{{table}}};\n")
    with pytest.raises(DiskFull, match=r"no room left on the disk of .*full"):
        compiler.run(["gcc", "-g", "-c", str(tmp_path / "big.c"), "-o", "big.o"], folder, "it")


def test_without_one_it_is_said_how_to_install_it(tmp_path: Path) -> None:
    for words in ("is not installed", "cannot be run: Permission denied"):
        with pytest.raises(ToolMissing, match=words) as caught:
            compiler.run([str(tmp_path / "gcc")], tmp_path, "it")
        assert caught.value.hint == compiler.INSTALL
        (tmp_path / "gcc").touch()


def test_without_the_libc_that_would_be_linked_it_is_said_which(tmp_path: Path) -> None:
    for missing in (Path("libc.a"), tmp_path / "libc.a"):  # gcc gives back the bare name of what it does not have
        with pytest.raises(ToolMissing, match=r"libc libc\.a is not installed") as caught:
            compiler.toolchain(missing)
        assert caught.value.hint == compiler.INSTALL


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_static_program_is_made_again_for_another_libc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    made = []
    for content in (None, None, b"another"):
        if content is not None:
            (tmp_path / "libc.a").write_bytes(content)
            monkeypatch.setattr(compiler, "libc", lambda name: tmp_path / name)
        made.append(compiled("it", {"main.c": tmp_path / "main.c"}, ["-static"], tmp_path / "cache"))
    assert made[0] == made[1] != made[2]
    assert made[0].read_bytes() == made[2].read_bytes(), "the libc that is linked is the same"
