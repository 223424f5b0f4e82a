"""Make an index of sources from kernels with debugging information: ``python -m probes.maps.sources --help``.

A function's address gives its compilation unit (``.debug_aranges``, or the unit's own range), and that its source
file.  This needs no line program and no tree of debugging entries, except for units that include other ``.c`` files
(the scheduler is built from two such units): there each function's own ``DW_AT_decl_file`` counts.  Code of
``.init.text`` is left out: it is gone before the first process starts.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from bisect import bisect_right
from pathlib import Path
from typing import Any, Final

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from probes.maps.index import NO_SOURCE, fold, pack, unpack

_CODE: Final = (".text", ".noinstr.text", ".entry.text")
_NOT_FUNCTIONS: Final = re.compile(r"\.L|\$|__pfx_|__cfi_|__UNIQUE_ID|__already_done|__warned")
_FEW: Final = 100  # compilation units: with fewer in .debug_aranges than that, it is only of assembly files
_TREE: Final = re.compile(r"^(?:.*/linux-[0-9][^/]*|.*debian/build/[^/]+|\.)/")


def relative(path: str) -> str:
    """Return a path of DWARF relative to the top of the source tree."""
    path = posixpath.normpath(path)
    while (shorter := _TREE.sub("", path)) != path:
        path = shorter
    return path.removeprefix("../")


def functions(elf: Any) -> list[tuple[int, str]]:
    """Return (address, symbol) of everything in the code sections that a disassembler would show as a function."""
    sections = {index for index, section in enumerate(elf.iter_sections()) if section.name in _CODE}
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection) or not sections:
        raise ValueError("no symbol table or no code: not a kernel with debugging information")
    return sorted(
        (symbol["st_value"], symbol.name)
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] in sections
        and symbol["st_info"]["type"] in ("STT_FUNC", "STT_NOTYPE", "STT_GNU_IFUNC")
        and symbol.name
        and not _NOT_FUNCTIONS.match(symbol.name)
    )


def _text(die: Any, attribute: str) -> str:
    value = die.attributes[attribute].value if attribute in die.attributes else b""
    return str(value.decode(errors="replace"))


def _file_names(dwarf: DWARFInfo, unit: CompileUnit) -> list[str]:
    """Return the unit's table of files, by the number that DW_AT_decl_file has (DWARF 4 counts from 1)."""
    program: Any = dwarf.line_program_for_CU(unit)
    if program is None:
        return []
    folders = [folder.decode(errors="replace") for folder in program["include_directory"]]
    five = program["version"] >= 5
    names = [] if five else [""]
    for entry in program["file_entry"]:
        at = entry.dir_index if five else entry.dir_index - 1
        folder = folders[at] if 0 <= at < len(folders) else ""
        names.append(posixpath.join(folder, entry.name.decode(errors="replace")))
    return names


def _declared(unit: CompileUnit, names: list[str]) -> dict[str, str]:
    """Return function -> the ``.c`` file that has it, of a unit made of several ``.c`` files."""
    found = {}
    for die in unit.get_top_DIE().iter_children():
        if die.tag == "DW_TAG_subprogram" and "DW_AT_decl_file" in die.attributes:
            number = die.attributes["DW_AT_decl_file"].value
            if 0 <= number < len(names) and names[number].endswith(".c"):
                found[_text(die, "DW_AT_name")] = relative(names[number])
    return found


def _spans(dwarf: Any) -> list[tuple[int, int, int]]:
    """Return (first address, behind the last, offset of the unit) of all code, sorted.

    Clang writes no ``.debug_aranges``: its units are looked at one by one, which takes seconds for 2,000 of them.
    """
    aranges = dwarf.get_aranges()
    spans = [(entry.begin_addr, entry.begin_addr + entry.length, entry.info_offset)
             for entry in (aranges.entries if aranges else ()) if entry.length and entry.begin_addr]  # fmt: skip
    listed = {offset for _, _, offset in spans}
    if len(listed) < _FEW:
        for unit in dwarf.iter_CUs():
            top = unit.get_top_DIE().attributes
            if unit.cu_offset not in listed and {"DW_AT_low_pc", "DW_AT_high_pc"} <= top.keys():
                low, high = top["DW_AT_low_pc"].value, top["DW_AT_high_pc"]
                spans.append((low, high.value if high.form == "DW_FORM_addr" else low + high.value, unit.cu_offset))
    return sorted(spans)


def of_kernel(path: Path) -> dict[str, set[str]]:
    """Return source file -> folded functions of one kernel ELF with DWARF; takes about half a minute.

    Raises ValueError where the file has no symbols or no debugging information.
    """
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        symbols = functions(elf)
        if not elf.has_dwarf_info():
            raise ValueError(f"{path}: no debugging information")
        # A linked kernel keeps its relocations (--emit-relocs), already applied: applying them again takes minutes.
        dwarf: Any = elf.get_dwarf_info(relocate_dwarf_sections=False)
        spans = _spans(dwarf)
        if not spans:
            raise ValueError(f"{path}: no addresses of compilation units")
        starts = [span[0] for span in spans]
        units: dict[int, str] = {}
        declared: dict[int, dict[str, str]] = {}
        files: dict[str, set[str]] = {}
        for address, name in symbols:
            at = bisect_right(starts, address) - 1
            base = fold(name)
            if at < 0 or address >= spans[at][1]:
                files.setdefault(NO_SOURCE, set()).add(base)
                continue
            offset = spans[at][2]
            if offset not in units:
                unit = dwarf.get_CU_at(offset)
                units[offset] = relative(_text(unit.get_top_DIE(), "DW_AT_name"))
                names = _file_names(dwarf, unit)
                several = sum(file.endswith(".c") for file in {relative(name) for name in names}) > 1
                declared[offset] = _declared(unit, names) if several else {}
            files.setdefault(declared[offset].get(base, units[offset]), set()).add(base)
    return files


def main() -> None:
    """Make or extend an index from the kernels given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", nargs="+", type=Path, help="vmlinux with DWARF, of a -dbg package")
    parser.add_argument("--origin", action="append", default=[], help="a line saying what the kernels are")
    parser.add_argument("--add", action="store_true", help="extend the index that is there")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "linux" / "sources.tsv.gz")
    arguments = parser.parse_args()
    files: dict[str, set[str]] = {}
    origins = list(arguments.origin)
    if arguments.add:
        known, before = unpack(arguments.out.read_bytes())
        files = {path: set(symbols) for path, symbols in known.items()}
        origins += before
    for kernel in arguments.kernel:
        for path, symbols in of_kernel(kernel).items():
            files.setdefault(path, set()).update(symbols)
    sourced = set().union(*(symbols for path, symbols in files.items() if path != NO_SOURCE))
    files[NO_SOURCE] = files.get(NO_SOURCE, set()) - sourced
    data = pack(files, origins)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(data)
    print(f"{arguments.out}: {len(data)} bytes, {len(files)} files, {len(set().union(*files.values()))} functions")


if __name__ == "__main__":
    main()
