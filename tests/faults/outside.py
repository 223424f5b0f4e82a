"""What is done to the processes: killed, stopped, interrupted, made to share a directory, the clock moved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.faults.kind import Kind
from tests.faults.scene import SEEDS, Scene, campaign, run_words

WORDS: Final = ("tour", "--phases", "null-call")
STALL_S: Final = 12
_HERE: Final = Path(__file__).resolve().parent


def _moment(scene: Scene) -> float:
    """CPU seconds of QEMU's after which a repetition strikes: each in another moment of the shortest run, OSv's."""
    return 0.05 + 0.06 * (scene.number % 10)


def _kill_qemu(scene: Scene) -> None:
    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        os.kill(scene.qemu(process, _moment(scene)), signal.SIGKILL)

    campaign(scene, WORDS, 26, ["killed by signal 9 (SIGKILL)"], strike=strike)


def _crash_qemu(scene: Scene) -> None:
    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        os.kill(scene.qemu(process, _moment(scene)), signal.SIGSEGV)

    campaign(scene, WORDS, 26, ["killed by signal 11 (SIGSEGV)"], strike=strike)


def _stop_qemu(scene: Scene) -> None:
    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        os.kill(scene.qemu(process, _moment(scene)), signal.SIGSTOP)

    words = (*WORDS, "--limit", str(STALL_S))
    campaign(scene, words, 25, [f"no sign of life for {STALL_S} s"], strike=strike)


def _kill_tool(scene: Scene) -> None:
    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        scene.qemu(process, _moment(scene))
        process.kill()

    campaign(scene, WORDS, -signal.SIGKILL, strike=strike, shown=["not finished"])


def _interrupt_tool(scene: Scene) -> None:
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[scene.number % 3]

    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        scene.qemu(process, _moment(scene))
        process.send_signal(number)

    campaign(scene, WORDS, 130, ["interrupted"], strike=strike)


def _stop_tool(scene: Scene) -> None:
    """For longer than any limit allows: QEMU goes on meanwhile."""

    def strike(scene: Scene, process: subprocess.Popen[str]) -> None:
        scene.qemu(process, _moment(scene))
        process.send_signal(signal.SIGSTOP)
        time.sleep(STALL_S + 2)
        process.send_signal(signal.SIGCONT)

    campaign(scene, (*WORDS, "--limit", str(STALL_S)), 0, strike=strike)


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
