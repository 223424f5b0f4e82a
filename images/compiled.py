"""One C program or shared object, compiled once: the cache's key is everything that the result depends on."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from images import compiler
from images.store import disk_full_named


def compiled(name: str, files: Mapping[str, Path], flags: Sequence[str], cache: Path) -> Path:
    """Give what the C sources among ``files`` (name while compiling -> file) become with ``flags``.

    ``name`` is what to call it when it does not compile.  Raises ``ToolMissing`` without a compiler or libc,
    ``AppBuild`` with the compiler's first lines, ``DiskFull``.
    """
    sources = sorted(file for file in files if file.endswith(".c"))
    command = [compiler.COMPILER, *flags, *sources, "-o", "out"]
    toolchain = compiler.toolchain(compiler.libc("libc.a") if "-static" in flags else None)
    key = hashlib.sha256(repr((toolchain, command)).encode())
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
