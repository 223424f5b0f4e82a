"""A user's own kernels, real ones: the same kernel gives the same ledger, and one that is broken says how."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from images import GuestSpec, KernelImage, Program, prepare
from probes import recording
from profiler.cli.main import main
from tests.unit.test_guests import bzimage

pytestmark = pytest.mark.timeout(900)  # the first run fetches a kernel
TEXT, ELF_TEXT = 0xFFFFFFFF81000000, 0x200000  # where the code of the unpacked kernel is, in memory and in its file


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> KernelImage:
    """The guest that comes with weaklink, fetched into the user's cache."""
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "init").touch()
    program = Program(folder / "init", "", "", "")
    return prepare(GuestSpec.parse("linux"), program, [], work=folder, progress=print).kernel


@pytest.fixture(scope="module", autouse=True)
def _own_cache(linux: KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache for this module, with a copy of that kernel: no guest is added to the user's, only what is built."""
    cache = tmp_path_factory.mktemp("cache")
    users = linux.elf.parents[2]
    for built in ("apps", "probe"):
        (users / built).mkdir(mode=0o700, exist_ok=True)
        (cache / built).symlink_to(users / built)
    (cache / "guests").mkdir()
    shutil.copy(users / "guests/linux.json", cache / "guests")
    shutil.copytree(linux.elf.parent, cache / "kernels" / linux.elf.parent.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEAKLINK_CACHE", str(cache))
        yield


def add(name: str, kernel: Path, *more: str) -> int:
    return main(["guests", "add", name, "--kind", "linux", "--kernel", str(kernel), *more])


def run(out: Path, guests: str, *more: str) -> int:
    return main(["run", "tour", "--guests", guests, "--seeds", "1", "--phases", "null-call", "--out", str(out), *more])


def broken(linux: KernelImage, target: Path, symbol: str, code: bytes) -> Path:
    """The kernel with other machine code at the beginning of one function."""
    found = re.search(rf"^(\w+) [Tt] {symbol}$", linux.symbols.read_text(), re.MULTILINE)
    assert found is not None
    image = bytearray(linux.elf.read_bytes())
    at = int(found[1], 16) - TEXT + ELF_TEXT
    image[at : at + len(code)] = code
    target.write_bytes(image)
    return target


def test_the_same_kernel_has_the_same_ledger(
    linux: KernelImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "vmlinuz"
    packed.write_bytes(bzimage(gzip.compress(linux.elf.read_bytes(), compresslevel=1)))
    assert add("packed", packed, "--provenance", "built from source") == 0
    assert add("elf", linux.elf, "--symbols", str(linux.symbols)) == 0
    assert run(tmp_path / "out", "linux,packed,elf") == 0
    base, *own = (recording.read(tmp_path / "out/tour" / name / "seed-1") for name in ("linux", "packed", "elf"))
    for seen in own:
        for table in ("ledger", "phases", "events"):
            assert getattr(seen, table).equals(getattr(base, table)), table
        for key in ("kind", "kernel_sha256", "kernel_version", "append"):
            assert seen.manifest["guest"][key] == base.manifest["guest"][key]  # type: ignore[literal-required]
    about = [seen.manifest["guest"] for seen in (base, *own)]
    assert [guest["name"] for guest in about] == ["linux", "packed", "elf"]
    assert about[0]["provenance"].startswith("release linux-image")
    assert [guest["provenance"] for guest in about[1:]] == ["built from source", "added by the user"]
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert main(["explain", str(tmp_path / "out"), "--against", "linux"]) == 0
    assert "0 of 1 phases differ" in capsys.readouterr().out
    assert main(["guests", "verify"]) == 0


def test_other_symbols_make_it_another_guest(linux: KernelImage, tmp_path: Path) -> None:
    """What the probe needs and does not find is told; a recording with other symbols is not kept for this one."""
    fewer = tmp_path / "System.map"
    fewer.write_text(re.sub(r"^\w+ \w asm_exc_debug\n", "", linux.symbols.read_text(), flags=re.MULTILINE))
    assert add("mine", linux.elf) == 0
    assert run(tmp_path / "out", "mine") == 0
    assert add("mine", linux.elf, "--symbols", str(fewer)) == 2
    assert add("mine", linux.elf, "--symbols", str(fewer), "--replace") == 0
    assert run(tmp_path / "out", "mine") == 0
    seen = recording.read(tmp_path / "out/tour/mine/seed-1")
    assert any("asm_exc_debug" in entry["what"] for entry in seen.manifest["probe"]["not_hooked"])
    assert json.loads((tmp_path / "out/campaign.json").read_text())["runs"][0]["state"] == "recorded"


@pytest.mark.parametrize(
    ("symbol", "code", "exit_code", "words"),
    [("kernel_init", b"\x0f\x0b", 15, "invalid opcode"), ("pvh_start_xen", b"\xfa\xf4\xeb\xfd", 25, "")],
    ids=["panics", "hangs"],
)
def test_a_kernel_that_does_not_boot(
    linux: KernelImage, tmp_path: Path, symbol: str, code: bytes, exit_code: int, words: str
) -> None:
    kernel = broken(linux, tmp_path / "vmlinux", symbol, code)
    assert add("broken", kernel, "--symbols", str(linux.symbols), "--replace") == 0
    assert run(tmp_path / "out", "broken", "--limit", "10") == exit_code
    console = tmp_path / "out/tour/broken/seed-1.failed.log"
    assert words in console.read_text(errors="replace") if words else not console.exists(), "kept if it said anything"
    assert not (tmp_path / "out/tour/broken/seed-1").exists()
