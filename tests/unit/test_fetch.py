"""Downloads against a server on loopback that does what servers do: what is there afterwards is right, or not there."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import fetch, upstream
from images.upstream import Artifact
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, DiskFull, UsageError, WeaklinkError
from tests.conftest import SmallDisk
from tests.unit import release_server as servers
from tests.unit.release_server import Fault, Server

CONTENT = random.Random(7).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LIMITS = fetch.Limits(stall_s=5, tries=3, pause_s=0)
SHORT = fetch.Limits(stall_s=0.4, tries=1, most_tries=1, pause_s=0)
TENTHS = [len(CONTENT) * tenth // 10 for tenth in range(1, 10)]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with servers.serving() as server:
        server.files["/file"] = CONTENT
        yield server


def wanted(server: Server, path: str = "/file", **more: object) -> Artifact:
    return Artifact("kernel", "file", f"{server.address}{path}", 1 << 20, **more)  # type: ignore[arg-type]


def get(artifact: Artifact, folder: Path, limits: fetch.Limits = LIMITS) -> bytes:
    return fetch.fetch(artifact, folder, limits=limits, meter=lambda file, have, total: None).read_bytes()


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_comes_whole_and_is_told_of(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = fetch.fetch(
        wanted(server, sha256=DIGEST, size=len(CONTENT)), tmp_path, limits=LIMITS, meter=lambda *said: told.append(said)
    )
    assert path.read_bytes() == CONTENT
    assert there(tmp_path) == {"file"}
    assert told[0] == ("file", 0, len(CONTENT))
    assert told[-1] == ("file", len(CONTENT), len(CONTENT))
    assert get(wanted(server, sha256=DIGEST), tmp_path) == CONTENT
    assert len(server.asked) == 1, "what is there is not asked for again"


@pytest.mark.parametrize("known", [{}, {"sha256": DIGEST}], ids=["unknown", "known"])
def test_connections_that_end_at_every_tenth_are_gone_on_with(
    server: Server, tmp_path: Path, known: dict[str, str]
) -> None:
    server.faults["/file"] = [servers.cut(at) for at in TENTHS]
    assert get(wanted(server, **known), tmp_path) == CONTENT
    assert server.ranges("/file") == ["", *(f"bytes={at}-" for at in TENTHS)]


@pytest.mark.parametrize(
    ("fault", "places"), [(servers.cut, TENTHS), (servers.stall, TENTHS[::4])], ids=["cut", "stall"]
)
def test_a_pull_that_gave_up_is_gone_on_with_by_the_next(
    server: Server, tmp_path: Path, fault: Callable[[int], Fault], places: list[int]
) -> None:
    for number, at in enumerate(places):
        server.faults["/file"] = [fault(at)]
        with pytest.raises(ArtifactUnavailable) as caught:
            get(wanted(server, sha256=DIGEST), tmp_path, SHORT)
        assert f"{at / 1e6:.1f} MB are kept" in caught.value.hint
        assert there(tmp_path) == {"file.part", "file.json"}, "never under the name that others read"
        assert (tmp_path / "file.part").read_bytes() == CONTENT[:at]
        assert len(server.asked) == number + 1
    assert get(wanted(server, sha256=DIGEST), tmp_path) == CONTENT
    assert server.ranges("/file") == ["", *(f"bytes={at}-" for at in places)]


@pytest.mark.parametrize("known", [{}, {"sha256": hashlib.sha256(CONTENT[::-1]).hexdigest()}], ids=["unknown", "known"])
def test_a_file_that_changed_between_tries_is_not_stitched(
    server: Server, tmp_path: Path, known: dict[str, str]
) -> None:
    server.faults["/file"] = [servers.cut(100_000)]
    with pytest.raises(ArtifactUnavailable):
        get(wanted(server), tmp_path, SHORT)
    server.files["/file"] = CONTENT[::-1]
    assert get(wanted(server, **known), tmp_path) == CONTENT[::-1]
    assert server.ranges("/file") == ["", "bytes=100000-"]


def without_validator(handler: servers.Handler, content: bytes) -> None:
    handler.say(200, content[:100_000], Content_Length=str(len(content)))


@pytest.mark.parametrize(
    "first",
    [without_validator, lambda handler, content: handler.send(content, 100_000, etag='W/"weak"')],
    ids=["none", "weak"],
)
def test_without_the_servers_word_it_begins_anew(server: Server, tmp_path: Path, first: Fault) -> None:
    server.faults["/file"] = [first]
    assert get(wanted(server), tmp_path) == CONTENT
    assert server.ranges("/file") == ["", ""]


def other_part(handler: servers.Handler, content: bytes) -> None:
    handler.say(206, content[5:], Content_Range=f"bytes 5-{len(content) - 1}/{len(content)}")


def other_tag(handler: servers.Handler, content: bytes) -> None:
    handler.say(206, content[9:], Content_Range=f"bytes 100000-{len(content) - 1}/{len(content)}", ETag='"other"')


@pytest.mark.parametrize(
    "second",
    [servers.whole, servers.status(416), other_part, other_tag, servers.status(206, Content_Range="bytes x")],
    ids=["no parts", "416", "other part", "other tag", "no range"],
)
def test_servers_that_do_not_know_parts(server: Server, tmp_path: Path, second: Fault) -> None:
    server.faults["/file"] = [servers.cut(100_000), second]
    assert get(wanted(server), tmp_path) == CONTENT
    assert server.ranges("/file")[1] == "bytes=100000-"


def test_stopped_between_the_last_byte_and_the_name(server: Server, tmp_path: Path) -> None:
    server.faults["/file"] = [servers.cut(100_000)]
    with pytest.raises(ArtifactUnavailable):
        get(wanted(server), tmp_path, SHORT)
    with (tmp_path / "file.part").open("ab") as file:
        file.write(CONTENT[100_000:])
    assert get(wanted(server, sha256=DIGEST), tmp_path) == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (CONTENT[::-1], {"sha256": DIGEST}), (CONTENT[:-1], {"sha256": DIGEST}), (CONTENT + b"x", {"sha256": DIGEST}),
        (CONTENT[:-1], {"size": len(CONTENT)}), (CONTENT + b"x", {"size": len(CONTENT)}),
    ],
    ids=["other bytes", "shorter", "longer", "shorter than known", "longer than known"],
)  # fmt: skip
def test_wrong_bytes_do_not_stay(server: Server, tmp_path: Path, content: bytes, known: dict[str, object]) -> None:
    server.files["/file"] = content
    with pytest.raises(ArtifactCorrupt) as caught:
        get(wanted(server, **known), tmp_path)
    assert "--from URL" in caught.value.hint
    assert there(tmp_path) == set()


def test_a_part_of_other_bytes_does_not_stay(server: Server, tmp_path: Path) -> None:
    server.faults["/file"] = [servers.cut(100_000), servers.instead(CONTENT[::-1])]
    with pytest.raises(ArtifactCorrupt, match=DIGEST):
        get(wanted(server, sha256=DIGEST), tmp_path)
    assert there(tmp_path) == set()
    assert get(wanted(server, sha256=DIGEST), tmp_path) == CONTENT


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (servers.length(len(CONTENT) + 9), ArtifactUnavailable, "ended the connection after 300,000 of 300,009 bytes"),
        (servers.length(len(CONTENT) - 9), ArtifactCorrupt, "has SHA-256"),
        (servers.length(2 << 20), ArtifactCorrupt, "has 2,097,152 bytes, at most 1,048,576 are believed"),
        (servers.length(0), ArtifactCorrupt, "has 0 bytes"),
        (servers.chunked(200_000), ArtifactUnavailable, "broke off"),
        (servers.status(204), ArtifactUnavailable, "answers with status 204"),
        (servers.stall(0), ArtifactUnavailable, "sent nothing for 0.4 s"),
        (lambda handler, content: handler.wfile.write(b"hello\n" * 30), ArtifactUnavailable, "broke off"),
        (lambda handler, content: None, ArtifactUnavailable, "cannot be reached|broke off"),
    ],
    ids=["more", "less", "much more", "none", "chunk", "no content", "stall", "no HTTP", "nothing"],
)
def test_lies_about_the_length_and_silence(
    server: Server, tmp_path: Path, fault: Fault, error: type[WeaklinkError], words: str
) -> None:
    server.faults["/file"] = [fault, fault, fault]
    with pytest.raises(error, match=words):
        get(wanted(server, sha256=DIGEST), tmp_path, SHORT)
    assert "file" not in there(tmp_path)


def test_a_server_that_never_ends(server: Server, tmp_path: Path) -> None:
    def endless(handler: servers.Handler, content: bytes) -> None:
        handler.say(200, b"x" * (2 << 20), Transfer_Encoding="identity")

    server.faults["/file"] = [endless]
    with pytest.raises(ArtifactCorrupt, match="sends more than 1,048,576 bytes"):
        get(wanted(server, sha256=DIGEST), tmp_path)
    assert there(tmp_path) == set()


def test_a_server_that_trickles(server: Server, tmp_path: Path) -> None:
    def trickle(handler: servers.Handler, content: bytes) -> None:
        handler.send(content, 0)
        for _ in range(40):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            if handler.server.over.wait(0.05):
                return

    server.faults["/file"] = [trickle]
    with pytest.raises(ArtifactUnavailable, match="less than 512 bytes a second"):
        get(wanted(server), tmp_path, SHORT)


def test_a_length_that_is_not_told(server: Server, tmp_path: Path) -> None:
    server.faults["/file"] = [servers.chunked(), servers.chunked()]
    with pytest.raises(ArtifactUnavailable, match="does not say how long"):
        get(wanted(server), tmp_path)
    assert get(wanted(server, sha256=DIGEST), tmp_path) == CONTENT


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_what_passes_is_tried_again(server: Server, tmp_path: Path, code: int) -> None:
    server.faults["/file"] = [servers.status(code), servers.status(code)]
    assert get(wanted(server), tmp_path) == CONTENT
    server.faults["/file"] = [servers.status(code)] * 9
    (tmp_path / "file").unlink()
    with pytest.raises(ArtifactUnavailable, match=f"answers {code}"):
        get(wanted(server), tmp_path)
    assert len(server.faults["/file"]) == 9 - LIMITS.tries


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_what_does_not_pass_is_not(server: Server, tmp_path: Path, code: int) -> None:
    server.faults["/file"] = [servers.status(code)]
    with pytest.raises(ArtifactUnavailable, match=f"answers {code}"):
        get(wanted(server), tmp_path)
    assert len(server.asked) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with servers.serving() as gone:
        artifact = wanted(gone)
    with pytest.raises(ArtifactUnavailable, match="cannot be reached: Connection refused"):
        get(artifact, tmp_path, fetch.Limits())  # without a pause of seconds between tries


def test_a_full_disk(server: Server, tmp_path: Path, small_disk: SmallDisk) -> None:
    folder = small_disk(tmp_path / "small", "200k")
    with pytest.raises(DiskFull, match=str(folder)):
        get(wanted(server), folder)
    server.faults["/file"] = [servers.chunked()]
    with pytest.raises(DiskFull):
        get(wanted(server, sha256=DIGEST), folder)
    assert "file" not in there(folder)


# --- redirects


def test_a_redirect_is_followed_and_a_part_asked_for_there(server: Server, tmp_path: Path) -> None:
    away = f"http://localhost:{server.server_port}/file?token=1"
    server.faults["/old"] = [servers.status(302, Location=away), servers.status(307, Location="/file")]
    server.faults["/file"] = [servers.cut(100_000)]
    assert get(wanted(server, "/old"), tmp_path) == CONTENT
    assert [path for path, _ in server.asked] == ["/old", "/file?token=1", "/old", "/file"]
    assert server.ranges("/file") == ["bytes=100000-"]


def test_redirects_without_an_end(server: Server, tmp_path: Path) -> None:
    server.faults["/file"] = [servers.status(302, Location="/file")] * 99
    with pytest.raises(ArtifactUnavailable, match="more than 5 redirects"):
        get(wanted(server), tmp_path)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "location", ["http://192.0.2.1/file", "file:///etc/passwd", "ftp://127.0.0.1/file", "gopher://x", "//192.0.2.1/x"]
)
def test_redirects_to_what_is_not_secure(server: Server, tmp_path: Path, location: str) -> None:
    server.faults["/file"] = [servers.status(302, Location=location)]
    with pytest.raises(ArtifactUnavailable, match="not secure"):
        get(wanted(server), tmp_path)


@pytest.mark.parametrize(
    "address",
    ["http://192.0.2.1/x", "ftp://mirror.example/x", "file:///etc", "mirror.example", "https://", "https://u:p@m/x",
     "https://m/x?y", "https://m/x#y", "https://m/a b", "https://m/\n", "https://[::1/x", "https://m:99999/",
     "x" * 500],
)  # fmt: skip
def test_addresses_that_are_not_read(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        upstream.check_address(address)
    assert caught.value.hint


def test_addresses_that_are() -> None:
    for address in ("https://mirror.example/15.1", "http://127.0.0.1:8000/x", "http://localhost/x", "http://[::1]:8/x"):
        upstream.check_address(address)


# --- proxies and TLS


def test_a_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    with servers.serving() as gone:
        artifact = wanted(gone)
    assert get(artifact, tmp_path) == CONTENT
    (tmp_path / "file").unlink()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ArtifactUnavailable, match="Connection refused"):
        get(artifact, tmp_path)


def test_https_goes_through_the_proxy_too(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server.address)
    artifact = Artifact("kernel", "file", "https://mirror.invalid/file", 1 << 20)
    with pytest.raises(ArtifactUnavailable, match="cannot be reached: Tunnel connection failed: 502"):
        get(artifact, tmp_path)
    assert [path for path, _ in server.asked] == ["mirror.invalid:443"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that it signed itself, made here and now."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path)]
    said = subprocess.run([*command, "-out", str(path.with_name("cert.pem"))], capture_output=True, check=True)
    assert said.returncode == 0
    path.write_bytes(path.read_bytes() + path.with_name("cert.pem").read_bytes())
    return path


def test_a_server_that_cannot_prove_who_it_is(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with servers.serving(certificate) as secure:
        secure.files["/file"] = CONTENT
        with pytest.raises(ArtifactUnavailable, match="cannot prove"):
            get(wanted(secure), folder)
        assert secure.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
        assert get(wanted(secure), folder) == CONTENT
        secure.faults["/away"] = [servers.status(302, Location=f"{server.address}/file")]
        with pytest.raises(ArtifactUnavailable, match="not secure"):
            get(Artifact("kernel", "other", f"{secure.address}/away", 1 << 20), folder)
    assert server.asked == []
