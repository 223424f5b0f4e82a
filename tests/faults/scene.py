"""One repetition of a fault: its own directories and processes, and what was seen to be wrong with it.

Processes are known by a word in their environment, which whatever they start inherits: never by a name.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes import recording

ROOT: Final = Path(__file__).resolve().parents[2]
MARK: Final = "WEAKLINK_FAULT"
LIMIT_S: Final = 600.0
"""Wall seconds that one command may take on a machine that does much else."""
GONE_S: Final = 10.0
"""How long a process may take to die whose parent was killed."""
FINISHED: Final = (1, 3)
STRUCK: Final = 2
SEEDS: Final = "3"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_CAMPAIGN: Final = ("campaign.json", "report.html", ".lock")


class NoStrike(Exception):
    """The fault could not be caused at all; says why."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    said: str


@dataclass
class Scene:
    """Where one repetition happens.  ``wrong`` says in words what was not as expected, the rest are counts."""

    place: Path
    guest: str
    number: int
    references: References
    wrong: list[str] = field(default_factory=list)
    orphans: int = 0
    lost: int = 0
    figures: int = 0
    cache: Path | None = None
    """Another than the user's."""

    def __post_init__(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.out = self.place / "out"
        self._mark = uuid.uuid4().hex
        self._temporary = Path(tempfile.mkdtemp(prefix="fault-"))  # short: a socket's path has 107 bytes
        self._before: dict[str, str] = {}

    # -- commands ------------------------------------------------------------------------------------------------------

    def start(
        self, words: Sequence[str], *, wrap: Sequence[str] = (), more: Mapping[str, str] = _NOTHING
    ) -> subprocess.Popen[str]:
        """Start the command line in a process group of its own."""
        environment = {**os.environ, MARK: self._mark, "TMPDIR": str(self._temporary), "PYTHONPATH": str(ROOT), **more}
        if self.cache is not None:
            environment["WEAKLINK_CACHE"] = str(self.cache)
        return subprocess.Popen(
            [*wrap, sys.executable, "-m", "profiler", *words], cwd=ROOT, env=environment, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a command; one that takes too long is wrong, and is ended."""
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"not ended after {LIMIT_S:.0f} s")
            process.kill()
            said, _ = process.communicate()
        with (self.place / "log").open("a", encoding="utf-8") as log:
            log.write(f"{said}\n== ended with {process.returncode}\n")
        return Ended(process.returncode, said)

    def weaklink(self, *words: str, wrap: Sequence[str] = (), more: Mapping[str, str] = _NOTHING) -> Ended:
        """Run a command to its end."""
        return self.end(self.start(words, wrap=wrap, more=more))

    # -- processes -----------------------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Every process of this repetition that lives, by the word in its environment."""
        wanted, found = f"{MARK}={self._mark}".encode(), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if wanted in (entry / "environ").read_bytes() and _state(int(entry.name)) != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def qemu(self, process: subprocess.Popen[str], cpu_s: float) -> int:
        """Wait until this repetition's QEMU has used so much CPU time; its process id."""
        deadline = time.monotonic() + LIMIT_S
        pid = 0
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise NoStrike(f"it ended before QEMU had used {cpu_s:.2f} s")
            used = _cpu_seconds(pid) if pid else 0.0
            if not used:  # looked for anew, as weaklink asks a short-lived QEMU first what it can do
                pid = next((one for one in self.processes() if _program(one).startswith("qemu-system")), 0)
            if pid and used >= cpu_s:
                return pid
            time.sleep(0.005)
        raise NoStrike("no QEMU")

    def count_orphans(self) -> None:
        """Count, and end by their ids, processes that outlive what started them."""
        deadline = time.monotonic() + GONE_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.orphans += len(left)
        for pid in left:
            self.wrong.append(f"left behind: {_program(pid) or pid}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- results -------------------------------------------------------------------------------------------------------

    def finished(self, words: Sequence[str], seeds: Sequence[int] = FINISHED) -> None:
        """Put recordings in place that an earlier command of the same words has finished."""
        for seed in seeds:
            source = self.references.of(self, words, seed)
            shutil.copytree(source, self.out / source.parent.parent.name / source.parent.name / source.name)

    def remember(self) -> None:
        """Note what is finished now."""
        self._before = _digests(self.out)

    def count_lost(self) -> None:
        """Count files of results, finished before, that are not what they were."""
        now = _digests(self.out)
        gone = [name for name, digest in self._before.items() if now.get(name) != digest]
        self.lost += len(gone)
        self.wrong += [f"lost: {name}" for name in gone[:3]]

    def count_figures(self, words: Sequence[str], seeds: Sequence[int]) -> None:
        """Count recordings of these seeds whose tables are not those of an undisturbed run."""
        for seed in seeds:
            undisturbed = self.references.of(self, words, seed)
            mine = self.out / undisturbed.parent.parent.name / undisturbed.parent.name / undisturbed.name
            if why := differs(mine, undisturbed):
                self.figures += 1
                self.wrong.append(f"figures of seed {seed}: {why}")

    def age(self) -> None:
        """Make what a killed process left for temporary files as old as it is to be for a sweep."""
        for path in self._temporary.iterdir():
            os.utime(path, (0, 0))

    def leftovers(self) -> None:
        """Look for halves of recordings, and temporary files."""
        halves = [path for path in self.out.rglob(".*") if path.name != ".lock"]
        halves += [path for path in self.out.rglob("seed-*") if path.is_dir() and not (path / "manifest.json").exists()]
        self.wrong += [f"half a result: {path.relative_to(self.out)}" for path in halves[:3]]
        self.wrong += [f"left in TMPDIR: {path.name}" for path in list(self._temporary.iterdir())[:3]]

    def expect(self, ended: Ended, code: int, *words: str) -> None:
        """Note where a command did not end so, or did not say so."""
        if ended.code != code:
            last = ended.said.strip().splitlines()[-3:]
            self.wrong.append(f"exit {ended.code}, not {code}: {' / '.join(last)[:300]}")
        self.wrong += [f"did not say {word!r}" for word in words if word not in ended.said]

    def close(self) -> None:
        """Remove what nobody needs to look at."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        if not self.wrong:
            shutil.rmtree(self.place, ignore_errors=True)


class References:
    """Undisturbed recordings, each made once, by the same command for one seed."""

    def __init__(self, place: Path) -> None:
        self.place, self._lock = place, threading.Lock()
        self.building = threading.Lock()
        """Held by whoever builds something in ``place`` that all repetitions use."""
        self._locks: dict[Path, threading.Lock] = {}

    def of(self, scene: Scene, words: Sequence[str], seed: int) -> Path:
        """Give the recording of a seed: OUT/APP/GUEST/seed-N."""
        if "--limit" in words:  # which is no part of a recording
            at = words.index("--limit")
            words = [*words[:at], *words[at + 2 :]]
        key = hashlib.sha256(repr((*words, scene.guest, seed)).encode()).hexdigest()[:16]
        place = self.place / key
        with self._lock:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            if not recording.find(place):
                other = Scene(place.with_name(f"{key}.log"), scene.guest, 0, self, cache=scene.cache)
                ended = other.weaklink(*run_words(words, scene.guest, f"{seed}-{seed}", place))
                other.close()
                if ended.code:
                    raise NoStrike(f"an undisturbed run fails: {ended.said[-300:]}")
            (found,) = recording.find(place)
            return found


def run_words(words: Sequence[str], guest: str, seeds: str, out: Path) -> list[str]:
    """Give the words of ``weaklink run``: ``words`` are the app and what else is wanted, ``--`` and arguments last."""
    cut = words.index("--") if "--" in words else len(words)
    return ["run", *words[:cut], "--guests", guest, "--seeds", seeds, "--out", str(out), *words[cut:]]


def differs(mine: Path, undisturbed: Path) -> str:
    """Say how the tables of two recordings of one seed differ; nothing where they do not.

    OSv's are only almost alike (docs/osv.md): instructions within 2 %, as tests/guests/test_osv.py holds them.
    """
    try:
        one, other = recording.read(mine), recording.read(undisturbed)
        if one.manifest["guest"]["kind"] == "osv":
            spent = [each.phases.set_index("number")["instructions"] for each in (one, other)]
            off = ((spent[0] - spent[1]).abs() / spent[1]).max()
            return f"instructions differ by {off:.1%}" if not off < 0.02 else ""
        unequal = [name for name in recording.TABLES if not one.table(name).equals(other.table(name))]
    except Exception as error:  # whatever cannot be read is not the same
        return f"{type(error).__name__}: {error}"[:200]
    return f"another {', '.join(unequal)}" if unequal else ""


def _digests(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in _CAMPAIGN and not path.name.endswith(".failed.log")
    }


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _program(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Strike = Callable[[Scene, "subprocess.Popen[str]"], None]


def campaign(
    scene: Scene,
    words: Sequence[str],
    code: int,
    said: Sequence[str] = (),
    *,
    strike: Strike = lambda scene, process: None,
    wrap: Sequence[str] = (),
    more: Mapping[str, str] = _NOTHING,
    again: int = 0,
    shown: Sequence[str] | None = None,
    clock: bool = True,
) -> None:
    """A campaign of three seeds, two of which are finished, is struck in the third; then the same command again.

    It has to end with ``code`` and say ``said``, and its page to show ``shown`` (``said``, if the run failed); the
    same command ends with ``again`` then, and where that is 0 every recording has the figures of an undisturbed one.
    """
    command = run_words(words, scene.guest, SEEDS, scene.out)
    scene.finished(words)
    scene.remember()
    process = scene.start(command, wrap=wrap, more=more)
    try:
        strike(scene, process)
    except NoStrike as reason:
        scene.wrong.append(f"not struck: {reason}")
    scene.expect(scene.end(process), code, *said)
    scene.count_orphans()
    scene.count_lost()
    page(scene, said if shown is None else shown, failed=code != 0)
    scene.age()
    resumed = scene.weaklink(*command)
    scene.expect(resumed, again, *(said if again else ()))
    scene.count_orphans()
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(words, sorted((*FINISHED, *(() if again else (STRUCK,)))))


def page(scene: Scene, shown: Sequence[str], *, failed: bool, code: int = 3) -> None:
    """Draw the report: it has to show what failed, with its evidence, and nothing that a guest said as markup.

    One guest alone is not compared, which the code says; of recordings that are damaged it is another.
    """
    target = scene.place / "page.html"
    scene.expect(scene.weaklink("report", str(scene.out), "--output", str(target)), code)
    raw = target.read_text(encoding="utf-8") if target.exists() else ""
    scripts = [match for match in ("<script>alert(1)", "<img src=x", "\x1b", "\u202e") if match in raw]
    scene.wrong += [f"raw on the page: {match!r}" for match in scripts]
    section = html.unescape(raw.partition('id="failed"')[2].partition("</section>")[0])
    if failed:
        scene.wrong += [f"the page does not show {word!r}" for word in shown if word not in section]
    elif section:
        scene.wrong.append("the page shows a failure")
