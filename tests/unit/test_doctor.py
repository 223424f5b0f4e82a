"""``weaklink doctor`` on machines that lack one thing: what it says, what to do, and whether the demo can run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from images import compiler, debian
from probes.exec import build
from profiler.cli import demo, doctor
from profiler.cli.main import main
from profiler.doctor import check, emulator, guests, host, kvm, memory
from profiler.doctor.check import Check
from profiler.errors import ArtifactUnavailable
from profiler.machine import boot
from profiler.machine.command import Command
from profiler.machine.qemu import Qemu
from tests.conftest import SmallDisk

KEYS = ["area", "name", "value", "needed_for", "state", "reason", "remedy", "required"]


def script(folder: Path, text: str, name: str = "program") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def sound(found: Check, state: str, *, stops: bool) -> Check:
    """A check in a state, that says why and, if it stops the demo, what to do."""
    assert (found.state, found.stops_the_demo) == (state, stops), found
    assert bool(found.reason) == (state != "ok"), found
    assert found.remedy or not stops, found
    return found


# -- all of it, as a user has it ---------------------------------------------------------------------------------------


def asked(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = main(["doctor", *options])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def _bare(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any program."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("WEAKLINK_QEMU", raising=False)
    compiler.asked.cache_clear()
    yield
    compiler.asked.cache_clear()


@pytest.mark.usefixtures("_bare")
def test_json_has_the_same_shape_always(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = asked(capsys, "--json")
    said = json.loads(out)
    assert (code, said["schema"], said["demo"]) == (1, 1, False)
    assert all(list(row) == KEYS for row in said["checks"])
    rows = {(row["area"], row["name"]): row for row in said["checks"]}
    assert len(rows) == len(said["checks"])
    stopped = {key for key, row in rows.items() if row["required"] and row["state"] == "missing"}
    assert stopped == {("host", "compiler"), ("qemu", "version"), ("guests", demo.AGAINST)}
    for row in rows.values():
        assert row["state"] in ("ok", "limited", "missing")
        assert row["needed_for"]
        assert row["state"] == "ok" or row["reason"], row
    assert rows[("native", "kvm")]["value"] is None
    assert "the demo cannot run here: host compiler, qemu version, guests linux" in err


@pytest.mark.usefixtures("_bare")
def test_text_says_under_each_thing_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = asked(capsys)
    assert code == 1
    assert (
        "  missing  version  -  (needed for running the guests)\n           qemu-system-x86_64 is not in PATH\n" in out
    )
    assert "           -> install it as root: apt-get install --no-install-recommends qemu-system-x86\n" in out
    assert "weaklink demo" not in out
    assert "Traceback" not in out + err
    assert max(map(len, out.splitlines())) <= 160


def test_what_is_alike_is_said_once() -> None:
    many = [Check("probe", f"thing {number}", None, "data", "limited", "no plugins") for number in range(9)]
    said = list(doctor._lines([*many, Check("probe", "plugin", "x.so", "counting")]))
    assert sum("no plugins" in line for line in said) == 1
    assert all(any(one.name in line for line in said) for one in many)
    assert "  ok       plugin   x.so" in said


# -- the machine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meminfo", "groups", "limits", "whose"),
    [
        ("MemAvailable: 900000 kB\nSwapFree: 0 kB\n", "", {}, ""),
        ("MemAvailable: 500000 kB\nSwapFree: 0 kB\n", "", {}, "this machine"),
        ("MemAvailable: 500000 kB\nSwapFree: 500000 kB\n", "", {}, ""),
        ("MemAvailable: 9000000 kB\n", "0::/a/b", {"a": ("max", 0), "a/b": (700 << 20, 200 << 20)}, "/a/b"),
        ("MemAvailable: 9000000 kB\n", "0::/a/b", {"a": (600 << 20, 1 << 20), "a/b": ("max", 0)}, "/a"),
        ("MemAvailable: 9000000 kB\n", "0::/a", {"a": (900 << 20, 100 << 20)}, ""),
        ("MemAvailable: 9000000 kB\n", "4:memory:/a", {"memory/a": (300 << 20, 1 << 20)}, "/a"),
        ("MemAvailable: 9000000 kB\n", "4:memory:/a", {"memory/a": (9223372036854771712, 1 << 20)}, ""),
    ],
)
def test_memory_is_what_whoever_is_meanest_gives(
    tmp_path: Path, meminfo: str, groups: str, limits: dict[str, tuple[int | str, int]], whose: str
) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/x\n{groups}\n" if groups else "")
    for place, (most, used) in limits.items():
        group = tmp_path / "fs" / place
        group.mkdir(parents=True)
        old = place.startswith("memory")
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(f"{most}\n")
        (group / ("memory.usage_in_bytes" if old else "memory.current")).write_text(f"{used}\n")
        (group / "memory.stat").write_text("total_inactive_file 0\ninactive_file 0\n")
    found = memory.check(tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "fs")
    sound(found, "missing" if whose else "ok", stops=bool(whose))
    assert whose in found.reason


def test_a_limit_of_addresses_is_one_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (3 << 30, 3 << 30))
    found = sound(memory.check(), "missing", stops=True)
    assert "ulimit -v" in found.reason + found.remedy


def test_a_disk_that_is_too_small(small_disk: SmallDisk, tmp_path: Path) -> None:
    found = host._disk("disk", small_disk(tmp_path / "small", "1m"), 5, "recordings", "name another --out")
    sound(found, "missing", stops=True)
    assert "has room for 1 MiB, the demo wants 5" in found.reason
    sound(host._disk("disk", tmp_path, 5, "recordings", "name another --out"), "ok", stops=False)


def test_a_cache_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "file/cache"))
    (found,) = host._cache(demo.AGAINST)
    assert "WEAKLINK_CACHE" in sound(found, "missing", stops=True).remedy
    (unknown,) = guests.checks(demo.AGAINST, ())
    assert "without a cache" in sound(unknown, "limited", stops=False).reason
    assert "without a cache" in sound(host._compiler(demo.APP, demo.AGAINST), "limited", stops=False).reason


@pytest.mark.parametrize(
    ("gcc", "words"),
    [
        ('exec /usr/bin/gcc -nostdinc "$@"', "No such file or directory"),
        ('[ "$1" = -dumpmachine ] && { echo aarch64-linux-gnu; exit; }; exec /usr/bin/gcc "$@"', "aarch64-linux-gnu"),
        ('case $1 in -print-file-name=*) echo libc.a;; *) echo gcc 12;; esac', "libc.a is not installed"),
        ("exit 1", "gcc ended with 1"),
    ],
    ids=["no headers", "another processor", "no libc", "broken"],
)  # fmt: skip
@pytest.mark.usefixtures("cache")
def test_a_compiler_that_lacks_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gcc: str, words: str) -> None:
    script(tmp_path, gcc, "gcc")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    compiler.asked.cache_clear()
    try:
        found = sound(host._compiler(demo.APP, demo.AGAINST), "missing", stops=True)
    finally:
        compiler.asked.cache_clear()
    assert words in found.reason


# -- QEMU --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("echo 'qemu: -plugin: invalid option' >&2; exit 1", "-plugin: invalid option"),
        ("echo 'weaklink-exec: needs config=' >&2; exit 1", ""),
        ("exit 0", "without a word"),
    ],
    ids=["without plugins", "with plugins", "silent"],
)
@pytest.mark.usefixtures("cache")
def test_a_qemu_is_asked_to_load_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, words: str
) -> None:
    qemu = script(tmp_path, f'case $1 in --version) echo "QEMU emulator version 7.2.22";; *) {says};; esac')
    monkeypatch.setenv("WEAKLINK_QEMU", str(qemu))
    monkeypatch.setattr(build, "plugin", lambda version, cache: tmp_path / "probe.so")
    found, checks = emulator.checks()
    assert found is not None
    probe = {one.name: one for one in checks if one.area == "probe"}
    sound(probe["plugin"], "missing" if words else "ok", stops=bool(words))
    assert words in probe["plugin"].reason
    assert "weaklink doctor" not in probe["plugin"].remedy, "that is where one is"
    assert {probe[name].reason for name in ("exact counts", "operations")} == {
        "this QEMU was built without TCG plugins"
    }, "a shell script exports nothing"


# -- guests ------------------------------------------------------------------------------------------------------------


def resolved(*asked: str) -> debian.Package:
    return debian.Package("linux-image-9", "9.9", "0" * 64, 27_000_000)


def offline(*asked: str) -> debian.Package:
    raise ArtifactUnavailable("apt's lists do not have it", hint="run: sudo apt-get update")


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
def test_a_mirror_that_apt_cannot_reach_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real apt-get, with a proxy at a port where nobody listens."""
    settings = tmp_path / "apt.conf"
    settings.write_text("".join(f'Acquire::{way}::Proxy "http://127.0.0.1:9";\n' for way in ("http", "https")))
    monkeypatch.setenv("APT_CONFIG", str(settings))
    with pytest.raises(ArtifactUnavailable, match=r"apt-get could not fetch linux-image-cloud-amd64|lists"):
        debian.reach("linux-image-cloud-amd64")


