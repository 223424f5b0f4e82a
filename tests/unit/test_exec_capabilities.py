"""What can be seen on a QEMU, by what it exports: small libraries stand for QEMUs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from probes.exec import capabilities

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

PLUGINS = "qemu_plugin_register_vcpu_tb_trans_cb"
CLOCK = ("qemu_clock_get_ns", "current_cpu")
EYES = ("x86_cpu_gdb_read_register", "cpu_memory_rw_debug", "current_cpu")
UPDATE = "icount_update"
SAME = "the same seed, the same bits"
EVERYTHING = {PLUGINS, *CLOCK, *EYES, UPDATE}


def of(folder: Path, exported: set[str], version: tuple[int, ...] = (7, 2, 22)) -> dict[str, dict[str, Any]]:
    lines = [
        f"int {name};" if name in exported else f"extern int {name}; int *use_{name}(void) {{ return &{name}; }}"
        for name in EVERYTHING
    ]
    (folder / "qemu.c").write_text("\n".join(lines))
    qemu = folder / "qemu"
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "qemu.c", "-o", qemu], check=True, timeout=60)
    return capabilities.of_qemu(qemu, version)


def test_a_qemu_that_exports_all(tmp_path: Path) -> None:
    able = of(tmp_path, EVERYTHING)
    assert {name for name, entry in able.items() if not entry["available"]} == {"uncontended locks"}
    assert {name: entry["value"] for name, entry in able.items() if "value" in entry} == {
        SAME: "always", "several vCPUs": "by blocks", "plugin API": 1}  # fmt: skip
    assert of(tmp_path, EVERYTHING, (10, 0, 0))["several vCPUs"]["value"] == "exact"


@pytest.mark.parametrize(
    ("missing", "lacking"),
    [
        ("qemu_clock_get_ns", {"idle time"}),
        ("cpu_memory_rw_debug", {"results", "which lock", "packet sizes", "names of threads"}),
        ("current_cpu", {"idle time", "results", "which lock", "packet sizes", "names of threads"}),
        (UPDATE, set[str]()),
    ],
)
def test_what_is_lost_with_what_a_qemu_does_not_export(tmp_path: Path, missing: str, lacking: set[str]) -> None:
    able = of(tmp_path, EVERYTHING - {missing})
    assert {name for name, entry in able.items() if not entry["available"]} - {"uncontended locks"} == lacking
    assert all(entry["reason"] for entry in able.values() if not entry["available"])
    assert able[SAME]["value"] == ("almost always" if missing == UPDATE else "always")
    assert (UPDATE in able[SAME]["reason"]) == (missing == UPDATE)


def test_a_qemu_without_plugins_and_what_is_no_qemu(tmp_path: Path) -> None:
    none = of(tmp_path, EVERYTHING - {PLUGINS})
    (tmp_path / "text").write_text("no program\n")
    for able in (none, capabilities.of_qemu(tmp_path / "text", (7, 2)), capabilities.of_qemu(tmp_path / "no", (7, 2))):
        assert not any(entry["available"] for entry in able.values())
        assert {entry["reason"] for entry in able.values()} == {"this QEMU was built without TCG plugins"}
