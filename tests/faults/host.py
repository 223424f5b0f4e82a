"""What goes wrong on the host: disks, the cache, memory, kernels, the plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from images import store
from probes.exec import build
from tests.faults.kind import Kind
from tests.faults.outside import WORDS
from tests.faults.scene import SEEDS, NoStrike, Scene, campaign, page, run_words

_MOUNT: Final = 'mount {} "$1" && echo ready && exec sleep 3600'
_OTHER_QEMU: Final = (10, 2, 0)
"""A QEMU whose plugin interface is newer than that of any that is here."""


class Mounted:
    """A file system that only one process has mounted, and that others reach through it in /proc: no rest remains."""

    def __init__(self, place: Path, mount: str) -> None:
        place.mkdir(parents=True)
        self._unshare = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", "--mount", *self._unshare, "sh", "-c", _MOUNT.format(mount), "sh", str(place)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said.strip() != "ready":
            self.close()
            raise NoStrike(f"this user may mount nothing, not even in a namespace of its own: {said.strip()}")
        self._inside = place
        self.place = Path(f"/proc/{self._holder.pid}/root{place}")

    def grow(self, size: str) -> None:
        """Make room."""
        enter = ["nsenter", "-t", str(self._holder.pid), "--mount"]
        if self._unshare:
            enter += ["--user", "--preserve-credentials"]
        command = [*enter, "mount", "-o", f"remount,size={size}", str(self._inside)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def close(self) -> None:
        """End the process, and the file system with it."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@contextmanager
def _mounted(scene: Scene, mount: str) -> Iterator[Mounted]:
    mounted = Mounted(scene.place / "small", mount)
    try:
        yield mounted
    finally:
        mounted.close()


def _fill_out(scene: Scene) -> None:
    """Room for what is finished, and for less and less of what is to come."""
    with _mounted(scene, "-t tmpfs -o size=64m none") as mounted:
        scene.out = mounted.place / "out"
        scene.finished(WORDS)
        used = sum(path.stat().st_size for path in scene.out.rglob("*") if path.is_file())
        mounted.grow(str(used + (128 << 10) + (64 << 10) * (scene.number % 10)))
        _full(scene, mounted)


def _full(scene: Scene, mounted: Mounted) -> None:
    scene.remember()
    command = run_words(WORDS, scene.guest, SEEDS, scene.out)
    scene.expect(scene.weaklink(*command), 18, "disk full", "make room")
    scene.count_orphans()
    scene.count_lost()
    page(scene, ["no room left"], failed=True)
    mounted.grow("256m")
    scene.expect(scene.weaklink(*command), 0)
    scene.count_orphans()
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(WORDS, (1, 2, 3))


def _links(place: Path, own: str) -> Path:
    """A cache that is the user's, but for one folder of its own, which is empty."""
    place.mkdir(parents=True, mode=0o700)
    for folder in store.cache_dir().iterdir():
        if folder.is_dir() and folder.name != own:
            (place / folder.name).symlink_to(folder)
    (place / own).mkdir(mode=0o700)
    return place


def _fill_cache(scene: Scene) -> None:
    """Room for a part of the app that is to be built there; then another cache, as the message says."""
    with _mounted(scene, f"-t tmpfs -o mode=0700,size={48 + 16 * (scene.number % 10)}k none") as mounted:
        cache = _links(mounted.place / "cache", "apps")
        campaign(scene, WORDS, 18, ["no room left"], more={"WEAKLINK_CACHE": str(cache)})
        scene.wrong += [f"half an app: {path.name}" for path in (cache / "apps").iterdir()]


def _lock_cache(scene: Scene) -> None:
    with _mounted(scene, f'-o bind,ro "{store.cache_dir()}"') as mounted:
        scene.finished(WORDS)
        scene.remember()
        command = run_words(WORDS, scene.guest, SEEDS, scene.out)
        ended = scene.weaklink(*command, more={"WEAKLINK_CACHE": str(mounted.place)})
        scene.expect(ended, 28, "cannot be written", "WEAKLINK_CACHE")
        scene.count_orphans()
        scene.count_lost()
    scene.expect(scene.weaklink(*command), 0)
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(WORDS, (1, 2, 3))


