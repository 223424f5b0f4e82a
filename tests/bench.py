"""What the tool costs: start-up, boot, the probe's share of QEMU's CPU time, reading.  ``just bench`` prints it.

CPU seconds, minimum of several runs: wall time of a busy machine says nothing.  Figures stand beside their targets;
nothing here fails, because a figure belongs to the machine it was measured on.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from images import GuestSpec
from probes.exec import build
from profiler.machine import boot
from profiler.plan import Run, Seed
from profiler.recorder import ExecRecorder

MODES = ("none", "block", "exact")


def cpu_of(argv: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def once(recorder: ExecRecorder, work: Path, mode: str) -> boot.Outcome:
    """Run the app once on Linux, with the probe in one mode or without it."""
    run = Run("tour", GuestSpec.parse("linux"), Seed(1))
    recorder.prepare(run, work)
    prepared = recorder.prepared
    assert prepared is not None
    out = work / "out"
    out.mkdir(exist_ok=True)
    plugin = None if mode == "none" else build.argument(recorder.plugin, prepared.config, out, mode)
    outcome = boot.run(
        lambda socket: recorder.command(run, prepared.bootable, socket, plugin), panics=prepared.bootable.panics
    )
    if outcome.failure is not None:
        raise outcome.failure
    return outcome


def probe_cost(phases: list[str], rounds: int, work: Path) -> dict[str, float]:
    """CPU seconds from the app's ``ready`` to its ``done``, by mode, minimum over the rounds."""
    recorder = ExecRecorder("tour", phases=phases)
    best = dict.fromkeys(MODES, float("inf"))
    for _ in range(rounds):
        for mode in MODES:
            outcome = once(recorder, work, mode)
            best[mode] = min(best[mode], outcome.cpu_s - outcome.boot_cpu_s)
    return best


def figures(rounds: int, work: Path) -> Iterator[tuple[str, str, str]]:
    """Name, figure and target, one after the other as they are known."""
    weaklink = [sys.executable, "-m", "profiler"]
    starts = [cpu_of([*weaklink, "--help"]) for _ in range(5)]
    yield "weaklink --help", f"{1000 * min(wall for wall, _ in starts):.0f} ms wall", "150 ms"
    recorder = ExecRecorder("tour", phases=["null-call"])
    boots = [once(recorder, work, "exact") for _ in range(rounds)]
    yield "boot to the first marker", f"{min(one.boot_s for one in boots):.2f} s wall", "3 s"
    cost = probe_cost([], rounds, work)
    yield "tour, no probe", f"{cost['none']:.2f} s CPU", ""
    yield "tour, per block", f"{cost['block']:.2f} s CPU, {cost['block'] / cost['none']:.2f}x", "1.3x"
    yield "tour, exact", f"{cost['exact']:.2f} s CPU, {cost['exact'] / cost['none']:.2f}x", "1.8x"
    record: Callable[[str], list[str]] = lambda verb: [*weaklink, verb, str(work / "campaign")]  # noqa: E731
    cpu_of([*weaklink, "run", "tour", "--guests", "linux,linux+audit=1", "--seeds", "3", "--out", str(work / "campaign")])
    for verb, extra in (("verify", []), ("explain", ["--against", "linux"]), ("report", [])):
        yield f"{verb}, 6 recordings", f"{cpu_of([*record(verb), *extra])[0]:.2f} s wall", ""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for name, figure, target in figures(arguments.rounds, Path(work)):
            print(f"{name:28} {figure:24} {f'(at most {target})' if target else ''}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
