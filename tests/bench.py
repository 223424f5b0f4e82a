"""What the tool costs: the probe's share of QEMU's CPU time in each phase of the tour, start-up, boot, reading.

``just bench`` prints it, and fails if the probe is beyond its limits in a phase:

    python -m tests.bench [--rounds N] [--guests linux,osv:libc] [--phases]
    python -m tests.bench --speed

The second is about what is recorded already, and needs no guests: see ``tests/speed.py``.

A phase's cost is the CPU time of the vCPU's thread from the marker that begins it to the one that ends it, which the
plugin writes into its summary.  What it is compared with is mode ``marks``, which hooks nothing but markers, and
drops all translated code when it is armed as the others do.  The modes are run by turns, N times each, and each phase's
minimum counts, as a busy machine only adds to it.  Phases that take less than ``SHORT_MS`` without the probe are added
up in one row: in so short a time it matters which code is translated first.  Other figures stand beside targets and
fail nothing: they are wall time, and belong to the machine they were measured on.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from images import GuestSpec, check, list_guests
from images.apps import describe
from probes.exec import build
from profiler.machine import boot
from profiler.plan import Run, Seed
from profiler.recorder import ExecRecorder
from profiler.subject import Known
from tests import speed

LIMITS: Final = {"block": 1.3, "exact": 1.8, "stacks": 3.0}
"""How much CPU time a phase may take in each of the probe's modes, as a multiple of what it takes without."""
MODES: Final = ("marks", *LIMITS)
SHORT_MS: Final = 5.0
SHORT: Final = "short phases"
ALL: Final = "all phases"
BOOT: Final = {"linux": "3 s", "osv": "1 s", "freebsd": "3 s"}
"""How long each kind of guest may take from power-on to the line before the first marker."""

Times = Mapping[str, float]
"""CPU milliseconds by phase."""


def cpu_of(argv: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def once(recorder: ExecRecorder, work: Path, mode: str, guest: str) -> boot.Outcome:
    """Run the app once with the probe in one mode, which leaves its files in ``work``/out."""
    run = Run("tour", GuestSpec.parse(guest), Seed(1))
    recorder.prepare(run, work)
    prepared = recorder.prepared
    assert prepared is not None
    out = work / "out"
    out.mkdir(exist_ok=True)
    stacks = mode == "stacks"
    plugin = build.argument(recorder.plugin, prepared.config, out, "exact" if stacks else mode, stacks=stacks)
    outcome = boot.run(
        lambda socket: recorder.command(run, prepared.bootable, socket, plugin), panics=prepared.bootable.panics
    )
    if outcome.failure is not None:
        raise outcome.failure
    return outcome


def times(summary: Path) -> dict[int, float]:
    """CPU milliseconds by the number of the phase, of a run with one vCPU."""
    (vcpu,) = json.loads(summary.read_text())["vcpus"]
    points = [(point[0], ns / 1e6) for point, ns in zip(vcpu["points"], vcpu["cpu_ns"], strict=True)]
    return {number: end - begin for (number, begin), (_, end) in zip(points[::2], points[1::2], strict=True)}


def least(rounds: Sequence[Times]) -> dict[str, float]:
    """Each phase's minimum; of phases that are in all of the rounds."""
    return {phase: min(one[phase] for one in rounds) for phase in rounds[0] if all(phase in one for one in rounds)}


def ratios(by_mode: Mapping[str, Times]) -> dict[str, dict[str, float]]:
    """By row, what ``marks`` takes in ms, and the other modes as its multiples.

    A row is a phase, or the sum of those that are short, or of all of them.
    """
    rows: dict[str, list[str]] = {}
    for phase, ms in by_mode["marks"].items():
        for row in (SHORT if ms < SHORT_MS else phase, ALL):
            rows.setdefault(row, []).append(phase)
    ordered = sorted(rows, key=lambda row: (row in (SHORT, ALL), row == ALL))
    sums = {row: {mode: sum(of[phase] for phase in rows[row]) for mode, of in by_mode.items()} for row in ordered}
    return {
        row: {mode: ms if mode == "marks" else ms / of["marks"] for mode, ms in of.items()} for row, of in sums.items()
    }


def missed(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What is beyond its limit, in words."""
    return [
        f"{row}, {mode}: {table[row][mode]:.2f}x, at most {limit:g}x"
        for row in table
        for mode, limit in LIMITS.items()
        if table[row][mode] > limit
    ]


def measure(guest: str, rounds: int, work: Path) -> dict[str, dict[str, float]]:
    """The table of one guest; see ``ratios``."""
    recorder, names = ExecRecorder(Known("tour")), {phase.number: phase.name for phase in describe.load("tour").phases}
    seen: dict[str, list[Times]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            once(recorder, work, mode, guest)
            seen[mode].append({names[n]: ms for n, ms in times(work / "out" / "summary.json").items()})
    return ratios({mode: least(of) for mode, of in seen.items()})


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
    out = str(work / "campaign")
    cpu_of([*weaklink, "run", "tour", "--guests", "linux,linux+audit=1", "--seeds", "3", "--out", out])
    for verb, extra in (("verify", []), ("explain", ["--against", "linux"]), ("report", [])):
        yield f"{verb}, 6 recordings", f"{cpu_of([*weaklink, verb, out, *extra])[0]:.2f} s wall", ""


def main() -> int:
    """Print the figures; 1 if a phase costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--guests", default="linux", help="whose phases are measured (default: linux)")
    parser.add_argument("--phases", action="store_true", help="measure only phases")
    parser.add_argument("--speed", action="store_true", help="how fast recordings are read, instead: tests/speed.py")
    arguments, more = parser.parse_known_args()
    if arguments.speed:
        return speed.main(more)
    if more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    beyond: list[str] = []
    with tempfile.TemporaryDirectory() as work:
        for guest in arguments.guests.split(","):
            table = measure(guest, arguments.rounds, Path(work))
            print(f"{guest:20} {'marks, ms':>12}" + "".join(f"{f'{m} <{LIMITS[m]:g}':>14}" for m in LIMITS))
            for row, of in table.items():
                cells = (f"{of[mode]:.2f}x{' !' if of[mode] > limit else '  '}" for mode, limit in LIMITS.items())
                print(f"{row:20} {of['marks']:12.2f}" + "".join(f"{cell:>14}" for cell in cells))
            beyond += [f"{guest}, {one}" for one in missed(table)]
        if not arguments.phases:
            for name, figure, target in figures(arguments.rounds, Path(work)):
                print(f"{name:28} {figure:24} {f'(at most {target})' if target else ''}".rstrip(), flush=True)
    for one in beyond:
        print(f"beyond its limit: {one}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
