"""What the tool costs: start-up, boot, the probe's share of QEMU's CPU time, reading.  ``just bench`` prints it.

CPU seconds, minimum of several runs: wall time of a busy machine says nothing.  Figures stand beside their targets;
nothing here fails, because a figure belongs to the machine it was measured on.  The armed part of a run is short, and a
good deal of its cost is that all code is translated again when the probe is armed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from images import GuestSpec, check, list_guests
from probes.exec import build
from profiler.machine import boot
from profiler.plan import Run, Seed
from profiler.recorder import ExecRecorder
from profiler.subject import Known

MODES = ("none", "block", "exact", "stacks")
BOOT = {"linux": "3 s", "osv": "1 s", "freebsd": "3 s"}
"""How long each kind of guest may take from power-on to the line before the first marker."""


def cpu_of(argv: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def once(recorder: ExecRecorder, work: Path, mode: str, guest: str = "linux") -> boot.Outcome:
    """Run the app once, with the probe in one mode or without it."""
    run = Run("tour", GuestSpec.parse(guest), Seed(1))
    recorder.prepare(run, work)
    prepared = recorder.prepared
    assert prepared is not None
    out = work / "out"
    out.mkdir(exist_ok=True)
    stacks = mode == "stacks"
    counted = "exact" if stacks else mode
    plugin = None if mode == "none" else build.argument(recorder.plugin, prepared.config, out, counted, stacks=stacks)
    outcome = boot.run(
        lambda socket: recorder.command(run, prepared.bootable, socket, plugin), panics=prepared.bootable.panics
    )
    if outcome.failure is not None:
        raise outcome.failure
    return outcome


def probe_cost(rounds: int, work: Path) -> dict[str, tuple[float, float]]:
    """QEMU's CPU seconds by mode: of the whole run, and from ``ready`` to ``done``; minimum over the rounds each."""
    recorder = ExecRecorder(Known("tour"))
    outcomes = [(mode, once(recorder, work, mode)) for _ in range(rounds) for mode in MODES]
    return {
        mode: (min(one.cpu_s for m, one in outcomes if m == mode),
               min(one.cpu_s - one.boot_cpu_s for m, one in outcomes if m == mode))
        for mode in MODES
    }  # fmt: skip


def figures(rounds: int, work: Path) -> Iterator[tuple[str, str, str]]:
    """Name, figure and target, one after the other as they are known."""
    weaklink = [sys.executable, "-m", "profiler"]
    starts = [cpu_of([*weaklink, "--help"]) for _ in range(5)]
    yield "weaklink --help", f"{1000 * min(wall for wall, _ in starts):.0f} ms wall", "150 ms"
    recorder = ExecRecorder(Known("tour", ["null-call"]))
    ready = [(guest.name, runtime) for guest in list_guests() if guest.state == "ready" for runtime in guest.runtimes]
    for name, runtime in ready:
        boots = [once(recorder, work, "exact", f"{name}:{runtime}") for _ in range(rounds)]
        target = BOOT.get(check(GuestSpec(name)).kind, "")
        yield f"boot, {name}:{runtime}", f"{min(one.boot_s for one in boots):.2f} s wall", target
    cost = probe_cost(rounds, work)
    for mode, target in (("none", ""), ("block", "1.3x"), ("exact", "1.8x"), ("stacks", "3x")):
        for part, name in enumerate(("whole run", "armed part")):
            seconds, without = cost[mode][part], cost["none"][part]
            yield f"tour, {mode}, {name}", f"{seconds:.2f} s CPU, {seconds / without:.2f}x", target
    out = str(work / "campaign")
    cpu_of([*weaklink, "run", "tour", "--guests", "linux,linux+audit=1", "--seeds", "3", "--out", out])
    for verb, extra in (("verify", []), ("explain", ["--against", "linux"]), ("report", [])):
        yield f"{verb}, 6 recordings", f"{cpu_of([*weaklink, verb, out, *extra])[0]:.2f} s wall", ""


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
