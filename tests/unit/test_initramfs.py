"""The cpio writer, read back by a reader written from the kernel's description of the format, and by cpio itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import initramfs
from profiler.errors import DiskFull, UsageError
from tests.conftest import SmallDisk

part = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=40).filter(
    lambda text: text not in (".", "..")
)


def read_back(data: bytes) -> dict[str, tuple[int, tuple[int, int], bytes]]:
    """Parse newc into path -> (mode, device, content), insisting on alignment and on the trailer."""
    found = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size]
        assert name[-1:] == b"\0"
        at += 110 + name_size
        at += -at % 4
        if name == b"TRAILER!!!\0":
            assert not data[at:].strip(b"\0")
            return found
        assert name[:-1].decode() not in found
        assert fields[5] == 0  # mtime: the same bytes on every day
        found[name[:-1].decode()] = (fields[1], (fields[9], fields[10]), data[at : at + size])
        at += size
        at += -at % 4


def test_what_the_kernel_needs(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(b"\x7fELF app")
    initramfs.write(tmp_path / "out.cpio", {"init": tmp_path / "app", "/data/a/b.txt": tmp_path / "app"})
    found = read_back((tmp_path / "out.cpio").read_bytes())
    assert found["dev/console"] == (0o020600, (5, 1), b"")
    assert found["init"] == (0o100755, (0, 0), b"\x7fELF app")
    assert found["data/a/b.txt"][2] == b"\x7fELF app"
    assert {path for path, (mode, _, _) in found.items() if mode == 0o040755} == {"dev", "data", "data/a"}
    # A directory has to come before what is in it.
    assert list(found).index("data") < list(found).index("data/a") < list(found).index("data/a/b.txt")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(name.encode())
    initramfs.write(tmp_path / "1.cpio", {"x": tmp_path / "x", "y": tmp_path / "y"})
    os.utime(tmp_path / "x", (1, 1))
    initramfs.write(tmp_path / "2.cpio", {"y": tmp_path / "y", "x": tmp_path / "x"})
    assert (tmp_path / "1.cpio").read_bytes() == (tmp_path / "2.cpio").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(part, st.binary(max_size=70), max_size=6))
def test_any_name_and_size_reads_back(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sources = {}
        for number, (path, content) in enumerate(files.items()):
            (directory / str(number)).write_bytes(content)
            sources[f"d/{path}"] = directory / str(number)
        initramfs.write(directory / "out.cpio", sources)
        found = read_back((directory / "out.cpio").read_bytes())
    assert {path.removeprefix("d/"): entry[2] for path, entry in found.items() if path.startswith("d/")} == files


def test_cpio_agrees(tmp_path: Path) -> None:
    if not shutil.which("cpio"):
        pytest.skip("there is no cpio on this machine")
    (tmp_path / "app").write_bytes(b"12345")
    initramfs.write(tmp_path / "out.cpio", {"init": tmp_path / "app", "lib/x": tmp_path / "app"})
    with (tmp_path / "out.cpio").open("rb") as file:
        listing = subprocess.run(["cpio", "-it", "--quiet"], stdin=file, capture_output=True, text=True, check=True)
    assert listing.stdout.split() == ["dev", "lib", "dev/console", "init", "lib/x"]


@pytest.mark.parametrize("path", ["", "/", "../x", "a/../b", "a//b", "./a", "a\nb", "dev", "dev/console", "TRAILER!!!"])
def test_paths_that_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "app").touch()
    with pytest.raises(UsageError):
        initramfs.write(tmp_path / "out.cpio", {path: tmp_path / "app"})
    assert not (tmp_path / "out.cpio").exists()


def test_a_file_cannot_be_a_directory_too(tmp_path: Path) -> None:
    (tmp_path / "app").touch()
    with pytest.raises(UsageError, match="directory"):
        initramfs.write(tmp_path / "out.cpio", {"a": tmp_path / "app", "a/b": tmp_path / "app"})


def test_too_much_is_refused_before_writing(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(initramfs.LARGEST + 1)
    with pytest.raises(UsageError, match="MiB"):
        initramfs.write(tmp_path / "out.cpio", {"init": tmp_path / "huge"})


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a file"):
        initramfs.write(tmp_path / "out.cpio", {"init": tmp_path / "absent"})


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, small_disk: SmallDisk) -> None:
    small = small_disk(tmp_path / "small", "64k")
    (tmp_path / "app").write_bytes(bytes(1 << 20))
    with pytest.raises(DiskFull):
        initramfs.write(small / "out.cpio", {"init": tmp_path / "app"})
    assert not list(small.iterdir())
