"""Which libraries a dynamic program needs, found without running it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from images import libraries as module
from images.libraries import libraries
from profiler.errors import UsageError

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def _compile(folder: Path, name: str, code: str, *flags: str) -> Path:
    source = folder / f"{name}.c"
    source.write_text(code)
    out = folder / name
    subprocess.run(["gcc", "-w", source, "-o", out, *flags], check=True, timeout=60)
    return out


def _library(folder: Path, name: str, *flags: str, code: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return _compile(folder, f"lib{name}.so", f"int {name}(void) {{ {code} return 7; }}", "-shared", "-fPIC", *flags)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program beside lib/: it needs libouter, which needs libinner, both by run paths that begin with $ORIGIN."""
    lib = tmp_path / "lib"
    _library(lib, "inner")
    _library(lib, "outer", "-L", str(lib), "-linner", "-Wl,-rpath,$ORIGIN", code="inner();")
    code = "int outer(void); int main(void) { return outer() - 7; }"
    return _compile(
        tmp_path, "program", code, "-L", str(lib), "-louter", "-Wl,-rpath,$ORIGIN/lib", f"-Wl,-rpath-link,{lib}"
    )


def test_it_is_what_the_loader_itself_lists(program: Path) -> None:
    interpreter, files = libraries(program)
    said = subprocess.run([interpreter, "--list", program], capture_output=True, text=True, check=True).stdout
    listed = {words[0]: words[2] for words in map(str.split, said.splitlines()) if len(words) == 4}
    found = {Path(guest).name: here for guest, here in files.items() if guest != interpreter}
    assert {name: Path(path).resolve() for name, path in listed.items()} == {
        name: path.resolve() for name, path in found.items()
    }
    assert set(found) == {"libouter.so", "libinner.so", "libc.so.6"}
    assert files[interpreter].samefile(interpreter)


def test_with_only_its_libraries_in_one_folder_it_runs(program: Path, tmp_path: Path) -> None:
    interpreter, files = libraries(program)
    (folder,) = {str(Path(guest).parent) for guest in files if guest != interpreter}
    (root := tmp_path / "root" / folder.lstrip("/")).mkdir(parents=True)
    for guest, here in files.items():
        shutil.copy(here, tmp_path / "root" / guest.lstrip("/") if guest != interpreter else root / "loader")
    (alone := tmp_path / "alone").mkdir()
    shutil.copy(program, alone / "program")
    command = [root / "loader", "--inhibit-cache", "--library-path", root, alone / "program"]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    assert libraries(_compile(tmp_path, "alone", "int main(void) { return 0; }", "-static")) == ("", {})


def test_a_missing_library_is_named_with_who_needs_it(program: Path) -> None:
    (program.parent / "lib" / "libinner.so").unlink()
    with pytest.raises(UsageError, match=r"libouter\.so needs libinner\.so, which is not on this machine") as caught:
        libraries(program)
    assert "LD_LIBRARY_PATH" in caught.value.hint


def test_the_users_library_path_counts_as_for_the_loader(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = program.parent / "elsewhere"
    elsewhere.mkdir()
    moved = (program.parent / "lib" / "libinner.so").rename(elsewhere / "libinner.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(elsewhere))
    assert moved in libraries(program)[1].values()


def test_a_libc_from_elsewhere_lies_where_a_guests_loader_looks(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = set(libraries(program)[1])
    mine = next(file for path, file in libraries(program)[1].items() if path.endswith("/libc.so.6"))
    (tree := program.parent / "tree").mkdir()
    shutil.copy(mine, tree / "libc.so.6")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tree))
    files = libraries(program)[1]
    assert tree / "libc.so.6" in files.values()
    assert set(files) == usual


def test_a_digest_of_each_library_by_name_but_for_those_that_the_kernel_is(program: Path) -> None:
    files = libraries(program)[1]
    known = module.digests(files, libc_in_kernel=False)
    assert set(known) == {"ld-linux-x86-64.so.2", "libc.so.6", "libouter.so", "libinner.so"}
    assert module.digests(files, libc_in_kernel=True) == {n: known[n] for n in ("libouter.so", "libinner.so")}
    inner = next(file for path, file in files.items() if path.endswith("/libinner.so"))
    inner.write_bytes(inner.read_bytes() + b"\0")
    again = module.digests(files, libc_in_kernel=False)
    assert {name for name in known if known[name] != again[name]} == {"libinner.so"}


def test_a_library_for_another_machine_is_passed_over(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = program.parent / "wrong"
    wrong.mkdir()
    data = bytearray((program.parent / "lib" / "libinner.so").read_bytes())
    data[18:20] = (183).to_bytes(2, "little")  # 64-bit ARM
    (wrong / "libinner.so").write_bytes(data)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(wrong))
    assert program.parent / "lib" / "libinner.so" in libraries(program)[1].values()


@pytest.mark.parametrize(
    "content",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01\x01\x01" + bytes(80), b"\x7fELF\x02\x01\x01" + b"\xff" * 80],
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(UsageError, match="it "):
        libraries(tmp_path / "it")


def test_a_program_that_is_cut_short_is_refused_or_read(program: Path) -> None:
    whole = program.read_bytes()
    for size in range(0, len(whole), 257):
        program.write_bytes(whole[:size])
        try:
            libraries(program)
        except UsageError:
            continue


def test_a_library_is_no_program(program: Path) -> None:
    with pytest.raises(UsageError, match="a library, not a program"):
        libraries(program.parent / "lib" / "libouter.so")


def test_without_the_loaders_index_the_standard_folders_serve(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {Path(name).name for name in libraries(program)[1]}
    monkeypatch.setattr(module, "_index", dict)
    assert {Path(name).name for name in libraries(program)[1]} == expected
