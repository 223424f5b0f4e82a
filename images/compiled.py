"""One C program or shared object, compiled once: the cache's key is everything that the result depends on."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache as memoised
from pathlib import Path

from images import compiler
from images.store import disk_full_named, sha256_file
from profiler.errors import ToolMissing


def compiled(name: str, files: Mapping[str, Path], flags: Sequence[str], cache: Path) -> Path:
    """Give what the C sources among ``files`` (name while compiling -> file) become with ``flags``.

    ``name`` is what to call it when it does not compile.  Raises ``ToolMissing`` without a compiler or libc,
    ``AppBuild`` with the compiler's first lines, ``DiskFull``.
    """
    gcc = shutil.which(compiler.COMPILER)
    if gcc is None:
        raise ToolMissing(f"{compiler.COMPILER} is not installed", hint=compiler.INSTALL)
    sources = sorted(file for file in files if file.endswith(".c"))
    command = [gcc, *flags, *sources, "-o", "out"]
    key = hashlib.sha256(repr((_toolchain(gcc, "-static" in flags), command)).encode())
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
            compiler.run([*command, f"-ffile-prefix-map={scratch}=."], Path(scratch), name)
            Path(scratch, "out").replace(target)
    return target


@memoised
def _toolchain(gcc: str, static: bool) -> str:
    """Name the compiler, and the libc that becomes part of what is static."""
    version = compiler.run([gcc, "--version"], Path.cwd(), gcc).splitlines()[0]
    return f"{version} {sha256_file(compiler.libc('libc.a'))}" if static else version