def _starve(scene: Scene) -> None:
    """Too little memory for QEMU's code, then for the probe's, as the repetition goes."""
    limit = 700_000_000 + 100_000_000 * (scene.number % 10)
    campaign(scene, WORDS, 27, ["out of memory"], wrap=["prlimit", f"--as={limit}"])


def _damage_kernel(scene: Scene) -> None:
    """A kernel in the cache is not what it was: told before anything boots, and repaired by adding it again."""
    cache = _links(scene.place / "cache", "kernels")
    (cache / "added").unlink(missing_ok=True)
    (cache / "added").mkdir()
    source = next((store.cache_dir() / "kernels").glob("*/vmlinux"))
    for kernel in (store.cache_dir() / "kernels").iterdir():
        (cache / "kernels" / kernel.name).symlink_to(kernel)
    prepared = scene.references.place / "mine"
    with scene.references.building:
        if not (prepared / "added").exists():
            shutil.rmtree(prepared, ignore_errors=True)
            first = _links(prepared, "kernels")
            (first / "added").unlink(missing_ok=True)
            scene.cache = first
            scene.expect(scene.weaklink("guests", "add", "mine", "--kind", "linux", "--kernel", str(source)), 0)
    for folder in ("added", "kernels"):
        shutil.copytree(prepared / folder, cache / folder, dirs_exist_ok=True)
    scene.cache, scene.guest = cache, "mine"
    scene.finished(WORDS)
    scene.remember()
    (kernel,) = [path for path in (cache / "kernels").glob("*/vmlinux") if not path.parent.is_symlink()]
    whole = kernel.read_bytes()
    at = len(whole) // 11 * (1 + scene.number % 10)
    kernel.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    command = run_words(WORDS, scene.guest, SEEDS, scene.out)
    scene.expect(scene.weaklink(*command), 20, "was added as mine is damaged", "--replace")
    scene.count_orphans()
    scene.count_lost()
    page(scene, ["is damaged"], failed=True)
    kernel.write_bytes(whole)
    scene.expect(scene.weaklink(*command), 0)
    scene.count_orphans()
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(WORDS, (1, 2, 3))


def _other_plugin(scene: Scene) -> None:
    """In the place of the probe lies another QEMU's; it goes when QEMU refuses it, and the next try builds one."""
    from profiler.machine import qemu

    right = build.plugin(qemu.find().version, store.cache_dir())
    with scene.references.building:
        wrong = build.plugin(_OTHER_QEMU, scene.references.place / "other")
    for seed in (1, 2, 3):  # with the right one
        scene.references.of(scene, WORDS, seed)
    scene.cache = _links(scene.place / "cache", "probe")
    shutil.copy(wrong, scene.cache / "probe" / right.name)
    campaign(scene, WORDS, 13, ["QEMU refused the probe"])


def _strip(scene: Scene) -> None:
    """A kernel without symbols is refused when it is added, and nothing of it stays."""
    kernel = next((store.cache_dir() / "kernels").glob("*/symbols.elf")).with_name("kernel.elf")
    before = scene.weaklink("guests", "list").said
    scene.finished(WORDS)
    scene.remember()
    add = ("guests", "add", f"bare{scene.number}", "--kind", "osv", "--kernel", str(kernel))
    scene.expect(scene.weaklink(*add), 2, "has no symbols", "--symbols FILE")
    if scene.weaklink("guests", "list").said != before:
        scene.wrong.append("something of it stayed")
    scene.expect(scene.weaklink(*run_words(WORDS, scene.guest, SEEDS, scene.out)), 0)
    scene.count_orphans()
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(WORDS, (1, 2, 3))


KINDS: Final = (
    Kind("disk-full", "no room where recordings go", _fill_out, quick=True),
    Kind("cache-full", "no room in the cache", _fill_cache),
    Kind("cache-read-only", "the cache cannot be written", _lock_cache, quick=True),
    Kind("out-of-memory", "a limit on memory", _starve),
    Kind("wrong-digest", "a kernel in the cache has another bit", _damage_kernel),
    Kind("foreign-plugin", "a plugin that was built for another QEMU", _other_plugin),
    Kind("missing-symbols", "a kernel that was stripped", _strip, ("osv",)),
)
