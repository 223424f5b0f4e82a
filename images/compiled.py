"""One C program or shared object, compiled once: the cache's key is everything that the result depends on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache as memoised
from pathlib import Path
from typing import Final

from images.store import disk_full_named
from profiler.errors import AppBuild, ToolMissing

_COMPILER: Final = "gcc"
_SECONDS: Final = 60
_LINES: Final = 8


def compiled(name: str, files: Mapping[str, Path], flags: Sequence[str], cache: Path) -> Path:
    """Give what the C sources among ``files`` (name while compiling -> file) become with ``flags``.

    ``name`` is what to call it when it does not compile.  Raises ``ToolMissing`` without a compiler, ``AppBuild`` with
    its first lines, ``DiskFull``.
    """
    compiler = shutil.which(_COMPILER)
    if compiler is None:
        raise ToolMissing(f"{_COMPILER} is not installed", hint="install it as root: apt-get install gcc libc6-dev")
    sources = sorted(file for file in files if file.endswith(".c"))
    command = [compiler, *flags, *sources, "-o", "out"]
    key = hashlib.sha256(repr((_version(compiler), command)).encode())
    for file, path in sorted(files.items()):
        key.update(file.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    parent = cache / "compiled"
    target = parent / key.hexdigest()[:32]
    if target.is_file():
        return target
    with disk_full_named(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".half-", dir=parent) as scratch:
            for file, path in files.items():
                Path(scratch, file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, Path(scratch, file))
            _run([*command, f"-ffile-prefix-map={scratch}=."], Path(scratch), name)
            Path(scratch, "out").replace(target)
    return target


@memoised
def _version(compiler: str) -> str:
    return _run([compiler, "--version"], Path.cwd(), compiler).splitlines()[0]


def _run(command: Sequence[str], folder: Path, name: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AppBuild(f"compiling {name} took more than {_SECONDS} s", hint="look at the source") from error
    if done.returncode:
        lines = (done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()
        raise AppBuild("\n".join(lines[:_LINES]), hint=f"{name} does not compile here")
    return done.stdout
