"""How fast weaklink reads what was recorded, and other tools on the same events.

    python -m tests.bench --speed [--events N]

Four parts: the probe's log of N events decoded and written (default: 10 million); ``explain`` of twelve
runs with a million events each, whose ledgers are those of the tour that comes with weaklink; the trace commands on N
events (``tests/scale.py``); and a million switches and wake-ups as ``weaklink`` shows them beside ``trace-cmd report``,
``perf`` and ``babeltrace2``, which get them in their own formats (``tests/sched_formats.py``).  A tool that is not
there is said to be missing.  Every command runs in a process of its own, and one with figures of a million lines must
say as many.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probes import archive, recording
from probes.events import EVENT_KINDS, EVENTS
from probes.exec import log
from tests import raw_log, scale, sched_formats
from tests.timed import WEAKLINK, Took, took

LIMITS: Final = {"decode": 5e6, "explain": 5.0, "memory": 1024.0}
"""Events per second of CPU that are decoded, seconds of ``explain``, and its MB: what is aimed at."""
RUNS: Final = (("linux", 4), ("osv:libc", 4), ("freebsd", 4))
PER_RUN: Final = 1_000_000
SCHED: Final = 1_000_000
_TOUR: Final = Path(__file__).resolve().parents[1] / "profiler/recorded/tour.recordings"
_PIECE: Final = 1_000_000
_SCHED_IN: Final = sum(row[0] in ("switch", "wake") for row in scale.PATTERN) / len(scale.PATTERN)


def probe_log(path: Path, events: int) -> None:
    """Write a probe's log: one phase, in which four threads ask for operations by turns."""
    random, now = np.random.default_rng(1), 0
    with path.open("wb") as file:
        for first in range(0, events, _PIECE):
            size = min(_PIECE, events - first)
            rows = np.zeros(size, dtype=raw_log.EVENT)
            rows["stack"], rows["name"] = 0xFFFFFFFF, 1
            rows["time"] = now + np.cumsum(random.integers(10, 400, size))
            rows["thread"] = np.repeat(random.integers(0, 4, size // 50 + 1), 50)[:size]
            rows["kind"], rows["how"] = (np.resize(pattern, size) for pattern in ([2, 4, 5, 3], [0, 0, 1, 1]))
            rows["value"] = random.integers(0, 500, size)
            for here, place, kind in ((first == 0, 0, "phase-begin"), (first + size == events, -1, "phase-end")):
                if here:
                    rows["kind"][place], rows["value"][place] = EVENT_KINDS.index(kind), 1
            now = int(rows["time"][-1])
            file.write(raw_log.pack(rows).tobytes())


def decode(folder: Path) -> float:
    """Decode the log in a folder, and write its events as a recording's; the seconds of CPU time that it takes."""
    began = time.process_time()
    found = log.Log.at(folder, [0])
    names = dict.fromkeys(log.look(found.records()).names.tolist(), "read")
    events = pa.RecordBatchReader.from_batches(EVENTS, found.batches(names, None))
    recording._write_events(folder / "events.parquet", events, lost=False, counted=True)
    return time.process_time() - began


def decoded(work: Path, events: int) -> tuple[float, Took]:
    """How many events per second of CPU are decoded, and what the process took that did."""
    probe_log(work / "events.bin", events)
    code = f"import pathlib; from tests import speed; print(speed.decode(pathlib.Path({str(work)!r})))"
    with (work / "said").open("w+b") as said:
        found = took([sys.executable, "-c", code], said)
        said.seek(0)
        return events / float(said.read() or "inf"), found


def campaign(root: Path, runs: tuple[tuple[str, int], ...] = RUNS, events: int = PER_RUN) -> None:
    """Write runs of some guests: ledgers of the tour that comes with weaklink, and so many events each."""
    table, _ = scale.events(events)
    known = archive.read(_TOUR)
    for spec, count in runs:
        for one in [each for each in known if each.spec == spec][:count]:
            tables = {name: one.table(name) for name in recording.TABLES} | {"events": table}
            manifest = {key: value for key, value in one.manifest.items() if key != "events_kept"}
            recording.write(root / one.directory.relative_to(_TOUR), manifest, tables, b"")


def scheduling(place: Path, rows: int) -> None:
    """Record switches and wake-ups alone, and write them for other tools."""
    table, length = scale.events(round(rows / _SCHED_IN))
    wanted = pc.is_in(pc.cast(table["kind"], "string"), value_set=scale.words("switch", "wake", *scale.EDGES))
    scale.write_storm(place, table.filter(wanted), length)
    sched = sched_formats.Sched.of(recording.read(place))
    sched_formats.perf_data(sched, place.parent / "perf.data")
    sched_formats.trace_dat(sched, place.parent / "trace.dat")
    sched_formats.ctf(sched, place.parent / "ctf")


def beside(work: Path, rows: int = SCHED) -> Iterator[tuple[str, str, str, str]]:
    """What is asked, which tool, its version, and what it took, on the same switches and wake-ups."""
    place = work / "sched"
    scheduling(place, rows)
    lines, threads = f"{rows:,} events as text", "switches and latencies by thread"
    for asked, tool, version, words in (
        (lines, "weaklink", [], ["events", place, "--limit", str(2 * rows)]),
        (lines, "weaklink", [], ["events", place, "--limit", str(2 * rows), "--format", "csv"]),
        (lines, "trace-cmd", ["--version"], ["report", "-i", work / "trace.dat"]),
        (lines, "perf", ["--version"], ["script", "-i", work / "perf.data"]),
        (lines, "babeltrace2", ["--version"], [work / "ctf"]),
        (threads, "weaklink", [], ["switches", place, "--format", "csv"]),
        (threads, "perf", ["--version"], ["sched", "-i", work / "perf.data", "latency"]),
        (threads, "perf", ["--version"], ["sched", "-i", work / "perf.data", "timehist", "--summary"]),
    ):  # fmt: skip
        name = " ".join([tool, *(str(word) for word in words if not str(word).startswith((str(work), "-i")))])
        program = [*WEAKLINK] if tool == "weaklink" else [shutil.which(tool) or ""]
        if not program[0]:
            yield asked, name, "", "is not here"
            continue
        said = subprocess.run([*program, *version], capture_output=True, text=True).stdout if version else ""
        with (work / "said").open("wb") as out:
            found = took([*program, *words], out)
        with (work / "said").open("rb") as text:
            count = sum(1 for _ in text)
        short = asked == lines and count < rows
        yield asked, name, said.strip().partition("\n")[0], f"{found}" + (f"  only {count:,} lines" if short else "")


def main(words: list[str] | None = None) -> int:
    """Measure, and print; 1 if something is slower than it is to be, or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--parts", default="decode,explain,traces,beside", help="some of them, by commas")
    arguments = parser.parse_args(words)
    parts, slow = arguments.parts.split(","), []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "decode" in parts:
            rate, found = decoded(work, arguments.events)
            size = (work / "events.parquet").stat().st_size / 1e6
            print(f"{f'decode {arguments.events:,} events':55} {found}  {rate / 1e6:.1f} M/s, {size:.0f} MB on disk")
            slow += ["decode"] * (rate < LIMITS["decode"] or found.code != 0)
            (work / "events.bin").unlink()
        if "explain" in parts:
            campaign(work / "twelve")
            found = took([*WEAKLINK, "explain", work / "twelve", "--against", "linux"])
            print(f"{'explain, 12 runs of 1,000,000 events':55} {found}")
            slow += ["explain"] * (found.cpu_s > LIMITS["explain"] or found.mb > LIMITS["memory"] or found.code != 0)
        if "traces" in parts:
            scale.main(["--events", str(arguments.events)])
        if "beside" in parts:
            for asked, name, version, figures in beside(work):
                print(f"{asked:33} {name:45} {figures}  {version}", flush=True)
    for one in slow:
        print(f"slower than it is to be: {one}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
