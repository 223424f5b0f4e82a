"""Sources that an app takes from a package registry: fetched by pip as this machine has it set up, checked, kept.

pip knows the user's index, mirrors, proxies and certificates, and checks the SHA-256 that the app pins.  It wants the
metadata of a source package too, for which it would run the package's own build script; it is given a build backend
that answers from what is known already, so nothing of the package is ever run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from images.store import build_directory, disk_full, intact, locked, sha256_file
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, ToolMissing, no_room

SECONDS: Final = 300
_MOST_BYTES: Final = 256 << 20  # of a file that pip writes
_MOST_MEMBERS: Final = 100_000
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MISMATCH: Final = "DO NOT MATCH THE HASHES"
_ONLINE: Final = "check that this machine is online and that pip can install packages"

# In place of setuptools, which source packages without a backend of their own name too (PEP 517).
_BACKEND: Final = """
import os

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    name, version = os.environ["WEAKLINK_PACKAGE"].split("==")
    folder = name.replace(".", "_").replace("-", "_") + "-" + version + ".dist-info"
    os.mkdir(os.path.join(directory, folder))
    with open(os.path.join(directory, folder, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: " + name + "\\nVersion: " + version + "\\n")
    return folder

class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
"""


@dataclass(frozen=True)
class Member:
    """A file of the package: its path there, the name that it gets, its SHA-256.

    ``until``: it ends behind the first line that is this text; what the package adds to it is left out.
    """

    path: str
    name: str
    sha256: str
    until: str = ""


@dataclass(frozen=True)
class Source:
    """The ``[source]`` table of an app.toml: one version of one source package, and the files that are taken out."""

    package: str
    version: str
    sha256: str
    files: tuple[Member, ...]

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Source:
        """Read the table; ``ValueError``, ``KeyError`` or ``TypeError`` if it is not complete."""
        files = tuple(Member(**{str(key): str(text) for key, text in row.items()}) for row in table["file"])
        source = cls(str(table["package"]), str(table["version"]), str(table["sha256"]), files)
        words = [source.package, source.version, *(file.name for file in files)]
        digests = [source.sha256, *(file.sha256 for file in files)]
        if not all(map(_WORD.fullmatch, words)) or not all(map(_SHA256.fullmatch, digests)):
            raise ValueError("source: package, version and names are words, every sha256 has 64 digits")
        return source


def fetch(source: Source, cache: Path, *, seconds: float = SECONDS) -> dict[str, Path]:
    """Give the package's files by name, from ``cache`` if they are there; ``seconds`` is the time that pip has.

    Raises ``ArtifactUnavailable``, ``ArtifactCorrupt`` on another digest or a file that is not as it should be,
    ``ToolMissing`` without pip, ``DiskFull``.  Nothing half is left behind.
    """
    place = cache / "sources" / f"{source.package}-{source.version}-{source.sha256[:12]}"
    with locked(place.parent / ".lock", lambda: None):
        if not intact(place) or any(_digest(place / file.name) != file.sha256 for file in source.files):
            build_directory(place, lambda folder: _fill(source, folder, seconds))
    return {file.name: place / file.name for file in source.files}


def _digest(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _fill(source: Source, folder: Path, seconds: float) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        archive = _download(source, Path(scratch), seconds)
        _extract(archive, source, folder)
    return {"package": f"{source.package}=={source.version}", "sha256": source.sha256}


def _download(source: Source, scratch: Path, seconds: float) -> Path:
    wanted = f"{source.package}=={source.version}"
    (scratch / "backend" / "setuptools").mkdir(parents=True)
    (scratch / "backend" / "setuptools" / "__init__.py").touch()
    (scratch / "backend" / "setuptools" / "build_meta.py").write_text(_BACKEND, encoding="utf-8")
    (scratch / "wanted.txt").write_text(f"{wanted} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--progress-bar", "off", "--no-deps",
        "--no-binary", ":all:", "--no-build-isolation", "--use-pep517", "--require-hashes", "-r", "wanted.txt",
        "-d", "out",
    ]  # fmt: skip
    code, said = _run_pip(command, scratch, wanted, seconds)
    if code:
        if "No module named pip" in said:
            raise ToolMissing(
                "this Python has no pip, which fetches sources", hint=f"run: {sys.executable} -m ensurepip"
            )
        if os.strerror(errno.EFBIG) in said:  # the limit that pip has here, not the disk's
            raise _corrupt(source, f"it has more than {_MOST_BYTES:,} bytes")
        if no_room(said):
            raise disk_full(scratch)
        if _MISMATCH in said:
            raise _corrupt(source, f"it does not have the SHA-256 {source.sha256}")
        raise ArtifactUnavailable(f"pip could not fetch {wanted}: {_reason(said)}", hint=_ONLINE)
    found = [path for path in (scratch / "out").glob("*") if path.is_file()]
    if len(found) != 1 or sha256_file(found[0]) != source.sha256:
        raise _corrupt(source, f"it does not have the SHA-256 {source.sha256}")
    return found[0]


def _run_pip(command: list[str], folder: Path, wanted: str, seconds: float) -> tuple[int, str]:
    """Run pip with a limit of time and of what it writes; give its exit code and what it said."""
    environment = {
        **os.environ, "PYTHONPATH": str(folder / "backend"), "WEAKLINK_PACKAGE": wanted, "TMPDIR": str(folder),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C",
    }  # fmt: skip

    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise ArtifactUnavailable(f"pip did not fetch {wanted} within {seconds:.0f} s", hint=_ONLINE) from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with the helpers that it started
            process.communicate()
    return process.returncode, said


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [
        line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"
    ]
    return (named or lines or ["it did not say why"])[-1][:300]


def _extract(archive: Path, source: Source, folder: Path) -> None:
    """Take the wanted files out, by their exact paths and under our names; every one must have its digest."""
    missing = {file.path: file for file in source.files}
    try:
        with tarfile.open(archive, mode="r|*") as stream:
            for count, member in enumerate(stream):
                if count >= _MOST_MEMBERS or not missing:
                    break
                file = missing.pop(member.name, None)
                if file is None:
                    continue
                content = stream.extractfile(member) if member.isreg() and member.size <= _MOST_BYTES else None
                if content is None:
                    raise _corrupt(source, f"{file.path} is not a plain file, or too large")
                with content, (folder / file.name).open("xb") as out:
                    _copy(content, out, file.until.encode())
                if sha256_file(folder / file.name) != file.sha256:
                    raise _corrupt(source, f"{file.path} does not have the SHA-256 {file.sha256}")
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of this disk, not of the archive
        raise _corrupt(source, f"it is not an archive that can be read: {error}") from error
    if missing:
        raise _corrupt(source, f"it has no {' or '.join(missing)}")


def _copy(content: Any, out: Any, until: bytes) -> None:
    if not until:
        shutil.copyfileobj(content, out)
        return
    for line in content:
        out.write(line)
        if line.rstrip(b"\r\n") == until:
            return


def _corrupt(source: Source, why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"package {source.package} {source.version} is not what it should be: {why}",
        hint="if it happens again, the mirror or a proxy changes the file",
    )


def digest(source: Source | None) -> str:
    """Hash what is pinned: the same for everybody, and without fetching anything."""
    rows = [] if source is None else [[file.name, file.sha256] for file in source.files]
    return hashlib.sha256(repr(rows).encode()).hexdigest()
