"""Downloads: one file over HTTP(S), whole and as expected under its name, or not there at all.

While it is fetched, and after an interruption, there are beside it::

    NAME.part       what has come so far
    NAME.json       of which address, and the server's word for this very content (ETag or Last-Modified)

The next try goes on where the last one ended, if the server says that the content is still the same (RFC 9110: Range
with If-Range).  The standard library's client does proxies (http_proxy, https_proxy, no_proxy), TLS against the
system's certificates and chunked answers; redirects are followed here, so that none leads to plain HTTP and none has
a body that is read.
"""

from __future__ import annotations

import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from images import store
from images.upstream import Artifact, secure
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable

Meter = Callable[[str, int, int], None]
"""Told of each piece: name of the file, bytes so far, bytes in all (0: not known)."""

_CHUNK: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_LONGEST_VALIDATOR: Final = 200
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which it is worth to ask again."""

_MIRROR: Final = "try again, or a mirror: --from URL"
_ROOM: Final = 1 << 20  # bytes that are left on the disk


@dataclass(frozen=True)
class Limits:
    """How long to wait.  ``stall_s``: for an answer, or for the next bytes; and this long for ``slowest`` bytes/s.

    ``tries``: in a row that brought nothing; ``most_tries``: in all.  ``pause_s``: before the second, then doubled.
    """

    stall_s: float = 30
    slowest: int = 512
    tries: int = 4
    most_tries: int = 40
    pause_s: float = 1
    redirects: int = 5


class _Passing(Exception):
    """What may be better next time."""


def fetch(artifact: Artifact, folder: Path, *, limits: Limits, meter: Meter) -> Path:
    """Fetch an artifact into ``folder``, or what is missing of it, and give its path.

    Raises ``ArtifactUnavailable`` (what has come stays, for the next time), ``ArtifactCorrupt`` when size or digest
    are not as expected (nothing stays), ``DiskFull``.
    """
    target = folder / artifact.file
    part, note = _beside(target)
    try:
        if not target.exists():
            _complete(artifact, part, note, limits, meter)
            _check(artifact, part)
            part.replace(target)
            note.unlink(missing_ok=True)
        else:
            _check(artifact, target)
    except ArtifactCorrupt:
        forget(target)
        raise
    return target


def forget(target: Path) -> None:
    """Remove a file and what there is of it."""
    for path in (target, *_beside(target)):
        path.unlink(missing_ok=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.json")


def _check(artifact: Artifact, path: Path) -> None:
    size, again = path.stat().st_size, "it is removed; try again, or from a mirror: --from URL"
    if artifact.size and size != artifact.size:
        raise ArtifactCorrupt(f"{artifact.file} has {size:,} bytes, not {artifact.size:,}", hint=again)
    digest = store.sha256_file(path) if artifact.sha256 else ""
    if digest != artifact.sha256:
        raise ArtifactCorrupt(f"{artifact.file} has SHA-256 {digest}, not {artifact.sha256}", hint=again)


def _complete(artifact: Artifact, part: Path, note: Path, limits: Limits, meter: Meter) -> None:
    """Ask until all of ``part`` is there."""
    opener = _opener()
    idle, came, said = 0, False, ""
    for _ in range(limits.most_tries):
        before = _size(part)
        try:
            with store.disk_full_named(part):
                return _ask(opener, artifact, part, note, limits, meter)
        except _Passing as failure:
            said = str(failure)
            if _size(part) > before:
                idle, came = 0, True
            elif not came and _nobody(failure.__cause__):
                break
        idle += 1
        if idle >= limits.tries:
            break
        time.sleep(limits.pause_s * 2 ** (idle - 1))
    kept = _size(part) if note.exists() else 0
    raise ArtifactUnavailable(
        f"{artifact.address} {said}",
        hint=f"{kept / 1e6:.1f} MB are kept: the same command goes on from there" if kept else _MIRROR,
    )


def _nobody(cause: BaseException | None) -> bool:
    """Whether no server was reached at all: then it is of no use to ask at once again."""
    return isinstance(cause, urllib.error.URLError) and not isinstance(cause, urllib.error.HTTPError)


def _ask(
    opener: urllib.request.OpenerDirector, artifact: Artifact, part: Path, note: Path, limits: Limits, meter: Meter
) -> None:
    """Ask once for what is missing and write it down; ``_Passing`` if not all of it came."""
    have, about = _size(part), _read(note, artifact)
    if have and have == about.get("size"):
        return  # stopped between the last byte and the new name
    headers = {"Accept-Encoding": "identity", "User-Agent": "weaklink", "Accept": "*/*"}
    if have and about:
        headers |= {"Range": f"bytes={have}-", "If-Range": about["validator"]}
    with _failures_named(limits, note), _open(opener, artifact.address, headers, limits) as response:
        have, total = _begin(artifact, response, have if about else 0, part, note)
        if total and shutil.disk_usage(part.parent).free < total - have + _ROOM:
            raise store.disk_full(part)
        with part.open("ab" if have else "wb") as file:
            since, then = time.monotonic(), have
            meter(artifact.file, have, total)
            while chunk := response.read1(min(_CHUNK, (total or artifact.most + 1) - have)):
                have += len(chunk)
                if have > artifact.most:
                    raise ArtifactCorrupt(f"{artifact.address} sends more than {artifact.most:,} bytes", hint=_MIRROR)
                file.write(chunk)
                file.flush()  # so that a kill loses nothing
                meter(artifact.file, have, total)
                if (now := time.monotonic()) - since > limits.stall_s:
                    if have - then < limits.slowest * (now - since):
                        raise _Passing(f"sends less than {limits.slowest} bytes a second")
                    since, then = now, have
    if total and have < total:
        raise _Passing(f"ended the connection after {have:,} of {total:,} bytes")


def _read(note: Path, artifact: Artifact) -> dict[str, Any]:
    """Read the note of an earlier try, {} if it is of no use."""
    about = store.read_json(note) or {}
    validator = about.get("validator")
    sound = isinstance(validator, str) and 0 < len(validator) <= _LONGEST_VALIDATOR and validator.isprintable()
    return about if sound and about.get("address") == artifact.address else {}


def _begin(artifact: Artifact, response: Any, have: int, part: Path, note: Path) -> tuple[int, int]:
    """Judge an answer: from which byte on it goes, and how many there are in all (0: nobody says)."""
    length = response.headers.get("Content-Length", "")
    told = int(length) if length.isdecimal() and len(length) < 19 else None
    validators = [response.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        same = any(validators) is False or _read(note, artifact).get("validator") in validators
        if not have or not found or int(found[1]) != have or not same:
            note.unlink(missing_ok=True)  # what is there is of no use with such a server
            raise _Passing("answers with another part than was asked for")
        total = int(found[3]) if found[3] != "*" else have + told if told is not None else 0
    elif response.status == 200:
        have, total = 0, told or 0
        for path in (note, part):  # in this order: a part without a note is not gone on with
            path.unlink(missing_ok=True)
        # A weak ETag is not for parts (RFC 9110).
        validator = next((word for word in validators if word and not word.startswith("W/")), "")
        if validator:
            store.write_json(note, {"address": artifact.address, "validator": validator, "size": total or None})
    else:
        raise ArtifactUnavailable(f"{artifact.address} answers with status {response.status}", hint=_MIRROR)
    if told == 0 or (artifact.size and total and total != artifact.size) or total > artifact.most:
        expected = f"not {artifact.size:,}" if artifact.size else f"at most {artifact.most:,} are believed"
        raise ArtifactCorrupt(f"{artifact.address} has {total:,} bytes, {expected}", hint=_MIRROR)
    if not total and not artifact.size and not artifact.sha256:
        raise ArtifactUnavailable(
            f"{artifact.address} does not say how long it is, and nothing else tells", hint=_MIRROR
        )
    return have, total or artifact.size


def _open(opener: urllib.request.OpenerDirector, address: str, headers: dict[str, str], limits: Limits) -> Any:
    """Give the answer of the last address of a chain of redirects."""
    for _ in range(limits.redirects + 1):
        try:
            return opener.open(urllib.request.Request(address, headers=headers), timeout=limits.stall_s)
        except urllib.error.HTTPError as answer:
            location = answer.headers.get("Location", "")
            if answer.code not in (301, 302, 303, 307, 308) or not location:
                raise
            answer.close()
            target = urljoin(address, location)
            leaves = urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https"
            if leaves or not secure(target) or not target.isascii() or not target.isprintable():
                raise ArtifactUnavailable(
                    f"{address} leads to {target[:100]!r}, which is not secure", hint=_MIRROR
                ) from None
            address = target
    raise ArtifactUnavailable(f"{address} leads on and on: more than {limits.redirects} redirects", hint=_MIRROR)


@contextmanager
def _failures_named(limits: Limits, note: Path) -> Iterator[None]:
    """Turn each way in which a transfer fails into one of ours; a passing one into ``_Passing``."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is no such part: it is another file now
            note.unlink(missing_ok=True)
            raise _Passing("has another file now") from error
        if error.code in _PASSING:
            raise _Passing(f"answers {error.code} ({_plain(error.reason)})") from error
        said = f"{error.filename} answers {error.code} ({_plain(error.reason)})"
        raise ArtifactUnavailable(said, hint=_MIRROR) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            why = _plain(error.reason.verify_message)
            raise ArtifactUnavailable(
                f"the server cannot prove that it is the right one: {why}", hint=_MIRROR
            ) from error
        timed_out = isinstance(error.reason, TimeoutError)
        why = f"no answer in {limits.stall_s:g} s" if timed_out else getattr(error.reason, "strerror", "")
        raise _Passing(f"cannot be reached: {_plain(why or error.reason)}") from error
    except TimeoutError as error:
        raise _Passing(f"sent nothing for {limits.stall_s:g} s") from error
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _Passing(f"broke off: {_plain(error) or type(error).__name__}") from error


class _Https(urllib.request.AbstractHTTPHandler):
    """Like the library's own, which reads all of the system's certificates even where nothing is asked by HTTPS."""

    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open an address with the system's certificates; SSL_CERT_FILE names others."""
        return self.do_open(http.client.HTTPSConnection, request, context=ssl.create_default_context())


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()  # not build_opener(): that would read file: and ftp: as well
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), _Https(), urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _plain(text: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))[:200]
