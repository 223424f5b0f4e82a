"""The probe's files, made at random from those of real runs: what does the decoder make of them?

It may give tables of the declared schemas or say ``ProbeLoss``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from probes import events
from probes.exec import decode, frames, log
from probes.exec.configure import Hooks
from probes.exec.said import Phase
from profiler.errors import ProbeLoss
from tests.fuzz.harness import Files, Random, Target
from tests.fuzz.mutate import bits, cut, number, of_json, splice

PHASES: Final = ("null-call", "mutex-contended", "condvar-pingpong", "tcp-pingpong", "fork-wait")
SCHEMAS: Final = {
    "ledger": events.LEDGER, "phases": events.PHASES, "events": events.EVENTS, "locks": events.LOCKS,
    "threads": events.THREADS, "costly": events.COSTLY, "frames": events.FRAMES, "stacks": events.STACKS,
}  # fmt: skip
RECORDS: Final = {
    "events.bin": log.RECORD, "events.bin.1": log.RECORD, "ledger.bin": decode._CELL,
    "costly.bin": decode._COSTLY, "stacks.bin": frames._NODE,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What a run left, and what is needed to decode it."""

    files: Files
    hooks: Hooks
    said: Sequence[Phase]
    shared: Collection[str] = ()


def read(folder: Path) -> Files:
    """The files of a run, as far as they are the same in every run from one seed."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    summary = json.loads(files["summary.json"])
    for vcpu in summary["vcpus"]:
        vcpu.pop("cpu_ns", None)  # of every run another
    return files | {"summary.json": json.dumps(summary).encode()}


def records(data: bytes, dtype: np.dtype[Any], random: Random) -> bytes:
    """Whole records are in another order, or a field of some of them is what somebody may not have thought of."""
    rows = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype).copy()
    if not len(rows):
        return data
    if random.random() < 0.3:
        return rows[random.integers(0, len(rows), int(random.integers(0, 3 * len(rows))))].tobytes()
    field = str(random.choice([name for name in dtype.names or () if name != "_"]))
    some = random.random(len(rows)) < random.choice([0, 0.01, 1])
    some[int(random.integers(0, len(rows)))] = True
    limit = 1 << 8 * dtype[field].itemsize
    put = number(random) % limit
    rows[field][some] = put - limit if dtype[field].kind == "i" and put >= limit // 2 else put
    if random.random() < 0.2 and field == "parent":  # a chain: the deepest tree that there is
        rows = np.resize(rows, int(random.choice([len(rows), 100_000])))
        rows[field] = np.maximum(np.arange(len(rows)) - 1, 0)
    return rows.tobytes()


def mutate(files: Files, random: Random) -> Files:
    """The same files, of which one or two are damaged; seldom one is missing or another one's."""
    files = dict(files)
    for _ in range(int(random.integers(1, 3))):
        name = str(random.choice(sorted(files)))
        kinds: list[Callable[[bytes, Random], bytes]] = [bits, cut, splice]
        if name in RECORDS:
            kinds += 4 * [lambda data, random, of=RECORDS[name]: records(data, of, random)]  # type: ignore[misc]
        elif name == "summary.json":
            kinds += 8 * [of_json]
        what = random.random()
        if what < 0.01:
            del files[name]
            break
        if what < 0.02:
            files[name] = files[str(random.choice(sorted(files)))]
        elif files[name]:
            files[name] = kinds[int(random.integers(0, len(kinds)))](files[name], random)
    return files


def check(sample: Sample, files: Files, out: Path) -> bool:
    """Decode these; whether there were tables.  AssertionError, or whatever else is raised, is a failure."""
    for name, data in files.items():
        (out / name).write_bytes(data)
    try:
        tables = decode.decode(out, sample.hooks, sample.said, sample.shared)
    except ProbeLoss:
        return False
    for name, schema in SCHEMAS.items():
        table = tables.events.read_all() if name == "events" else getattr(tables, name)
        assert table.schema == schema, name
        table.validate(full=True)
        assert [field.name for field in schema if not field.nullable and table[field.name].null_count] == [], name
    for name in ("ledger", "stacks", "costly"):
        counts = getattr(tables, name).to_pandas().select_dtypes("number").drop(columns="stack", errors="ignore")
        assert not (counts < 0).any(axis=None), f"less than nothing in {name}"
    json.dumps([tables.capabilities, tables.trouble, tables.hooks_fired, tables.stacks_seen, tables.vcpus])
    assert tables.lost_events >= 0
    return True


def target(samples: Sequence[Sample]) -> Target:
    """Cases made from these samples."""

    def make(random: Random) -> tuple[Sample, Files]:
        sample = samples[int(random.integers(0, len(samples)))]
        return sample, mutate(sample.files, random)

    return Target(make, check)


def record(work: Path) -> list[Sample]:
    """Samples from a real guest, with and without call stacks."""
    from images import GuestSpec
    from probes import maps
    from probes.exec import build
    from profiler.machine import boot
    from profiler.plan import Run, Seed
    from profiler.recorder import ExecRecorder
    from profiler.subject import Known

    samples = []
    for stacks in (False, True):
        recorder, run = (
            ExecRecorder(Known("tour", PHASES), stacks=stacks),
            Run("tour", GuestSpec.parse("linux"), Seed(1)),
        )
        folder, out = work / f"stacks-{stacks}", work / f"stacks-{stacks}" / "probe"
        out.mkdir(parents=True)
        recorder.prepare(run, folder)
        prepared = recorder.prepared
        assert prepared is not None
        plugin = build.argument(recorder.plugin, prepared.config, out, "exact", stacks=stacks)
        outcome = boot.run(
            lambda socket: recorder.command(run, prepared.bootable, socket, plugin),  # noqa: B023
            panics=prepared.bootable.panics,
        )
        if outcome.failure is not None:
            raise outcome.failure
        kernel = [name for name, of, _ in prepared.hooks.functions if of == "kernel"]
        shared = maps.load(prepared.bootable.kind).shared(kernel) if stacks else ()
        samples.append(Sample(read(out), prepared.hooks, list(outcome.conversation.phases.values()), shared))
    return [*samples, doubled(samples[0])]


def doubled(sample: Sample) -> Sample:
    """The same from two vCPUs, each of which did all that the one did."""
    files = dict(sample.files)
    summary = json.loads(files["summary.json"])
    summary["vcpus"] *= 2
    cells = np.frombuffer(files["ledger.bin"], decode._CELL)
    others = cells.copy()
    others["vcpu"] = 1
    files["summary.json"] = json.dumps(summary).encode()
    files["ledger.bin"], files["events.bin.1"] = cells.tobytes() + others.tobytes(), files["events.bin"]
    return Sample(files, sample.hooks, sample.said, sample.shared)


def booted(work: Path) -> Target:
    """Cases of a run that is made for them; each sample must decode as it is."""
    samples = record(work)
    for number_of_it, sample in enumerate(samples):
        place = work / f"sound-{number_of_it}"
        place.mkdir()
        assert check(sample, sample.files, place), "the probe's own files are refused"
    return target(samples)
