"""Where members lie in a C or C++ structure, by the debug information of an ELF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from tests.equality.sequences import Missing

_STRUCTURES = ("DW_TAG_structure_type", "DW_TAG_class_type")


def members(elf: Path, wanted: Mapping[str, frozenset[str]]) -> Mapping[str, Mapping[str, int]]:
    """Give structure -> member -> offset in bytes, "" being the size.

    ``wanted``: source file -> structures that are defined in its unit.  Raises ``Missing`` for what the debug
    information does not have.
    """
    found: dict[str, Mapping[str, int]] = {}
    with elf.open("rb") as file:
        for part in ELFFile(file).get_dwarf_info().iter_CUs():
            unit = _name(part.get_top_DIE())
            names = next((names for source, names in wanted.items() if unit.endswith(source)), frozenset())
            if not names:
                continue
            for die in part.iter_DIEs():
                if die.tag in _STRUCTURES and "DW_AT_byte_size" in die.attributes and (name := _name(die)) in names:
                    found[name] = _members(die)
            if not frozenset().union(*wanted.values()) - found.keys():
                return found
    missing = frozenset().union(*wanted.values()) - found.keys()
    raise Missing(
        f"the debug information of {elf.name} says nothing of {', '.join(sorted(missing))}: add the kernel with"
        " --symbols, the file that was not stripped"
    )


def _name(die: DIE) -> str:
    if "DW_AT_name" in die.attributes:
        return str(die.attributes["DW_AT_name"].value.decode(errors="replace"))
    if "DW_AT_specification" in die.attributes:  # declared before, defined here
        return _name(die.get_DIE_from_attribute("DW_AT_specification"))
    return ""


def _members(die: DIE) -> Mapping[str, int]:
    offsets = {"": int(die.attributes["DW_AT_byte_size"].value)}
    for child in die.iter_children():
        at = child.attributes.get("DW_AT_data_member_location")
        if child.tag == "DW_TAG_member" and at is not None:
            offsets[_name(child)] = int(at.value)
        elif child.tag == "DW_TAG_member" and "DW_AT_data_bit_offset" in child.attributes:
            offsets[_name(child)] = int(child.attributes["DW_AT_data_bit_offset"].value) // 8
    return offsets
