"""Compile the plugin for the QEMU in use, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from profiler.errors import DiskFull, ProbeBuild, ToolMissing, no_room

_FLAGS: Final = (
    "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden",
    "-fno-tree-slp-vectorize",  # two counters are not worth a vector
)  # fmt: skip
# A plugin that has to be built again is to have the digest that recordings know it by, wherever that is done.
_ANYWHERE: Final = "-ffile-prefix-map={folder}=."
_WHOLE: Final = ("-flto",)  # what a callback calls is in other files; compilers whose linker cannot do without
# First QEMU version of each plugin API; include/plugins/qemu-plugin.h of each release.
_API_SINCE: Final = (((11, 0), 7), ((10, 2), 6), ((10, 1), 5), ((9, 2), 4), ((9, 1), 3), ((9, 0), 2), ((7, 0), 1))
_TIMEOUT_S: Final = 120
_ROOM: Final = "free some space, or point WEAKLINK_CACHE and TMPDIR at directories on another disk"
_COMPILER: Final = "as root: apt-get install --no-install-recommends gcc libc6-dev"


def api_of(version: tuple[int, ...]) -> int:
    """Give the plugin API number of a QEMU version, 7.2 or newer (``profiler.machine.qemu`` refuses older ones)."""
    return next(api for since, api in _API_SINCE if version[:2] >= since)


def plugin(version: tuple[int, ...], cache: Path) -> Path:
    """Give the plugin for a QEMU of this version, compiled into ``cache`` unless it is there already.

    The cache's key is the source, the compiler and the QEMU version.  Raises ``ToolMissing`` without a C compiler and
    ``ProbeBuild`` with its first complaints, or ``DiskFull`` if that is one of them.
    """
    api = api_of(version)
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise ToolMissing("no C compiler for the probe", hint=_COMPILER)
    source = resources.files("probes.exec") / "plugin"
    files = {item.name: item.read_bytes() for item in source.iterdir() if item.name.endswith((".c", ".h"))}
    directory = cache / "probe"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = _run(compiler, ["--version"], directory).stdout
    digest = hashlib.sha256(repr((api, version, _FLAGS, _ANYWHERE, _WHOLE, identity, sorted(files.items()))).encode())
    target = directory / f"weaklink-exec-{digest.hexdigest()[:16]}.so"
    if target.exists():
        return target
    try:
        with tempfile.TemporaryDirectory(dir=directory) as work:
            _compile(compiler, files, api, Path(work))
            (Path(work) / "plugin.so").rename(target)
    except OSError as error:
        if no_room(error):
            raise _full(directory) from error
        raise
    return target


def _compile(compiler: str, files: Mapping[str, bytes], api: int, work: Path) -> None:
    """Make ``work``/plugin.so of sources, which are written there."""
    for name, data in files.items():
        (work / name).write_bytes(data)
    units = sorted(name for name in files if name.endswith(".c"))
    anywhere = _ANYWHERE.format(folder=work.resolve())
    for flags in ((*_FLAGS, *_WHOLE), _FLAGS):
        done = _run(compiler, [*flags, anywhere, f"-DWL_API={api}", "-o", "plugin.so", *units, "-ldl"], work)
        if not done.returncode:
            return
        if no_room(done.stderr):
            raise _full(work.parent)
    said = "\n".join(done.stderr.splitlines()[:8])
    raise ProbeBuild(f"{Path(compiler).name} refused the probe:\n{said}", hint=_COMPILER)


def _full(directory: Path) -> DiskFull:
    return DiskFull(f"no room left for the probe in {directory}, or where temporary files go", hint=_ROOM)


def _run(compiler: str, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [compiler, *arguments], cwd=cwd, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ProbeBuild(f"{Path(compiler).name} cannot be run: {error}", hint=_COMPILER) from error


def argument(
    plugin_file: Path, config: Path, out: Path, mode: str, console: Path | None = None, *, stacks: bool = False
) -> str:
    """Give the value of QEMU's ``-plugin``; commas in paths are doubled, as QEMU reads its options.

    ``console`` is QEMU's log of the guest's console, for windows that wait for a line on it.
    """
    paths = {"file": plugin_file, "config": config, "out": out, **({"console": console} if console else {})}
    words = [f"{name}={str(path).replace(',', ',,')}" for name, path in paths.items()]
    return ",".join([*words, f"mode={mode}", *(["stacks=on"] if stacks else [])])
