"""Threads' names: where a kernel has them, and what is made of what was read there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.exec import names
from probes.exec.disassembly import Code
from probes.exec.finder import Finder, Kernel
from probes.exec.places import load_rules
from probes.symbols import SymbolTable
from tests import machine_code

GET = "__get_task_comm"


def offset(folder: Path, kind: str, bodies: Mapping[str, str]) -> int | None:
    elf = machine_code.kernel(folder, dict(bodies))
    finder = Finder(Kernel(SymbolTable.load(elf), elf, Code(elf)))
    found = names.find(finder, load_rules(kind)["name"])
    assert [entry["what"] for entry in finder.missing] == ["thread-name"] * (found is None)
    return found


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")
@pytest.mark.parametrize(
    ("kind", "bodies", "found"),
    [
        ("linux", {GET: "mov %rdx, %rbx; call strnlen; lea 0xba0(%rbx), %rsi; call strscpy_pad; ret"}, 0xBA0),
        ("linux", {GET: "mov %rdx, %rbp; add $0xba0, %rbp; mov %rbp, %rsi; call sized_strscpy; ret"}, 0xBA0),
        ("linux", {"__set_task_comm": "lea 0x750(%rdi), %rdi; call strscpy_pad; ret"}, 0x750),
        # The address of something else, of what the field points at, or of nobody knows what.
        ("linux", {GET: "lea 0xba0(%rdi), %rsi; call strscpy_pad; ret"}, None),
        ("linux", {GET: "mov 0xba0(%rdx), %rsi; call strscpy_pad; ret"}, None),
        ("linux", {GET: "lea 0xba0(%rdx), %rsi; call strnlen; call strscpy_pad; ret"}, None),
        ("linux", {GET: "lea 0xba00000(%rdx), %rsi; call strscpy_pad; ret"}, None),
        ("linux", {}, None),
        ("freebsd", {"sched_ule_tdname": "push %rbp; mov %rsp, %rbp; lea 0x2dc(%rdi), %rax; pop %rbp; ret"}, 0x2DC),
        ("freebsd", {"sched_ule_tdname": "call strnlen; ret"}, None),
    ],
)  # fmt: skip
def test_where_a_kernel_has_a_threads_name(
    tmp_path: Path, kind: str, bodies: Mapping[str, str], found: int | None
) -> None:
    helpers = dict.fromkeys(("strscpy_pad", "sized_strscpy", "strnlen"), "ret")
    assert offset(tmp_path, kind, helpers | dict(bodies)) == found


def test_threads_as_the_probe_says_them() -> None:
    said = [[0, 0, -1, "617070"], [3, -1, -1, "6964c3a9"], [1, 1, 0, ""], [1, 0, 0, "1b5b41ff"]]
    assert names.table(said).to_pydict() == {
        "thread": [0, 1, 2, 3], "role": ["main", "idle", "app", "app"], "process": [0, -1, 1, 0],
        "creator": [-1, -1, 0, 0], "name": ["app", "id\u00e9", "", "\ufffd[A\ufffd"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        3, [3], [[0, 0, -1]], [[4, 0, -1, ""]], [[0, -2, -1, ""]], [[0, 0, 1, ""]], [[0, 0, -1, "6"]],
        [[0, 0, -1, "61" * 40]], [[0, 1 << 31, -1, ""]], [["x", 0, 0, ""]], [[0, 0, -1, None]],
    ],
)  # fmt: skip
def test_what_the_probe_cannot_have_said_of_threads(said: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        names.table(said)
