"""``weaklink guests pull`` from a server on loopback with the layouts of the real ones: from the address to a guest."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from images import GuestSpec, catalog, debian, fetch, guests, pull, store, upstream
from images.guests.freebsd import base, own
from images.guests.linux import builder as linux
from profiler.cli.main import main
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, UsageError
from tests.unit import release_server as servers
from tests.unit import test_freebsd_guest, test_osv_guest
from tests.unit.release_server import Server

VERSION = "14.3-RELEASE"
"""One of which the catalog knows nothing."""

RELEASE = f"/releases/amd64/{VERSION}/"
OSV = "/cloudius-systems/osv/releases/download/v0.57.0/osv-loader.elf.x86_64.gz"
BANNER = b"OSv v0.57.0\0"
LIMITS = fetch.Limits(stall_s=5, tries=1, most_tries=1, pause_s=0)


def kernel(version: str) -> bytes:
    banner = f"@(#)FreeBSD {version} GENERIC\n\0".encode()
    return test_freebsd_guest.kernel(banner=banner, runs=1401000)


def made(place: Path, version: str = VERSION) -> dict[str, bytes]:
    """kernel.txz, base.txz and MANIFEST, as a release of FreeBSD has them, in small."""
    folder = test_freebsd_guest.write_base(place / "base", version=1401000)
    (folder / "usr/include/large.h").write_bytes(random.Random(1).randbytes(400_000))  # does not compress
    (place / "boot/kernel").mkdir(parents=True)
    (place / "boot/kernel/kernel").write_bytes(kernel(version))
    (place / "boot/kernel/if_ath.ko").write_bytes(random.Random(2).randbytes(200_000))
    found = {}
    for name, what, inside in (("kernel.txz", place / "boot", "./boot"), ("base.txz", folder, ".")):
        with tarfile.open(place / name, "w:xz", preset=0) as archive:
            archive.add(what, inside)
        found[name] = (place / name).read_bytes()
    return {**found, "MANIFEST": manifest(found)}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    return made(tmp_path_factory.mktemp("release"))


def manifest(files: Mapping[str, bytes]) -> bytes:
    return b"".join(
        f'{name}\t{hashlib.sha256(content).hexdigest()}\t7\t{name[:-4]}\t"A set (MANDATORY)"\ton\n'.encode()
        for name, content in files.items()
    )


@pytest.fixture
def server(release: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with servers.serving() as server:
        server.files |= {f"{RELEASE}{name}": content for name, content in release.items()}
        server.files[f"{OSV}-asset"] = gzip.compress(test_osv_guest.kernel(banner=BANNER))
        away = f"http://localhost:{server.server_port}{OSV}-asset?token=1"  # as GitHub does: another host
        server.faults[OSV] = [servers.status(302, Location=away) for _ in range(20)]
        yield server


def pulled(server: Server, cache: Path, wanted: str = "freebsd", **more: Any) -> pull.Pulled:
    folder = {"freebsd": RELEASE, "osv": OSV.rpartition("/")[0]}[wanted]
    more = {"version": VERSION if wanted == "freebsd" else "", "address": server.address + folder, **more}
    return pull.pull(wanted, cache=cache, limits=LIMITS, progress=print, meter=lambda *told: None, **more)


def left(cache: Path) -> list[str]:
    """What is in the cache, apart from locks and guests that are whole."""
    paths = [path.relative_to(cache) for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]
    return sorted(str(path) for path in paths if path.parts[0] not in ("kernels", "added"))


# --- FreeBSD


def test_a_release_becomes_a_guest(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["guests", "pull", f"freebsd@{VERSION}", "--from", server.address + RELEASE]
    assert main(words) == 0
    said = capsys.readouterr()
    for name in ("MANIFEST", "kernel.txz", "base.txz"):
        digest = hashlib.sha256(server.files[RELEASE + name]).hexdigest()
        assert f"{name}  {len(server.files[RELEASE + name]):,} bytes  sha256 {digest}  unverified\n" in said.out
    provenance = f"release {VERSION} (127.0.0.1; unverified)"
    assert f"freebsd: {VERSION} GENERIC, {provenance}\n" in said.out
    assert "fetching http://127.0.0.1" in said.err
    guest = catalog.check(GuestSpec("freebsd"))
    image = guests.builder_of(guest).ready(guest, cache=cache)
    assert image is not None
    assert image.provenance == provenance
    assert (image.elf.parent / own.KERNEL).read_bytes() == kernel(VERSION)
    with tarfile.open(image.elf.parent / base.FILE) as kept:
        assert "usr/include/large.h" in kept.getnames()
        assert "etc/passwd" not in kept.getnames()
    assert left(cache) == [f"pulled/freebsd-{VERSION}.json"], "what was fetched is not kept twice"
    asked = len(server.asked)
    assert main(words) == 0
    assert "(was here)" in capsys.readouterr().out
    assert len(server.asked) == asked


def test_another_guest_of_the_name_is_not_replaced_unasked(server: Server, cache: Path, tmp_path: Path) -> None:
    pulled(server, cache)
    asked = len(server.asked)
    older = made(tmp_path, "14.2-RELEASE")
    server.files |= {RELEASE.replace("14.3", "14.2") + name: content for name, content in older.items()}
    other = {"version": "14.2", "address": server.address + RELEASE.replace("14.3", "14.2")}
    with pytest.raises(UsageError, match=f"guest freebsd already: .* release {VERSION}") as caught:
        pulled(server, cache, **other)
    assert "--name freebsd-14.2-release" in caught.value.hint
    for name in ("linux", "No", "a/b"):
        with pytest.raises(UsageError):
            pulled(server, cache, name=name)
    assert len(server.asked) == asked, "refused before anything is fetched"
    assert pulled(server, cache, name="freebsd-14.2", **other).name == "freebsd-14.2"
    assert pulled(server, cache, replacing=True, **other).provenance == "release 14.2-RELEASE (127.0.0.1; unverified)"


@pytest.mark.parametrize("name", ["kernel.txz", "base.txz"])
def test_later_pulls_must_be_as_the_first(server: Server, cache: Path, release: Mapping[str, bytes], name: str) -> None:
    pulled(server, cache)
    catalog.added.remove("freebsd", progress=print)
    changed = {**release, name: release[name] + bytes(4)}
    del changed["MANIFEST"]
    server.files |= {RELEASE + each: content for each, content in changed.items()}
    server.files[RELEASE + "MANIFEST"] = manifest(changed)
    with pytest.raises(ArtifactCorrupt, match="SHA-256"):
        pulled(server, cache)
    assert not list((cache / "added").iterdir())
    (cache / f"pulled/freebsd-{VERSION}.json").write_text("{}")
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        pulled(server, cache)
    (cache / f"pulled/freebsd-{VERSION}.json").unlink()
    pulled(server, cache)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("kernel.txz", b"other", "kernel.txz has SHA-256"),
        ("base.txz", b"other", "base.txz has SHA-256"),
        ("MANIFEST", b"<html>not found</html>\n", "MANIFEST is no list of digests"),
        ("MANIFEST", b"kernel.txz\tabc\n", "MANIFEST is no list of digests"),
        ("MANIFEST", b"src.txz\t" + b"0" * 64 + b"\t1\n", "the manifest does not name kernel.txz"),
        ("MANIFEST", b"x" * (2 << 20), "at most 1,048,576 are believed"),
    ],
    ids=["kernel", "base", "page", "short digest", "not named", "large"],
)
def test_what_is_not_as_the_manifest_says(server: Server, cache: Path, file: str, content: bytes, words: str) -> None:
    server.files[RELEASE + file] = content
    with pytest.raises(ArtifactCorrupt, match=words) as caught:
        pulled(server, cache)
    assert caught.value.hint
    assert not list(cache.glob(f"pulls/*/{file}")) or file == "MANIFEST"
    assert not list(cache.glob("added/*"))
    assert not list(cache.glob("pulled/*"))


def test_a_kernel_of_another_version_is_not_the_release(server: Server, cache: Path) -> None:
    for version in ("14.2", "14.3-RC1"):
        with pytest.raises(ArtifactCorrupt, match=f"says that it is {VERSION} GENERIC, not {version}"):
            pulled(server, cache, version=version)
        assert left(cache) == []
    assert list((cache / "added").glob("*")) == []


def test_digests_that_were_known_before_hold_against_any_mirror(server: Server, cache: Path) -> None:
    server.files |= {path.replace("14.3", "15.1"): content for path, content in server.files.items()}
    mirror = {"version": "15.1", "address": server.address + RELEASE.replace("14.3", "15.1")}
    with pytest.raises(ArtifactCorrupt, match=r"MANIFEST has \d+ bytes, not 1,044"):
        pulled(server, cache, **mirror)
    assert upstream.release("freebsd", "15.1", "https://mirror.example/x").verified_by == upstream.PUBLISHED
    assert upstream.release("freebsd", "14.3", "https://mirror.example/x").verified_by == upstream.UNVERIFIED
    assert upstream.release("freebsd", "14.3").verified_by == upstream.PUBLISHED
    assert upstream.release("osv").verified_by == upstream.UNVERIFIED


def test_a_manifest_that_is_not_as_known_before_is_told(
    server: Server, cache: Path, release: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {VERSION: {"verified_by": "upstream manifest", "kernel": {"sha256": "0" * 64}}}
    entry = {**upstream._catalog()["freebsd"], "known": known}
    monkeypatch.setattr(upstream, "_catalog", lambda: {"freebsd": entry})
    with pytest.raises(ArtifactCorrupt, match=f"not agreed on.*{'0' * 64}.*the manifest"):
        pulled(server, cache)
    known[VERSION]["kernel"] = {"sha256": hashlib.sha256(release["kernel.txz"]).hexdigest()}
    assert pulled(server, cache).provenance == f"release {VERSION} (127.0.0.1; upstream manifest)"


def test_what_the_catalog_says_is_sound() -> None:
    for kind in upstream.kinds():
        for version in (*upstream._catalog()[kind].get("known", {}), ""):
            release = upstream.release(kind, version)
            assert release.verified_by in (upstream.PUBLISHED, upstream.UNVERIFIED)
            assert guests.load_builder(kind)
            for artifact in release.artifacts:
                assert artifact.address.startswith("https://")
                assert re.fullmatch("[0-9a-f]{64}|", artifact.sha256)
                assert 0 <= artifact.size <= artifact.most
    for version in ("x", "../..", "15", "15.1-", "15.1-RELEASE/..", "{}", "15.1\n", "9" * 99):
        with pytest.raises(UsageError, match="is no version of freebsd"):
            upstream.release("freebsd", version)


# --- OSv


def test_osvs_release_is_first_pulled_and_then_known(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pulled(server, cache, "osv").provenance == "release v0.57.0 (127.0.0.1; unverified)"
    assert upstream.release("osv").caveat in capsys.readouterr().out
    assert [path for path, _ in server.asked] == [OSV, f"{OSV}-asset?token=1"]
    first = server.files[f"{OSV}-asset"]
    digest = hashlib.sha256(first).hexdigest()
    assert digest in (cache / "pulled/osv-v0.57.0.json").read_text()
    catalog.added.remove("osv", progress=print)
    for other, words in ((first[:4] + b"1234" + first[8:], f"not {digest}"), (first + b"x", f"not {len(first)}")):
        server.files[f"{OSV}-asset"] = other
        with pytest.raises(ArtifactCorrupt, match=f"{words}, as it was in the first pull, on 20"):
            pulled(server, cache, "osv")
    server.files[f"{OSV}-asset"] = first
    pulled(server, cache, "osv")


def test_a_stripped_kernel_waits_for_its_symbols(server: Server, cache: Path, tmp_path: Path) -> None:
    server.files[f"{OSV}-asset"] = gzip.compress(test_osv_guest.kernel(banner=BANNER, symbols=False))
    with pytest.raises(UsageError, match="it was stripped") as caught:
        pulled(server, cache, "osv")
    assert "--symbols" in caught.value.hint
    assert left(cache) == []
    (tmp_path / "loader.elf").write_bytes(test_osv_guest.kernel(banner=BANNER))
    assert pulled(server, cache, "osv", symbols=tmp_path / "loader.elf").name == "osv"
    assert left(cache) == ["pulled/osv-v0.57.0.json"]


@pytest.mark.parametrize(
    "content",
    [b"hello", gzip.compress(b"hello"), gzip.compress(b"x" * 5000)[:-9], b""],
    ids=["text", "packed text", "cut", "empty"],
)
def test_what_is_no_kernel_is_no_first_pull(server: Server, cache: Path, content: bytes) -> None:
    right = server.files[f"{OSV}-asset"]
    server.files[f"{OSV}-asset"] = content
    with pytest.raises((UsageError, ArtifactCorrupt)) as caught:
        pulled(server, cache, "osv")
    assert caught.value.hint
    assert left(cache) == []
    server.files[f"{OSV}-asset"] = right
    pulled(server, cache, "osv")


# --- interrupted


class Child:
    """``weaklink guests pull`` in a process of its own."""

    def __init__(self, server: Server, cache: Path, *more: str) -> None:
        words = ["guests", "pull", f"freebsd@{VERSION}", "--from", server.address + RELEASE, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from profiler.cli.main import console_script as go; go()", *words],
            env={**os.environ, "WEAKLINK_CACHE": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.cache = cache

    def reaches(self, file: str, size: int) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            if any(path.stat().st_size >= size for path in self.cache.glob(f"pulls/*/{file}.part")):
                return
            time.sleep(0.01)
        raise AssertionError(f"{file} did not come to {size} bytes: {self.ended()}")

    def ended(self, by: int = 0) -> tuple[int, str]:
        if by:
            self.process.send_signal(by)
        try:
            return self.process.wait(60), (self.process.communicate()[1])
        finally:
            self.process.kill()


@pytest.mark.timeout(120)
def test_killed_at_every_tenth_it_comes_to_the_same_digest(
    server: Server, cache: Path, release: Mapping[str, bytes]
) -> None:
    path, size = RELEASE + "base.txz", len(release["base.txz"])
    tenths = [-(-size * tenth // 10) for tenth in range(1, 10)]
    for number, at in enumerate(tenths):
        server.faults[path] = [servers.stall(at)]
        child = Child(server, cache)
        child.reaches("base.txz", at)
        code, said = child.ended(signal.SIGINT if number == 4 else signal.SIGKILL)
        assert code == (130 if number == 4 else -signal.SIGKILL)
        assert "weaklink: interrupted" in said or number != 4
        assert not list(cache.glob("pulls/*/base.txz")), "never under the name that others read"
        assert not list(cache.glob("added/*"))
    code, said = Child(server, cache).ended()
    assert code == 0, said
    assert f"base.txz: goes on at {tenths[-1] / 1e6:.1f} of {size / 1e6:.1f} MB (90 %)" in said
    assert server.ranges(path) == ["", *(f"bytes={at}-" for at in tenths)]
    assert len(server.ranges(RELEASE + "kernel.txz")) == 1, "what was complete is not fetched again"
    digest = hashlib.sha256(release["base.txz"]).hexdigest()
    assert store.read_json(cache / f"pulled/freebsd-{VERSION}.json")["base.txz"]["sha256"] == digest  # type: ignore[index]
    assert catalog.verify("freebsd", cache=cache) == [("freebsd", "ok")]
    assert left(cache) == [f"pulled/freebsd-{VERSION}.json"]


def test_a_release_that_was_made_anew_meanwhile(server: Server, cache: Path, release: Mapping[str, bytes]) -> None:
    server.faults[RELEASE + "base.txz"] = [servers.cut(1000)]
    with pytest.raises(ArtifactUnavailable):
        pulled(server, cache)
    anew = {"kernel.txz": release["kernel.txz"], "base.txz": release["base.txz"] + bytes(4)}
    server.files |= {RELEASE + "base.txz": anew["base.txz"], RELEASE + "MANIFEST": manifest(anew)}
    assert {file.file: file.sha256 for file in pulled(server, cache).files}["base.txz"] in manifest(anew).decode()


def test_what_nobody_comes_back_for_is_removed(server: Server, cache: Path, release: Mapping[str, bytes]) -> None:
    server.faults[RELEASE + "base.txz"] = [servers.cut(1000)]
    with pytest.raises(ArtifactUnavailable) as caught:
        pulled(server, cache)
    assert caught.value.hint == (
        "0.0 MB are kept: the same command goes on from there; with the files at hand:"
        " weaklink guests add freebsd --kind freebsd --kernel kernel --base base.txz"
    )
    (folder,) = (path for path in (cache / "pulls").iterdir() if path.is_dir())
    os.utime(folder, (time.time() - 8 * 86400,) * 2)
    pulled(server, cache, "osv")
    assert not folder.exists()


# --- no network, no version, the distribution's


def test_without_a_network_it_is_one_sentence_and_the_other_way(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.serving() as gone:
        monkeypatch.setenv("https_proxy", gone.address)  # so that nobody outside is asked, where there is a network
    for kind, way in (
        ("freebsd", "weaklink guests add freebsd --kind freebsd --kernel kernel --base base.txz"),
        ("osv", "weaklink guests add osv --kind osv --kernel loader.elf"),
    ):
        assert main(["guests", "pull", kind]) == 19
        _, said, hint, _ = capsys.readouterr().err.splitlines()[-4:]
        assert re.fullmatch(r"weaklink: artifact unavailable: https://\S+ cannot be reached: Connection refused", said)
        assert hint == f"  -> try again, or a mirror: --from URL; with the files at hand: {way}"
        assert list(cache.glob("pulls/*/*")) == []


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"], ["freebsd@"], ["freebsd@x"], ["osv@1"], ["linux", "--from", "https://x"], ["linux", "--name", "x"],
        ["freebsd", "--from", "http://192.0.2.1/"], ["freebsd", "--timeout", "0"], ["freebsd", "--name", "linux"],
    ],
)  # fmt: skip
def test_what_cannot_be_pulled(cache: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guests", "pull", *words]) == 2
    assert "\n  -> " in capsys.readouterr().err


APT = """\
Package: linux-image-6.1.0-50-cloud-amd64
Version: 6.1.176-1
Size: 26484304
SHA256: {a}

