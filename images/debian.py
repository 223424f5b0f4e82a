"""Packages of this machine's Debian archive, fetched as an ordinary user and never installed.

apt itself checks the archive's signature over its lists; the SHA-256 in those lists is checked here once more over
the file that arrived.  Nothing of a package is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from images.store import disk_full, sha256_file
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, ToolMissing, no_room

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~_-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_MEMBERS: Final = 200_000
_QUESTION_SECONDS: Final = 60
_DOWNLOAD_SECONDS: Final = 1800
_REACH_SECONDS: Final = 15
_SMALL: Final = 100_000
_OWN: Final = "add a kernel of yours: weaklink guests add NAME --kind linux --kernel FILE"


@dataclass(frozen=True)
class Package:
    """One version of one package, as apt's lists describe it; ``size`` in bytes."""

    name: str
    version: str
    sha256: str
    size: int


def resolve(meta: str, pattern: str) -> Package:
    """Find the package that ``meta`` depends on and whose name ``pattern`` matches, or ``meta`` itself.

    Raises ``ArtifactUnavailable`` when apt's lists do not have it, ``ToolMissing`` when there is no apt.
    """
    wanted = re.compile(pattern)
    if wanted.fullmatch(meta):
        return _describe(meta)
    for line in _apt_cache("depends", "--no-recommends", "--no-suggests", meta).splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and _WORD.fullmatch(name) and wanted.fullmatch(name):
            return _describe(name)
    raise _unavailable(f"package {meta} names no kernel package that matches {pattern}")


def named(pattern: str, version: str) -> Package:
    """Find the package whose name matches and whose version is ``version`` or begins with it, as 6.1 does.

    Raises ``ArtifactUnavailable`` with the versions that there are if there is none, or more than one.
    """
    wanted, prefix = re.compile(pattern), re.match(r"[a-z-]*", pattern)
    assert prefix is not None
    names = [name for name in _apt_cache("pkgnames", prefix[0]).split() if wanted.fullmatch(name)]
    found = _records(_apt_cache("show", "--all-versions", *names)) if names else []
    # A package that only depends on the kernel's has the same version, and nothing in it.
    there = {package.version: package for package in sorted(found, key=lambda package: package.size)}
    fitting = [each for each in there if each == version or re.match(re.escape(version) + r"[.~+-]", each)]
    if version in fitting or len(fitting) == 1:
        return there[version if version in fitting else fitting[0]]
    said = f"more than one version that begins with {version[:40]}" if fitting else f"no version {version[:40]}"
    raise ArtifactUnavailable(
        f"apt's lists have {said}; they have {', '.join(sorted(there)) or 'none at all'}",
        hint="say one of these, or add a kernel that you have: weaklink guests add NAME --kind linux --kernel FILE",
    )


def download(package: Package, directory: Path) -> Path:
    """Fetch ``package`` into ``directory`` (which must be writable) and check its digest.

    Raises ``ArtifactUnavailable``, ``ArtifactCorrupt`` on another digest, ``DiskFull``.
    """
    return _fetch(package, directory, ("-o", "Acquire::Retries=3"), _DOWNLOAD_SECONDS)


def reach(meta: str) -> bool:
    """See that apt reaches its mirror, by fetching ``meta``: a package of some kB that only names another.

    False if that was not tried because ``meta`` is no small package.  Raises what ``download`` does.
    """
    package = _describe(meta)
    if package.size > _SMALL:
        return False
    patience = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "-o", "Acquire::https::Timeout=5")
    with tempfile.TemporaryDirectory(prefix="weaklink-") as place:
        _fetch(package, Path(place), patience, _REACH_SECONDS)
    return True


def _fetch(package: Package, directory: Path, options: Sequence[str], seconds: float) -> Path:
    command = ["apt-get", "-qq", *options, "download", f"{package.name}={package.version}"]
    result = _run(command, directory, seconds)
    if result.returncode:
        if no_room(result.stderr) or shutil.disk_usage(directory).free < (1 << 20):
            raise disk_full(directory)
        raise _unavailable(f"apt-get could not fetch {package.name}: {_last_line(result.stderr)}")
    found = sorted(directory.glob("*.deb"))
    if len(found) != 1:
        raise _unavailable(f"apt-get left {len(found)} packages instead of one")
    digest = sha256_file(found[0])
    if digest != package.sha256:
        found[0].unlink()
        raise ArtifactCorrupt(
            f"{package.name} {package.version} has SHA-256 {digest}, not {package.sha256}",
            hint="run: sudo apt-get update; if it happens again, the mirror or a proxy changes the file",
        )
    return found[0]


