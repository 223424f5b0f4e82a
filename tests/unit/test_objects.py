"""Which variable lies at an address."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from probes import objects
from probes.objects import Objects
from profiler.errors import ArtifactCorrupt
from tests import machine_code

LISTING = """\
0000000000000000 D __per_cpu_start
0000000000001000 d cpu_lock
ffffffff81000000 T _text
ffffffff81000100 t a_function
ffffffff82000000 D first
ffffffff82000010 d second
ffffffff82000010 d another_name
ffffffff82000040 t code_in_between
ffffffff82000080 B third
ffffffff82900000 b behind_a_hole
ffffffff83000000 A the_end
"""


@pytest.fixture
def listing(tmp_path: Path) -> Objects:
    path = tmp_path / "System.map"
    path.write_text(LISTING)
    return Objects([objects.load(path)])


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF82000000, "first"),
        (0xFFFFFFFF8200000F, "first+0xf"),
        (0xFFFFFFFF82000010, "second"),
        (0xFFFFFFFF8200003F, "second+0x2f"),
        (0xFFFFFFFF82000040, ""),  # code
        (0xFFFFFFFF82000080, ""),  # reaches too far to be sure
        (0xFFFFFFFF81000100, ""),
        (0x1000, ""),  # each CPU has its own somewhere else
        (0, ""),
        (0xFFFFFFFFFFFFFFFF, ""),
    ],
)
def test_a_listing(listing: Objects, address: int, name: str) -> None:
    assert listing.names([address]) == [name]


def test_many_at_once_in_their_order(listing: Objects) -> None:
    assert listing.names([5, 0xFFFFFFFF82000018, 0xFFFFFFFF82000000]) == ["", "second+0x8", "first"]
    assert Objects().names([1, 2]) == ["", ""]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")
def test_variables_of_an_elf_file_where_it_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text(
        "static long locks[4]; long counted = 7; _Thread_local long mine;\n"
        "long *start(void) { mine++; return &locks[counted]; }\n"
    )
    command = ["gcc", "-O0", "-nostdlib", "-pie", "-fPIE", "-Wl,-estart", "app.c", "-o", "app"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    at, base = machine_code.symbols(tmp_path / "app"), 0x5555_0000_0000
    found = Objects([objects.load(tmp_path / "app", base)])
    assert found.names([base + at["locks"], base + at["locks"] + 24, base + at["counted"], at["locks"]]) == [
        "locks", "locks+0x18", "counted", ""]  # fmt: skip
    assert found.names([base + at["start"], base + at["mine"]]) == ["", ""], "code and thread-local variables"


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(ArtifactCorrupt):
        objects.load(tmp_path / "elf")
    (tmp_path / "text").write_bytes(b"\xff\x00 nothing\n" * 10)
    assert Objects([objects.load(tmp_path / "text")]).names([1]) == [""]
