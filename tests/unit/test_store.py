"""The cache: whole or not at all, damage noticed, one process at a time, a full disk named."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from images import store
from profiler.errors import CacheUnusable, DiskFull
from tests.conftest import SmallDisk


def fill_with(content: bytes, **notes: Any) -> Any:
    def fill(directory: Path) -> Mapping[str, Any]:
        (directory / "kernel").write_bytes(content)
        return notes

    return fill


@pytest.fixture
def full_disk(tmp_path: Path, small_disk: SmallDisk) -> Path:
    return small_disk(tmp_path / "small", "64k")


class TestCacheDir:
    def test_order_of_the_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "own"))
        assert store.cache_dir() == tmp_path / "own"
        monkeypatch.delenv("WEAKLINK_CACHE")
        assert store.cache_dir() == tmp_path / "xdg/weaklink"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
        assert store.cache_dir() == tmp_path / "home/.cache/weaklink"

    def test_nobody_else_may_enter(self, tmp_path: Path) -> None:
        loose = tmp_path / "loose"
        loose.mkdir(mode=0o777)
        loose.chmod(0o777)
        for path in (loose, tmp_path / "new"):
            assert stat.S_IMODE(store.private_directory(path).stat().st_mode) == 0o700

    def test_one_that_cannot_be_written_is_refused_before_anything_is_made(self, full_disk: Path) -> None:
        full_disk.chmod(0o700)
        subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
        with pytest.raises(CacheUnusable, match="cannot be written") as caught:
            store.private_directory(full_disk)
        assert "WEAKLINK_CACHE" in caught.value.hint

    def test_somebody_elses_directory_is_refused(self, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(tmp_path, 12345, 12345)
        with pytest.raises(CacheUnusable, match="belongs to user 12345"):
            store.private_directory(tmp_path)

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CacheUnusable) as caught:
            store.private_directory(tmp_path / "file/cache")
        assert "WEAKLINK_CACHE" in caught.value.hint


class TestBuildDirectory:
    def test_what_is_built_is_sealed(self, tmp_path: Path) -> None:
        home = tmp_path / "kernels/abc"
        store.build_directory(home, fill_with(b"elf", version="6.1"))
        assert (home / "kernel").read_bytes() == b"elf"
        assert (store.read_json(home / store.SEAL) or {})["notes"] == {"version": "6.1"}
        assert store.intact(home)

    @pytest.mark.parametrize("damage", ["change", "truncate", "remove", "seal", "no-seal"])
    def test_damage_is_noticed_and_replaced(self, tmp_path: Path, damage: str) -> None:
        home = tmp_path / "abc"
        store.build_directory(home, fill_with(b"elf"))
        match damage:
            case "change":
                (home / "kernel").write_bytes(b"Elf")
            case "truncate":
                (home / "kernel").write_bytes(b"")
            case "remove":
                (home / "kernel").unlink()
            case "seal":
                (home / store.SEAL).write_text('{"files": {}}')
            case "no-seal":
                (home / store.SEAL).write_text("[" * 100_000)
        assert not store.intact(home)
        store.build_directory(home, fill_with(b"elf"))
        assert store.intact(home)

    def test_a_seal_cannot_point_outside(self, tmp_path: Path) -> None:
        (tmp_path / "outside").write_bytes(b"x")
        home = tmp_path / "abc"
        home.mkdir()
        digest = store.sha256_file(tmp_path / "outside")
        store.write_json(home / store.SEAL, {"files": {"../outside": digest}})
        assert not store.intact(home)

    def test_a_failure_leaves_nothing_and_keeps_the_old(self, tmp_path: Path) -> None:
        home = tmp_path / "abc"
        store.build_directory(home, fill_with(b"old"))

        def interrupted(directory: Path) -> Mapping[str, Any]:
            (directory / "kernel").write_bytes(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.build_directory(home, interrupted)
        assert [path.name for path in tmp_path.iterdir()] == ["abc"]
        assert (home / "kernel").read_bytes() == b"old"

    def test_leftovers_of_a_killed_process_go(self, tmp_path: Path) -> None:
        (tmp_path / ".new-killed").mkdir()
        (tmp_path / ".new-killed/kernel").write_bytes(b"half")
        store.build_directory(tmp_path / "abc", fill_with(b"elf"))
        assert [path.name for path in tmp_path.iterdir()] == ["abc"]

    def test_a_full_disk(self, full_disk: Path) -> None:
        with pytest.raises(DiskFull) as caught:
            store.build_directory(full_disk / "abc", fill_with(bytes(1 << 20)))
        assert caught.value.exit_code == 18
        assert str(full_disk) in str(caught.value)
        assert not list(full_disk.iterdir())

    def test_a_full_disk_under_a_note(self, full_disk: Path) -> None:
        with pytest.raises(DiskFull):
            store.write_json(full_disk / "note.json", {"text": "x" * (1 << 20)})
        assert not list(full_disk.iterdir())


def _hold(path: Path, seconds: float, started: Any) -> None:
    with store.locked(path, lambda: None):
        started.set()
        time.sleep(seconds)


def test_the_lock_waits_and_says_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", 0.4, started))
    holder.start()
    assert started.wait(5)
    said: list[str] = []
    before = time.monotonic()
    with store.locked(tmp_path / "lock", lambda: said.append("waiting")):
        assert time.monotonic() - before > 0.2
    holder.join()
    assert said == ["waiting"]


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", 60, started))
    holder.start()
    assert started.wait(5)
    holder.kill()
    holder.join()
    with store.locked(tmp_path / "lock", lambda: pytest.fail("nobody holds it")):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", '{"a": 1'])
def test_json_that_is_not_ours_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note.json").write_text(text, encoding="latin-1")
    assert store.read_json(tmp_path / "note.json") is None
    assert store.read_json(tmp_path / "absent.json") is None
