"""``weaklink maps audit``: two opinions on a small kernel that is compiled here, with debugging information."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from probes import maps
from probes.events import LAYERS
from probes.maps.audit import audit, of_kernel, tree
from profiler.cli.main import main
from profiler.errors import UsageError
from tests.synthetic import record, tour

SOURCES = {
    "fs/ramfs/ramfs_vnops.cc": "void ramfs_lookup(void) {} void ramfs_write(void) {}",
    "fs/vfs/main.cc": "void open(void) {} void poll_here(void) {}",
    "core/mempool.cc": "void memory_unheard_of(void) {} void alloc_page(void) {}",
    "libc/pipe.cc": "void pipe_read(void) {} void pipe_write(void) {} void trace_strip_prefix(void) {}",
    "bsd/sys/netinet/tcp_output.cc": "void tcp_output(void) {} static void tcp_same(void) {} void *a = tcp_same;",
    "bsd/sys/netinet/tcp_input.cc": "void tcp_input(void) {} static void tcp_same(void) {} void *b = tcp_same;",
}


def compiled(folder: Path, sources: dict[str, str], *, aranges: bool) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    kernel = folder / "kernel.elf"
    flags = ["-g", "-O0", "-x", "c", "-ffreestanding", "-fno-builtin", "-nostdlib", "-static", "-Wl,-e,tcp_input", "-w"]
    subprocess.run(["gcc", *flags, *sources, "-o", kernel], cwd=folder, check=True, timeout=60)
    if not aranges:  # as clang does
        subprocess.run(["objcopy", "--remove-section", ".debug_aranges", kernel], check=True, timeout=60)
    return kernel


@pytest.mark.parametrize("aranges", [True, False], ids=["gcc", "clang"])
def test_each_function_is_held_against_its_source_directory(tmp_path: Path, aranges: bool) -> None:
    where = tree("osv")
    sources = of_kernel(compiled(tmp_path, SOURCES, aranges=aranges), where.top)
    assert sources["tcp_same"] == ("bsd/sys/netinet/tcp_input.cc", "bsd/sys/netinet/tcp_output.cc")
    weights = {"ramfs_write": 700, "poll_here.part.0": 200, "somewhere_else": 100}
    found = audit(maps.load("osv"), where, sources, weights)
    # One has no rule by name, one is a header's whoever compiled it, and poll_here differs.
    assert (found.functions, found.compared, found.agreed) == (13, 11, 10)
    (difference,) = found.differences
    assert (difference.function, difference.by_source, difference.by_name) == ("poll_here", "vfs", "wait-queue")
    assert (found.instructions, found.instructions_compared, found.instructions_agreed) == (1000, 900, 700)
    assert found.weighted == pytest.approx(7 / 9)
    either = replace(where, several={"fs/vfs/main.cc": frozenset({"wait-queue"})})
    found = audit(maps.load("osv"), either, sources, weights)
    assert (found.agreed, found.strictly, found.differences) == (11, 10, ())
    assert (found.instructions_agreed, found.instructions_strictly) == (900, 700)


def test_the_verb_lists_what_differs_and_fails_where_too_little_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = compiled(tmp_path, SOURCES, aranges=True)
    assert main(["maps", "audit", "osv", "--symbols", str(kernel)]) == 0
    said = capsys.readouterr().out
    assert "vfs by directory, wait-queue by name: 1 function\n    poll_here  fs/vfs/main.cc  (pattern poll_*)" in said
    assert main(["maps", "audit", "osv", "--symbols", str(kernel), "--at-least", "0.95"]) == 1


def test_recordings_weigh_what_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = compiled(tmp_path, SOURCES, aranges=True)
    record(tmp_path / "out", "linux", tour())
    assert main(["maps", "audit", "osv", "--symbols", str(kernel), "--ledger", str(tmp_path / "out")]) == 3
    assert "no recording of a kernel of kind osv" in capsys.readouterr().err


def test_what_cannot_be_audited_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stripped = compiled(tmp_path, SOURCES, aranges=True)
    subprocess.run(["strip", stripped], check=True, timeout=60)
    for arguments, code, says in (
        (["linux", "--symbols", str(stripped)], 2, "made from source files itself"),
        (["osv", "--symbols", str(stripped)], 2, "debugging information"),
        (["osv", "--symbols", str(tmp_path / "nothing")], 2, "No such file"),
        (["plan9", "--symbols", str(stripped)], 2, "no map for kernels"),
    ):
        assert main(["maps", "audit", *arguments]) == code
        assert says in capsys.readouterr().err


def test_a_kernel_of_another_kind_is_not_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {f"elsewhere/{name.rpartition('/')[2]}": text for name, text in SOURCES.items()}
    kernel = compiled(tmp_path, sources, aranges=True)
    assert main(["maps", "audit", "osv", "--symbols", str(kernel)]) == 3
    assert "are in directories that a kernel of kind osv has" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["osv", "freebsd"])
def test_the_second_opinion_is_whole(kind: str) -> None:
    where = tree(kind)
    assert where.rules.directories
    assert {layer for layers in where.several.values() for layer in layers} <= set(LAYERS)
    assert all(where.rules.of_source(path) is not None for path in where.several)
    assert not where.rules.symbols
    assert not where.rules.patterns
    with pytest.raises(UsageError):
        tree("linux")


def test_absolute_paths_begin_at_the_top_of_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "somewhere/src/sys/kern/kern_mutex.c"
    kernel = compiled(tmp_path, {str(path): "void tcp_input(void) {} void lock_mtx(void) {}"}, aranges=False)
    sources = of_kernel(kernel, tree("freebsd").top)
    assert sources == {"tcp_input": ("sys/kern/kern_mutex.c",), "lock_mtx": ("sys/kern/kern_mutex.c",)}
    assert tree("freebsd").rules.of_source("sys/kern/kern_mutex.c") == ("lock", "file sys/kern/kern_mutex.c")


def test_show_says_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maps", "show", "osv", "_ZN5sched3cpu8scheduleEv", "mystery\x1b[2J"]) == 0
    assert capsys.readouterr().out == (
        "sched::cpu::schedule  sched  (pattern sched::*)\nmystery[2J  unattributed  (no rule)\n"
    )
