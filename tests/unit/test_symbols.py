"""Addresses to functions: by size, innermost first, the same name on every build, and nothing for a gap."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.symbols import SymbolTable, find_data
from probes.tables import STRING_BYTES
from profiler.errors import ArtifactCorrupt
from tests import machine_code


def table(*symbols: tuple[int, int, str]) -> SymbolTable:
    address, size, names = zip(*symbols, strict=True)
    return SymbolTable(np.array(address, dtype=np.uint64), np.array(size, dtype=np.uint64), names)


def named(symbols: SymbolTable, *addresses: int) -> list[str]:
    found = symbols.lookup(np.array(addresses, dtype=np.uint64))
    return [symbols.names[index] if index >= 0 else "-" for index in found.tolist()]


class TestLookup:
    def test_only_what_a_size_covers(self) -> None:
        symbols = table((100, 10, "a"), (120, 5, "b"))
        assert named(symbols, 0, 99, 100, 109, 110, 119, 120, 124, 125, 2**64 - 1) == list("--aa--bb--")

    def test_innermost_wins_and_the_outer_one_goes_on(self) -> None:
        symbols = table((100, 100, "outer"), (120, 20, "inner"), (125, 5, "core"))
        assert named(symbols, 110, 120, 126, 131, 145, 199, 200) == [
            "outer", "inner", "core", "inner", "outer", "outer", "-"]  # fmt: skip

    def test_an_inner_one_that_sticks_out(self) -> None:
        assert named(table((10, 10, "a"), (15, 10, "b"), (40, 1, "c")), 12, 17, 22, 25, 40) == ["a", "b", "b", "-", "c"]

    def test_a_label_without_size_is_found_by_name_only(self) -> None:
        symbols = table((100, 50, "f"), (110, 0, "label"))
        assert named(symbols, 110) == ["f"]
        assert symbols.address[symbols.find("label")[0]] == 110

    def test_shape_and_emptiness(self) -> None:
        symbols = table((5, 0, "nothing"))
        assert symbols.lookup([]).shape == (0,)
        assert symbols.lookup([[5, 6]]).tolist() == [[-1, -1]]

    @given(
        st.dictionaries(st.integers(0, 200), st.integers(0, 60), min_size=1, max_size=15),
        st.lists(st.integers(0, 300), max_size=30),
    )
    def test_against_the_plain_definition(self, sizes: dict[int, int], wanted: list[int]) -> None:
        symbols = sorted(sizes.items())
        found = table(*((start, size, str(start)) for start, size in symbols))
        for address, index in zip(wanted, found.lookup(np.array(wanted, dtype=np.uint64)).tolist(), strict=True):
            around = [number for number, (start, size) in enumerate(symbols) if start <= address < start + size]
            assert index == (around[-1] if around else -1)


LINUX = """\
0000000000000000 A fixed_percpu_data
                 U __end_rodata
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000040 t first.constprop.0
ffffffff81000060 t __do_sys_getppid
ffffffff81000060 T __ia32_sys_getppid
ffffffff81000060 T __x64_sys_getppid
ffffffff81000070 T __pfx_vfs_read
ffffffff81000080 T vfs_read
ffffffff81000088 t .LBB1
ffffffff81000090 T __sched_text_start
ffffffff81000090 t schedule_x
ffffffff810000a0 t same
ffffffff810000b0 t same
ffffffff810000c0 T _etext
ffffffff81200000 D a_variable
ffffffff81200008 T in_data
ffffffff83000000 T _sinittext
ffffffff83000000 t setup
ffffffff83000010 T _einittext
ffffffff83000010 t exit_code
"""


class TestListing:
    def test_linux(self) -> None:
        symbols = SymbolTable.from_nm(LINUX)
        text = 0xFFFFFFFF81000000
        assert named(symbols, text, text + 0x45, text + 0x65, text + 0x95) == [
            "startup_64", "first.constprop.0", "__x64_sys_getppid", "schedule_x"]  # fmt: skip
        assert named(symbols, text + 0x89, text + 0xBF, text + 0xC0, text - 1) == ["vfs_read", "same", "-", "-"]
        # Neither data nor what lies outside the text and init text.
        assert named(symbols, 0xFFFFFFFF81200008, 0xFFFFFFFF83000008, 0xFFFFFFFF83000010, 8) == ["-", "setup", "-", "-"]

    def test_all_names_are_found(self) -> None:
        symbols = SymbolTable.from_nm(LINUX)
        (index,) = symbols.find("__ia32_sys_getppid")
        assert symbols.aliases(index) == ("__x64_sys_getppid", "__ia32_sys_getppid", "__do_sys_getppid")
        assert len(symbols.find("same")) == 2
        assert symbols.find("nosuch") == ()

    def test_the_order_of_lines_does_not_matter(self) -> None:
        lines = LINUX.splitlines()
        forward, backward = SymbolTable.from_nm(LINUX), SymbolTable.from_nm("\n".join(lines[::-1]))
        assert forward.names == backward.names
        assert [forward.aliases(i) for i in range(len(forward))] == [backward.aliases(i) for i in range(len(backward))]

    def test_sizes_and_modules(self) -> None:
        symbols = SymbolTable.from_nm("1000 0008 T sized\n1010 T unsized\t[module]\n1020 D end\n")
        assert named(symbols, 0x1007, 0x1008, 0x101F, 0x1020) == ["sized", "-", "unsized", "-"]

    def test_the_last_symbol_does_not_swallow_the_rest(self) -> None:
        assert named(SymbolTable.from_nm("1000 T a\n2000 T last\n"), 0x1FFF, 0x2000, 0x9999) == ["a", "-", "-"]

    def test_a_hole_belongs_to_nobody(self) -> None:
        assert named(SymbolTable.from_nm("1000 T a\n9000000 T b\n"), 0x1000, 0x8000000) == ["a", "-"]

    @pytest.mark.parametrize("listing", ["", "no symbols here\n", "1000 D data\n"])
    def test_nothing_to_read(self, listing: str) -> None:
        with pytest.raises(ArtifactCorrupt):
            SymbolTable.from_nm(listing)

    def test_names_are_safe_to_print(self) -> None:
        (name,) = SymbolTable.from_nm("1000 4 T evil\u202e\x1b[31m\n").names
        assert name.isprintable()

    @pytest.mark.parametrize("letter", ["x", "\u202e", "\U0001f980"])
    def test_names_are_no_longer_than_recordings_take_and_still_differ(self, letter: str) -> None:
        begins = "f" + letter * 5000
        short, first, second = SymbolTable.from_nm(f"1000 4 T f\n2000 4 T {begins}a\n3000 4 T {begins}b\n").names
        assert short == "f"
        assert first != second
        assert all(3900 < len(f"deferred:{name}".encode()) < STRING_BYTES for name in (first, second))


ASSEMBLY = """
.text
.globl _start, __alias, alias, no_size, label
.type _start, @function
.type alias, @function
.type __alias, @function
_start: nop; nop
label: nop; nop
.size _start, .-_start
.balign 16, 0xcc
alias: __alias: .skip 8, 0x90
.size alias, .-alias
.size __alias, .-__alias
.balign 16, 0xcc
no_size: nop; nop
.type local, @function
local: nop
.size local, .-local
.section .text.last, "ax"
.globl tail
tail: nop; nop; nop
.data
.globl variable
variable: .quad 1
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc on this machine")
    place = tmp_path_factory.mktemp("elf")
    (place / "a.s").write_text(ASSEMBLY)
    subprocess.run(["gcc", "-nostdlib", "-static", "-o", place / "a", place / "a.s"], check=True, capture_output=True)
    return place / "a"


