"""Sources that apps take from a package registry: a loopback registry that behaves well, badly, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images.apps import sources
from images.apps.sources import Member, Source, fetch
from profiler import errors

NAME, VERSION = "weaklink.test-code", "1.2.3"
FOLDER = "weaklink_test_code-1.2.3"
CODE = b"int answer(void) { return 42; }\n/* end */\nint extra(void) { return 0; }\n"
KEPT = CODE[: CODE.index(b"int extra")]


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _package(trap: Path, code: bytes = CODE, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A source package as pip knows them; its build script leaves a trace at ``trap`` if anybody runs it."""
    out = io.BytesIO()
    script = f"open({str(trap)!r}, 'w')\nfrom setuptools import setup\nsetup(name={NAME!r}, version={VERSION!r})\n"
    about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in [("PKG-INFO", about.encode()), ("setup.py", script.encode()), ("src/code.c", code)]:
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            if name == "src/code.c":
                member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return out.getvalue()


class Registry:
    """A package index on this machine with one package; ``answer`` sends its file."""

    def __init__(self) -> None:
        self.package = b""
        self.asked = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.send_all
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith(".tar.gz"):
                    registry.asked += 1
                    registry.answer(self)
                elif NAME.replace(".", "-") in self.path:
                    page = f'<a href="/{FOLDER}.tar.gz">{FOLDER}.tar.gz</a>'.encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)
                else:
                    self.send_error(404)

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def head(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.package)))
        request.end_headers()

    def send_all(self, request: BaseHTTPRequestHandler) -> None:
        self.head(request)
        request.wfile.write(self.package)

    def send_half(self, request: BaseHTTPRequestHandler) -> None:
        self.head(request)
        request.wfile.write(self.package[: len(self.package) // 2])

    def send_nothing(self, request: BaseHTTPRequestHandler) -> None:
        self.head(request)
        time.sleep(20)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    """The one registry that pip knows of."""
    one = Registry()
    one.package = _package(tmp_path / "trap")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{one.server.server_port}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield one
    one.server.shutdown()
    one.server.server_close()


def _wanted(package: bytes, **changes: str) -> Source:
    member = Member(f"{FOLDER}/src/code.c", "code.c", _sha(KEPT), until="/* end */")
    return Source(NAME, changes.get("version", VERSION), changes.get("sha256", _sha(package)), (member,))


def _left(cache: Path) -> list[str]:
    return [path.name for path in (cache / "sources").iterdir() if path.name != ".lock"]


def test_the_file_is_there_as_pinned_and_asked_for_once(registry: Registry, tmp_path: Path) -> None:
    wanted = _wanted(registry.package)
    (path,) = fetch(wanted, tmp_path / "cache").values()
    assert path.read_bytes() == KEPT
    assert fetch(wanted, tmp_path / "cache") == {"code.c": path}
    assert registry.asked == 1
    path.write_bytes(b"damaged")
    fetch(wanted, tmp_path / "cache")
    assert path.read_bytes() == KEPT
    assert registry.asked == 2
    assert len(_left(tmp_path / "cache")) == 1


def test_nothing_of_the_package_is_run(registry: Registry, tmp_path: Path) -> None:
    fetch(_wanted(registry.package), tmp_path / "cache")
    assert not (tmp_path / "trap").exists()


def test_another_package_under_that_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactCorrupt, match="does not have the SHA-256 0000"):
        fetch(_wanted(registry.package, sha256="0" * 64), tmp_path / "cache")
    assert _left(tmp_path / "cache") == []


def test_half_a_package_is_refused_and_not_kept(registry: Registry, tmp_path: Path) -> None:
    registry.answer = registry.send_half
    with pytest.raises((errors.ArtifactCorrupt, errors.ArtifactUnavailable), match=r"weaklink\.test-code"):
        fetch(_wanted(registry.package), tmp_path / "cache")
    assert _left(tmp_path / "cache") == []
    registry.answer = registry.send_all
    assert fetch(_wanted(registry.package), tmp_path / "cache")


def test_a_registry_that_stalls_has_a_time_limit(registry: Registry, tmp_path: Path) -> None:
    registry.answer = registry.send_nothing
    began = time.monotonic()
    with pytest.raises(errors.ArtifactUnavailable, match=r"did not fetch weaklink\.test-code==1\.2\.3 within 4 s"):
        fetch(_wanted(registry.package), tmp_path / "cache", seconds=4)
    assert time.monotonic() - began < 15
    assert _left(tmp_path / "cache") == []


def test_a_version_that_is_not_there_is_unavailable(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactUnavailable, match=r"No matching distribution found for weaklink\.test-code==9"):
        fetch(_wanted(registry.package, version="9"), tmp_path / "cache")


def test_a_registry_that_is_not_there_is_unavailable(registry: Registry, tmp_path: Path) -> None:
    registry.server.shutdown()
    registry.server.server_close()
    with pytest.raises(errors.ArtifactUnavailable, match="pip could not fetch") as caught:
        fetch(_wanted(registry.package), tmp_path / "cache")
    assert "online" in caught.value.hint


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_only_a_plain_file_is_taken(registry: Registry, tmp_path: Path, kind: bytes) -> None:
    registry.package = _package(tmp_path / "trap", kind=kind)
    with pytest.raises(errors.ArtifactCorrupt, match="not a plain file"):
        fetch(_wanted(registry.package), tmp_path / "cache")
    assert _left(tmp_path / "cache") == []


def test_a_file_that_is_another_one_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.package = _package(tmp_path / "trap", code=CODE.replace(b"42", b"43"))
    with pytest.raises(errors.ArtifactCorrupt, match=r"src/code\.c does not have the SHA-256"):
        fetch(_wanted(registry.package), tmp_path / "cache")


def test_a_package_without_the_file_is_refused(registry: Registry, tmp_path: Path) -> None:
    wanted = _wanted(registry.package)
    with pytest.raises(errors.ArtifactCorrupt, match=r"it has no src/other\.c"):
        fetch(Source(NAME, VERSION, wanted.sha256, (Member("src/other.c", "other.c", "0" * 64),)), tmp_path / "cache")


def test_a_package_that_never_ends_is_cut_off(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_MOST_BYTES", 100_000)
    registry.package = bytes(3_000_000)
    with pytest.raises(errors.ArtifactCorrupt, match="more than 100,000 bytes"):
        fetch(_wanted(registry.package), tmp_path / "cache")
    assert _left(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "change", [{"package": "--index-url=x"}, {"version": "1; y"}, {"sha256": "12"}, {"file": [{"path": "x"}]}]
)
def test_a_table_that_is_not_complete_is_refused(change: dict[str, object]) -> None:
    row = {"path": "a/b.c", "name": "b.c", "sha256": "0" * 64}
    table = {"package": "p", "version": "1", "sha256": "0" * 64, "file": [row]}
    assert Source.of(table).files[0].name == "b.c"
    with pytest.raises((ValueError, KeyError, TypeError)):
        Source.of({**table, **change})
    with pytest.raises(ValueError, match="words"):
        Source.of({**table, "file": [{**row, "name": "../b.c"}]})