def extract(deb: Path, wanted: Mapping[str, tuple[str, int]], directory: Path) -> None:
    """Take single files out of a package: ``wanted`` is file name to write -> (regex of its path, most bytes).

    The archive is streamed and reading ends when everything was found.  A path that is absolute or holds ``..``
    anywhere refuses the whole package, as does a wanted path that is not a plain file or is too large, or that is
    missing: ``ArtifactCorrupt``.  File names to write come from ``wanted``, never from the archive.
    """
    missing = {name: (re.compile(pattern), most) for name, (pattern, most) in wanted.items()}
    try:
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(deb)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise _no_tool("dpkg-deb", "dpkg") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for count, member in enumerate(archive):
                path = member.name.removeprefix("./")
                if path.startswith("/") or ".." in path.split("/") or count >= _MOST_MEMBERS:
                    raise _corrupt(deb, f"it holds the path {member.name[:80]!r}")
                for name, (pattern, most) in missing.items():
                    if pattern.fullmatch(path):
                        _take(deb, archive, member, directory / name, most)
                        del missing[name]
                        break
                if not missing:
                    return
        raise _corrupt(deb, f"it has no {' or '.join(sorted(missing))}")
    except (tarfile.TarError, EOFError) as error:
        process.kill()
        said = process.stderr.read(4096).decode(errors="replace")
        raise _corrupt(deb, _last_line(said) or str(error)) from error
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _take(deb: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, most: int) -> None:
    if not member.isreg():
        raise _corrupt(deb, f"{member.name[:80]!r} is not a plain file")
    if not 0 < member.size <= most:
        raise _corrupt(deb, f"{member.name[:80]!r} has {member.size} bytes (at most {most} are believed)")
    source: IO[bytes] | None = archive.extractfile(member)
    assert source is not None
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    if target.stat().st_size != member.size:
        raise _corrupt(deb, f"{member.name[:80]!r} is cut short")


def _describe(name: str) -> Package:
    """Give the version of a package that apt would install."""
    found = _records(_apt_cache("show", "--no-all-versions", name))
    if not found:
        raise _unavailable(f"apt's lists give no version, size and SHA-256 of {name}")
    return found[0]


def _records(text: str) -> list[Package]:
    """Read what apt-cache shows of packages: those of which name, version, size and digest are there."""
    found = []
    for record in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in record.splitlines():
            key, colon, value = line.partition(": ")
            if colon and not line.startswith(" "):
                fields.setdefault(key, value.strip())
        name, version, digest, size = (fields.get(key, "") for key in ("Package", "Version", "SHA256", "Size"))
        sound = _WORD.fullmatch(name) and _WORD.fullmatch(version) and _SHA256.fullmatch(digest)
        if sound and size.isdecimal():
            found.append(Package(name, version, digest, int(size)))
    return found


def _apt_cache(*arguments: str) -> str:
    result = _run(["apt-cache", *arguments], None, _QUESTION_SECONDS)
    if result.returncode:
        raise _unavailable(f"apt's lists do not have {arguments[-1]}: {_last_line(result.stderr)}")
    return result.stdout


def _run(command: list[str], directory: Path | None, seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=directory, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise _no_tool(command[0], "apt") from error
    except subprocess.TimeoutExpired as error:
        raise _unavailable(f"{command[0]} gave no answer in {seconds:.0f} s") from error


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("W:")]
    return lines[-1].strip()[:300] if lines else ""


def _unavailable(message: str) -> ArtifactUnavailable:
    return ArtifactUnavailable(message, hint="run: sudo apt-get update, and check that this machine is online")


def _no_tool(tool: str, package: str) -> ToolMissing:
    return ToolMissing(f"there is no {tool} on this machine", hint=f"install Debian's {package}, or {_OWN}")


def _corrupt(deb: Path, why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"package {deb.name} is not usable: {why}", hint="run again: the package is fetched anew")