class TestElf:
    def test_functions_and_assembly(self, elf: Path) -> None:
        symbols = SymbolTable.load(elf)
        base = int(symbols.address[symbols.find("_start")[0]])
        assert named(symbols, base, base + 2, base + 3, base + 4, base + 15) == ["_start"] * 3 + ["-", "-"]
        assert named(symbols, base + 16, base + 23, base + 24) == ["alias", "alias", "-"]
        assert named(symbols, base + 32, base + 33, base + 34, base + 35) == ["no_size", "no_size", "local", "tail"]
        assert symbols.aliases(symbols.find("__alias")[0]) == ("alias", "__alias")
        assert len(symbols.find("label")) == 1
        assert symbols.find("variable") == ()

    def test_a_symbol_without_size_ends_with_its_section(self, elf: Path) -> None:
        symbols = SymbolTable.load(elf)
        (tail,) = symbols.find("tail")
        assert symbols.size[tail] == 3

    def test_cut_and_stripped_files(self, elf: Path, tmp_path: Path) -> None:
        data = elf.read_bytes()
        for name, content in (("cut", data[: len(data) // 2]), ("head", data[:20]), ("magic", data[:4])):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ArtifactCorrupt):
                SymbolTable.load(tmp_path / name)
        subprocess.run(["strip", "-o", tmp_path / "stripped", elf], check=True)
        with pytest.raises(ArtifactCorrupt, match="no symbols"):
            SymbolTable.load(tmp_path / "stripped")

    @given(st.data())
    def test_any_damage_is_named_or_harmless(
        self, elf: Path, tmp_path_factory: pytest.TempPathFactory, data: Any
    ) -> None:
        content = bytearray(elf.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "damaged"
        path.write_bytes(content)
        try:
            symbols = SymbolTable.load(path)
        except ArtifactCorrupt:
            return
        assert len(symbols.lookup([0, 2**64 - 1])) == 2


class TestFile:
    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactCorrupt):
            SymbolTable.load(tmp_path / "absent")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")
def test_jump_stubs_go_under_the_name_of_their_section(tmp_path: Path) -> None:
    """A static program calls its memcpy, of which there are several versions, through a stub without a symbol."""
    source, program = tmp_path / "app.c", tmp_path / "app"
    source.write_text(
        "#include <string.h>\nint main(int n, char **v) { char a[64]; memcpy(a, v[0], n); return a[0]; }\n"
    )
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source], check=True, timeout=60)
    table = SymbolTable.load(program)
    (stubs,) = table.find("[.plt]")
    assert table.size[stubs] > 0
    assert table.lookup([int(table.address[stubs])])[0] == stubs


# -- where it is loaded, and what is no function -----------------------------------------------------------------------

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")


@needs_compiler
def test_a_symbol_outside_its_section_is_none_of_its_functions(tmp_path: Path) -> None:
    # As OSv's entry point, which has a physical address.
    low = ".globl low\n.type low, @function\n.set low, f - 0x30000000\n"
    elf = machine_code.kernel(tmp_path, {"f": "nop; ret", "g": "ret"}, at=0x40200000, data=low)
    assert machine_code.symbols(elf)["low"] == 0x10200000
    symbols = SymbolTable.from_elf(elf)
    assert symbols.find("low") == ()
    assert named(symbols, 0x40200000, 0x40200001, 0x10200000) == ["f", "f", "-"]


@needs_compiler
def test_moved_to_where_it_was_loaded(tmp_path: Path) -> None:
    alias = ".globl other\n.type other, @function\n.set other, f\n"
    elf = machine_code.kernel(tmp_path, {"f": "nop; ret"}, at=0x1000, data=alias)
    symbols = SymbolTable.from_elf(elf)
    moved = symbols.moved(0x100000000000)
    assert named(moved, 0x1000, 0x100000001000, 0x100000001001, 0x100000001002) == ["-", "f", "f", "-"]
    assert moved.find("other") == symbols.find("other") == (0,)
    assert named(symbols, 0x1000) == ["f"]  # which stays as it was


@needs_compiler
def test_a_stripped_file_is_an_error_or_empty(tmp_path: Path) -> None:
    machine_code.kernel(tmp_path, {"f": "ret"})
    elf = machine_code.link(tmp_path, "kernel.S", 0x1000, entry="f", flags=("-Wl,--strip-all",))
    with pytest.raises(ArtifactCorrupt, match="names no functions"):
        SymbolTable.from_elf(elf)
    empty = SymbolTable.from_elf(elf, may_be_stripped=True)
    assert (len(empty), named(empty.moved(0x1000), 0x1000, 0x2000)) == (0, ["-", "-"])


@needs_compiler
def test_variables_are_found_by_name(tmp_path: Path) -> None:
    data = ".data\n.type table, @object\n.size table, 24\ntable: .quad 1, 2, 3\nmy_table: .quad 4\n"
    elf = machine_code.kernel(tmp_path, {"f": "ret"}, data=data)
    at = machine_code.symbols(elf)
    assert find_data(elf, "table") == (at["table"], 24)  # and not the end of another's name
    assert find_data(elf, "my_table") == (at["my_table"], 0)
    assert find_data(elf, "able") is None
    (tmp_path / "listing").write_text(LINUX)
    assert find_data(tmp_path / "listing", "table") is None