@pytest.mark.parametrize(
    ("state", "asks", "reach", "expected", "words"),
    [
        ("ok", offline, offline, "ok", ""),
        ("not fetched", resolved, lambda _: True, "ok", "fetched on first use, 27 MB"),
        ("not fetched", resolved, lambda _: False, "limited", "network is there was not tried"),
        ("not fetched", resolved, offline, "missing", "apt's lists do not have it"),
        ("not fetched", offline, lambda _: True, "missing", "apt's lists do not have it"),
        ("changed", resolved, lambda _: True, "ok", "its files in the cache are changed, so it is fetched again"),
        ("missing", offline, offline, "missing", "apt's lists do not have it"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_the_demos_kernel_is_here_or_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    asks: Callable[..., debian.Package],
    reach: Callable[..., bool],
    expected: str,
    words: str,
) -> None:
    monkeypatch.setattr("images.catalog.verify", lambda: [(demo.AGAINST, state)])
    monkeypatch.setattr(debian, "resolve", asks)
    monkeypatch.setattr(debian, "reach", reach)
    checks = {one.name: one for one in guests.checks(demo.AGAINST, demo.KERNELS)}
    found = checks.pop(demo.AGAINST)
    assert (found.state, found.stops_the_demo) == (expected, expected == "missing")
    assert words in found.reason
    assert not any(one.stops_the_demo for one in checks.values())
    assert "the demo shows recordings of it instead" in checks["freebsd"].reason


@pytest.mark.usefixtures("cache")
def test_a_kernel_of_the_users_that_is_not_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("images.catalog.verify", lambda: [(demo.AGAINST, "ok"), ("freebsd", "changed")])
    checks = {one.name: one for one in guests.checks(demo.AGAINST, demo.KERNELS)}
    found = sound(checks["freebsd"], "limited", stops=False)
    assert found.reason == "its files in the cache are changed"
    assert "--replace" in found.remedy


# -- KVM ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Check, list[str]]]:
    """What is said of KVM where QEMU, a shell script here, does this under it; and what was done meanwhile."""
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(kvm, "SECONDS", 3.0)  # a busy machine takes one to start a shell
    (tmp_path / "kvm").touch()

    def under(does: str) -> tuple[Check, list[str]]:
        tcg = "echo '[ 0.0] Linux version 9'; exec sleep 60"
        qemu = script(tmp_path, f'case "$*" in *"-accel kvm"*) {does};; *) {tcg};; esac')
        command = Command(qemu, "microvm", 512, Path("k"), None, "", datetime(2026, 1, 1), 1, Path("qmp"))
        monkeypatch.setattr(kvm, "_command", lambda found, name: command)
        steps: list[str] = []
        return kvm.check(Qemu(qemu, (7, 2, 0), ""), "linux", steps.append), steps

    return under


Tried = Callable[[str], tuple[Check, list[str]]]


def test_kvm_that_opens_and_hangs_every_kernel(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "SECONDS", 0.5)
    found, steps = tried("while :; do :; done")
    assert "an unmodified kernel does not boot: as host: not a word in" in sound(found, "limited", stops=False).reason
    assert "under TCG its first line comes after" in found.reason
    assert len(steps) == 2, "one that ran and hung is not tried as another processor"


def test_kvm_that_hangs_on_the_way(tried: Tried) -> None:
    found, _ = tried("echo one; echo two; exec sleep 60")
    assert "after 2 lines, the last: two" in found.reason


def test_kvm_that_works(tried: Tried) -> None:
    found, _ = tried("echo 'VFS: Unable to mount root fs on unknown-block(0,0)'; exec sleep 60")
    assert "boots linux in" in str(sound(found, "ok", stops=False).value)


def test_kvm_that_qemu_refuses_is_tried_as_another_processor(tried: Tried) -> None:
    works = "echo 'Cannot open root device'; exec sleep 60"
    found, steps = tried(f'case "$*" in *"-cpu host"*) echo "failed to set MSR" >&2; kill -6 $$;; esac; {works}')
    assert "as EPYC-Rome" in str(sound(found, "ok", stops=False).value)
    assert len(steps) == 3
    found, _ = tried('echo "failed to set MSR" >&2; kill -6 $$')
    assert found.reason.count("QEMU dies, failed to set MSR") == 2


def test_kvm_is_not_tried_without_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(boot, "run", None)
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    assert "there is no" in kvm.check(None, "linux", print).reason
    (tmp_path / "kvm").mkdir()
    assert "cannot be opened: Is a directory" in kvm.check(None, "linux", print).reason
    (tmp_path / "kvm").rmdir()
    (tmp_path / "kvm").touch()
    assert "without QEMU" in kvm.check(None, "linux", print).reason
    assert "no whole kernel of linux is here" in kvm.check(Qemu(Path("q"), (7, 2, 0), ""), "linux", print).reason


def test_a_failure_becomes_a_check_with_its_way_out() -> None:
    found = check.missing("guests", "linux", "the demo", ArtifactUnavailable("none"))
    assert found.row()["remedy"] == ArtifactUnavailable.ways[0]


def test_nothing_of_it_is_left(tried: Tried, tmp_path: Path) -> None:
    tried(f"echo $$ > {tmp_path}/pid; exec sleep 60")
    pid = int((tmp_path / "pid").read_text())
    assert subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode != 0
