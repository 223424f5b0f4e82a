"""Tries one seed after the other, in a process with limits: what is made of a damaged file may be wrong, but not more.

A reader may give a result or a ``WeaklinkError``, in so much CPU time and memory and no more, and writes nothing
outside of the folder it is given; anything else is a failure and is told with its seed.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from profiler.errors import WeaklinkError

CPU_S: Final = 20.0
"""How much CPU time one case may take.  Those that are sound take a second or less."""
WALL_S: Final = 120.0
"""How long one may take that uses no CPU time."""
MEMORY: Final = 1 << 30
"""How much memory beyond what Python and its libraries take, in bytes."""
MOST_FAILURES: Final = 5
LONGEST: Final = 4000
"""Characters that the message of a failure may have."""
UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What must not reach a terminal; tab and newline are ours as well."""
WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: Final = {"os.mkdir", "os.rename", "os.symlink", "os.link", "os.chmod", "os.chown", "os.remove", "os.rmdir",
                  "os.truncate"}  # fmt: skip

Files = Mapping[str, bytes]
Random = np.random.Generator


@dataclass(frozen=True)
class Target:
    """``make`` gives the files of a case; ``check`` writes them into a folder and reads them.

    ``check`` says whether they could be read; what it raises is a failure.  ``about`` is the sample that a case was
    made from, for those readers that need more than files.
    """

    make: Callable[[Random], tuple[Any, Files]]
    check: Callable[[Any, Files, Path], bool]


@dataclass
class Result:
    """How it went; ``sound`` cases could be read."""

    done: int = 0
    sound: int = 0
    longest_s: float = 0.0
    longest: int = 0
    failures: dict[int, str] = field(default_factory=dict)


class Outside:
    """Notes what is written outside of a folder, by Python's own audit events; they cannot be switched off again."""

    def __init__(self) -> None:
        self.allowed = ""
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.allowed or (event != "open" and event not in CHANGES):
            return
        if event == "open" and (not isinstance(given[2], int) or not given[2] & WRITING):
            return
        for path in given[:2] if event in ("os.rename", "os.link") else given[:1]:
            if (
                isinstance(path, str | bytes)
                and not os.path.isabs(os.fsdecode(path))
                and event in ("os.remove", "os.rmdir")
            ):
                continue  # shutil.rmtree, beneath a directory that it holds open
            if isinstance(path, str | bytes | os.PathLike) and not os.path.realpath(os.fsdecode(path)).startswith(
                (self.allowed, "/dev/null")
            ):
                self.seen.append(f"{event} {os.fsdecode(path)!r:.300}")


def told(error: WeaklinkError) -> None:
    """Hold a failure against what each has to be: named, with a way out, of a bounded length, without what acts."""
    assert error.exit_code != WeaklinkError.exit_code, error
    assert error.hint, error
    assert 0 < len(str(error)) < LONGEST, f"{str(error)[:500]} ..."
    assert not UNSAFE.search(str(error)), ascii(str(error))


def case(target: Target, seed: int) -> tuple[Any, Files]:
    """What ``seed`` stands for."""
    return target.make(np.random.default_rng(seed))


def once(target: Target, seed: int, outside: Outside | None = None) -> bool:
    """Check what ``seed`` stands for; AssertionError, or whatever else is raised, is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        place, scratch = Path(folder, "place"), Path(folder, "scratch")
        place.mkdir()
        scratch.mkdir()
        if outside:
            outside.allowed, outside.seen = os.path.realpath(folder), []
        before, tempfile.tempdir = tempfile.tempdir, str(scratch)
        try:
            sound = target.check(*case(target, seed), place)
        finally:
            tempfile.tempdir = before
            if outside:
                outside.allowed = ""
        assert not (outside and outside.seen), f"writes outside of its folder: {outside and outside.seen}"
        return sound


def _work(target: Target, first: int, until: float, only: bool, tell: Connection) -> None:
    """Do one seed after the other in a process with limits, and tell of each."""
    used = next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmData"))  # fmt: skip
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    outside = Outside()
    seed = first
    while only or time.monotonic() < until:
        tell.send((seed, None, ""))
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # SIGPROF ends the process, wherever it is
        began = time.process_time()
        try:
            sound, failure = once(target, seed, outside), ""
        except Exception:
            sound, failure = False, traceback.format_exc(limit=-6)
        signal.setitimer(signal.ITIMER_PROF, 0)
        tell.send((seed, (sound, time.process_time() - began), failure))
        if only:
            break
        seed += 1


def fuzz(target: Target, seconds: float, first: int = 0, only: bool = False) -> Result:
    """Try seeds from ``first`` on for so long, or one only; processes that do not live through one are replaced."""
    result, until, seed = Result(), time.monotonic() + seconds, first
    context = multiprocessing.get_context("fork")
    while not result.done if only else time.monotonic() < until:
        hear, tell = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(target, seed, until, only, tell))
        worker.start()
        tell.close()
        try:
            while hear.poll(WALL_S):
                seed, how, failure = hear.recv()
                if how is None:
                    continue
                result.done, result.sound = result.done + 1, result.sound + how[0]
                if how[1] > result.longest_s:
                    result.longest_s, result.longest = how[1], seed
                if failure:
                    result.failures[seed] = failure
            worker.kill()
        except EOFError:
            pass
        worker.join()
        if worker.exitcode:
            result.done += 1
            result.failures[seed] = f"ended by {worker.exitcode} (-{signal.SIGPROF.value}: too much CPU, -9: hung)"
        seed += 1
        if len(result.failures) >= MOST_FAILURES:
            break
    return result