Package: linux-image-6.12-cloud-amd64
Version: 6.12.117-1~deb12u1
Size: 1512
SHA256: {b}

Package: linux-image-6.12.117+deb12-cloud-amd64
Version: 6.12.117-1~deb12u1
Size: 30000000
SHA256: {c}

Package: linux-image-6.12.115+deb12-cloud-amd64
Version: 6.12.115-2~deb12u1
Size: 30000000
SHA256: {d}
""".format(**{letter: letter * 64 for letter in "abcd"})


def test_the_distributions_kernel_in_a_version_that_apt_has(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apt_cache(verb: str, *words: str) -> str:
        return "\n".join(re.findall("Package: (.*)", APT)) if verb == "pkgnames" else APT

    fetched: list[debian.Package] = []

    def make(package: debian.Package, home: Path, progress: Any) -> None:
        def fill(folder: Path) -> Mapping[str, Any]:
            for name in ("vmlinux", "System.map"):
                (folder / name).write_text(package.version)
            return {"version": package.name, "package": vars(package)}

        fetched.append(package)
        store.build_directory(home, fill)

    monkeypatch.setattr(debian, "_apt_cache", apt_cache)
    monkeypatch.setattr(linux, "_make", make)
    for version, words in (("9.9", "have no version 9.9; they have 6.1.176-1, "), ("6.12", "more than one version")):
        assert main(["guests", "pull", f"linux@{version}"]) == 19
        said = capsys.readouterr().err
        assert words in said
        assert "weaklink guests add" in said
    assert main(["guests", "pull", "linux@6.1.176"]) == 0
    assert main(["guests", "pull", "linux@6.1.176-1"]) == 0
    assert main(["guests", "pull", "linux"]) == 0
    said = capsys.readouterr().out
    assert said.count("release linux-image-6.1.0-50-cloud-amd64 6.1.176-1") == 3
    assert said.count("(was here)") == 2
    assert main(["guests", "pull", "linux@6.12.117-1~deb12u1"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main(["guests", "pull", "linux@6.12.117-1~deb12u1", "--replace"]) == 0
    assert [(package.name, package.sha256[0]) for package in fetched] == [
        ("linux-image-6.1.0-50-cloud-amd64", "a"), ("linux-image-6.12.117+deb12-cloud-amd64", "c")]  # fmt: skip
    assert main(["guests", "list"]) == 0
    assert "release linux-image-6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1" in capsys.readouterr().out
