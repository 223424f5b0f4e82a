"""What is done to the processes: killed, stopped, interrupted, made to share a directory, the clock moved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from probes import recording
from tests.faults.kind import Kind
from tests.faults.scene import SEEDS, STRUCK, Scene, campaign, run_words

WORDS: Final = ("tour", "--phases", "null-call")
STALL_S: Final = 12
_HERE: Final = Path(__file__).resolve().parent


def _struck(scene: Scene, how: Callable[[int, subprocess.Popen[str]], None], code: int, said: Sequence[str] = (),
            words: Sequence[str] = WORDS, shown: Sequence[str] | None = None) -> None:  # fmt: skip
    """Do something to QEMU's process, or to weaklink's, in the middle of a run.

    Each repetition does at another share of the CPU time that QEMU takes for it where nothing disturbs: half of it at
    most, as the last third of OSv's, 0.2 s, may be over before somebody else is scheduled.
    """
    undisturbed = recording.read(scene.references.of(scene, WORDS, STRUCK))
    moment = float(undisturbed.manifest["cost"]["cpu_s"]) * (0.05 + 0.05 * (scene.number % 10))

    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        how(scene.qemu(process, moment), process)

    campaign(scene, words, code, said, strike=strike, shown=shown)


def _kill_qemu(scene: Scene) -> None:
    _struck(scene, lambda qemu, _: os.kill(qemu, signal.SIGKILL), 26, ["killed by signal 9 (SIGKILL)"])


def _crash_qemu(scene: Scene) -> None:
    _struck(scene, lambda qemu, _: os.kill(qemu, signal.SIGSEGV), 26, ["killed by signal 11 (SIGSEGV)"])


def _stop_qemu(scene: Scene) -> None:
    words = (*WORDS, "--limit", str(STALL_S))
    _struck(scene, lambda qemu, _: os.kill(qemu, signal.SIGSTOP), 25, [f"no sign of life for {STALL_S} s"], words)


def _kill_tool(scene: Scene) -> None:
    _struck(scene, lambda _, process: process.kill(), -signal.SIGKILL, shown=["not finished"])


def _interrupt_tool(scene: Scene) -> None:
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[scene.number % 3]
    _struck(scene, lambda _, process: process.send_signal(number), 130, ["interrupted"])


def _stop_tool(scene: Scene) -> None:
    """For longer than any limit allows: QEMU goes on meanwhile."""

    def stop(_: int, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(STALL_S + 2)
        process.send_signal(signal.SIGCONT)

    _struck(scene, stop, 0, words=(*WORDS, "--limit", str(STALL_S)))


def _share(scene: Scene) -> None:
    """A second campaign in the same directory is refused, and the first does not notice."""

    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        scene.qemu(process, 0.0)
        second = scene.weaklink(*run_words(WORDS, scene.guest, SEEDS, scene.out))
        scene.expect(second, 2, "another campaign is writing")

    campaign(scene, WORDS, 0, strike=strike)


def _move_clock(scene: Scene) -> None:
    """The wall clock of weaklink and of QEMU jumps by an hour, to and fro, ten times a second."""
    library = scene.place / "jump.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_HERE / "jump.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    campaign(scene, WORDS, 0, more={"LD_PRELOAD": str(library)})


KINDS: Final = (
    Kind("qemu-killed", "SIGKILL of QEMU", _kill_qemu, ("linux", "osv", "freebsd")),
    Kind("qemu-crashed", "SIGSEGV of QEMU", _crash_qemu),
    Kind("qemu-stopped", "SIGSTOP of QEMU", _stop_qemu),
    Kind("tool-killed", "SIGKILL of weaklink", _kill_tool, quick=True),
    Kind("tool-interrupted", "SIGINT, SIGTERM, SIGHUP", _interrupt_tool),
    Kind("tool-stopped", "SIGSTOP of weaklink, SIGCONT later", _stop_tool),
    Kind("two-campaigns", "two campaigns in one directory", _share),
    Kind("clock-jumps", "the host's clock jumps", _move_clock),
)
