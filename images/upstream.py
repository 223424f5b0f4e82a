"""What upstream has released: which files, where, and what is known of them before they are fetched (catalog.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from profiler.errors import ArtifactCorrupt, UsageError

MANIFEST: Final = "manifest"
PUBLISHED: Final = "upstream manifest"
UNVERIFIED: Final = "unverified"
"""What ``Release.verified_by`` is if nothing but the first pull tells the digests of later ones."""

_ADDRESS: Final = re.compile(r"[\x21-\x7e]{1,400}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MOST_LINES: Final = 200


@dataclass(frozen=True)
class Artifact:
    """One file of a release.  ``size`` in bytes and ``sha256`` are 0 and "" where they are not known.

    ``role``: ``kernel`` and ``base`` as in ``images.model.Given``, or ``manifest``.  ``member`` is the path of what is
    wanted inside the file, if it is an archive; ``most``: no more bytes are believed, packed or unpacked.
    """

    role: str
    file: str
    address: str
    most: int
    member: str = ""
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Release:
    """A version of a kind of guest at upstream or a mirror (``host``)."""

    kind: str
    version: str
    host: str
    verified_by: str
    artifacts: tuple[Artifact, ...]
    give: str
    caveat: str

    @property
    def provenance(self) -> str:
        """Say in one line where a kernel of it is from."""
        return f"release {self.version} ({self.host}; {self.verified_by})"


def kinds() -> list[str]:
    """Give the kinds of guest that have releases."""
    return sorted(_catalog())


def giving(kind: str) -> str:
    """Give the options of ``guests add`` for the files of a kind."""
    return str(_catalog()[kind]["give"]) if kind in _catalog() else "--kernel FILE"


def complete(kind: str) -> bool:
    """Whether a release of this kind is all that a guest needs."""
    return kind in _catalog() and not _catalog()[kind].get("caveat")


def release(kind: str, version: str = "", address: str = "") -> Release:
    """Describe a version (default: the catalog's), from upstream or from the folder ``address`` of a mirror.

    What a manifest says counts as published by upstream if its own digest was known or it comes from upstream itself.
    Raises ``UsageError`` for a kind, version or address that cannot be.
    """
    if kind not in _catalog():
        raise UsageError(f"no release of {kind} is known", hint=f"there are releases of {', '.join(kinds())}")
    entry = _catalog()[kind]
    wanted = _version(kind, entry, version or entry["default"])
    folder = (address or entry["from"].format(version=wanted)).rstrip("/")
    check_address(folder)
    known = entry.get("known", {}).get(wanted, {})
    published = known.get("verified_by", "") or (PUBLISHED if MANIFEST in entry["files"] and not address else "")
    artifacts = tuple(
        Artifact(
            role, about["file"], f"{folder}/{about['file']}", about["most_mib"] << 20, about.get("member", ""),
            **known.get(role, {}),
        )
        for role, about in entry["files"].items()
    )  # fmt: skip
    return Release(
        kind, wanted, (urlsplit(folder).hostname or "")[:60], published or UNVERIFIED,
        artifacts, entry["give"], entry.get("caveat", ""),
    )  # fmt: skip


def check_address(address: str) -> None:
    """Raise ``UsageError`` unless an address is https, or http on this machine, without a password in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not _ADDRESS.fullmatch(address) or not host or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(
            f"{address[:80]!r} is no address of a folder", hint="as in https://mirror.example/15.1-RELEASE"
        )
    if not secure(address):
        raise UsageError(
            f"{address[:80]} is not read: others could change what comes from there", hint="give an https address"
        )


def secure(address: str) -> bool:
    """Whether nobody on the way can change what comes from an address: https, or http on this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and _here(parts.hostname or ""))


def manifest(text: bytes, name: str) -> Mapping[str, str]:
    """Read a FreeBSD MANIFEST: file name -> SHA-256, the first two of the words between tabs in each line.

    (release/scripts/make-manifest.sh writes them.)  Raises ``ArtifactCorrupt`` for anything else.
    """
    digests: dict[str, str] = {}
    for line in text.decode("utf-8", errors="replace").splitlines()[: _MOST_LINES + 1]:
        file, tab, rest = line.partition("\t")
        digest = rest.partition("\t")[0]
        if not tab or not file or not _DIGEST.fullmatch(digest) or file in digests or len(digests) == _MOST_LINES:
            raise ArtifactCorrupt(f"{name} is no list of digests: {line[:80]!r}", hint="try another mirror: --from URL")
        digests[file] = digest
    return digests


def _here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _version(kind: str, entry: Mapping[str, Any], version: str) -> str:
    for candidate in (version, entry["form"].format(version) if len(version) < 40 else ""):
        if re.fullmatch(entry["versions"], candidate):
            return str(candidate)
    raise UsageError(
        f"{version[:60]!r} is no version of {kind}", hint=f"as in weaklink guests pull {kind}@{entry['default']}"
    )


@cache
def _catalog() -> Mapping[str, Any]:
    return tomllib.loads((resources("images") / "catalog.toml").read_text(encoding="utf-8"))
