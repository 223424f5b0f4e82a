"""Damaged files of the probe's, made at random from those of real runs: what does the decoder make of them?

    python -m tests.fuzz_decoder SECONDS [--seed FIRST] [--only] [--keep DIR]

It may give tables of the declared schemas or say ``ProbeLoss``, in so much CPU time and memory and no more; anything
else is printed with its seed.  ``--seed N --only`` does that one again, ``--keep DIR`` leaves its files there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from probes import events
from probes.exec import decode, frames, log
from probes.exec.configure import Hooks
from probes.exec.said import Phase
from profiler.errors import ProbeLoss

CPU_S: Final = 20.0
"""How much CPU time a decoding may take.  Those of the samples take a tenth of a second."""
WALL_S: Final = 120.0
"""How long one may take that uses no CPU time."""
MEMORY: Final = 1 << 30
"""How much memory beyond what Python and its libraries take, in bytes."""
MOST_FAILURES: Final = 5
PHASES: Final = ("null-call", "mutex-contended", "condvar-pingpong", "tcp-pingpong", "fork-wait")
SCHEMAS: Final = {
    "ledger": events.LEDGER, "phases": events.PHASES, "events": events.EVENTS, "locks": events.LOCKS,
    "threads": events.THREADS, "costly": events.COSTLY, "frames": events.FRAMES, "stacks": events.STACKS,
}  # fmt: skip
RECORDS: Final = {
    "events.bin": log.RECORD, "events.bin.1": log.RECORD, "ledger.bin": decode._CELL,
    "costly.bin": decode._COSTLY, "stacks.bin": frames._NODE,
}  # fmt: skip

Files = Mapping[str, bytes]
Random = np.random.Generator


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


def number(random: Random) -> int:
    """One that is near to what somebody may not have thought of."""
    power = 1 << int(random.integers(0, 65))
    return int(
        random.choice(np.array([0, 1, power - 1, power, power + 1, -power, int(random.integers(0, 1000))], object))
    )


def bits(data: bytes, random: Random) -> bytes:
    """Some bits are other ones."""
    damaged = bytearray(data)
    for at in random.integers(0, 8 * len(data), int(random.integers(1, 9))).tolist():
        damaged[at // 8] ^= 1 << at % 8
    return bytes(damaged)


def cut(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: int(random.integers(0, len(data)))]


def splice(data: bytes, random: Random) -> bytes:
    """A piece of it is somewhere else, or there more often."""
    begin, end, at = sorted(random.integers(0, len(data) + 1, 3).tolist())
    random_times = int(random.choice([1, 1, 2, 20]))
    return (data[:begin] + data[end:at] * random_times + data[begin:end] + data[at:])[: 64 << 20]


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


def of_json(data: bytes, random: Random) -> bytes:
    """Some values are others, are missing, or are there again."""
    try:
        whole = json.loads(data)
    except ValueError:
        return data
    for _ in range(int(random.integers(1, 4))):
        at = whole
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = keys[int(random.integers(0, len(keys)))]
            if isinstance(at[key], dict | list) and random.random() < 0.8:
                at = at[key]
                continue
            what = random.random()
            if what < 0.1:
                del at[key]
            elif what < 0.2 and isinstance(at, list):
                at.insert(key, at[int(random.integers(0, len(at)))])
            else:
                at[key] = odd(random)
            break
    return json.dumps(whole).encode()


def odd(random: Random) -> object:
    """A value of JSON's."""
    deep: object = []
    for _ in range(int(random.integers(0, 300))):
        deep = [deep]
    many = [number(random)] * int(random.integers(0, 2000))
    choice = [number(random), -number(random), 10 ** int(random.integers(0, 400)), random.random(), float("nan"), 1e308,
              float("inf"), None, True, "", "1", "ff" * 40, "\udcff\x1b[31m", [], {}, deep, many]  # fmt: skip
    return choice[int(random.integers(0, len(choice)))]


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


def damaged(samples: Sequence[Sample], seed: int) -> tuple[Sample, Files]:
    """What ``seed`` stands for: one of the samples, and what its files are to be."""
    random = np.random.default_rng(seed)
    sample = samples[int(random.integers(0, len(samples)))]
    return sample, mutate(sample.files, random)


def once(samples: Sequence[Sample], seed: int) -> bool:
    """Decode what ``seed`` stands for; see ``check``."""
    with tempfile.TemporaryDirectory() as folder:
        return check(*damaged(samples, seed), Path(folder))


def _work(samples: Sequence[Sample], first: int, until: float, only: bool, tell: Connection) -> None:
    """Do one seed after the other in a process with limits, and tell of each."""
    used = next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmData"))  # fmt: skip
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    seed = first
    while only or time.monotonic() < until:
        tell.send((seed, None, ""))
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # SIGPROF ends the process, wherever it is
        began = time.process_time()
        try:
            tables, failure = once(samples, seed), ""
        except Exception:
            tables, failure = False, traceback.format_exc(limit=-6)
        signal.setitimer(signal.ITIMER_PROF, 0)
        tell.send((seed, (tables, time.process_time() - began), failure))
        if only:
            break
        seed += 1


@dataclass
class Result:
    """How it went."""

    done: int = 0
    tables: int = 0
    """How many decodings gave tables."""
    longest_s: float = 0.0
    longest: int = 0
    failures: dict[int, str] = field(default_factory=dict)


def fuzz(samples: Sequence[Sample], seconds: float, first: int = 0, only: bool = False) -> Result:
    """Try seeds from ``first`` on for so long, or one only; processes that do not live through one are replaced."""
    result, until, seed = Result(), time.monotonic() + seconds, first
    context = multiprocessing.get_context("fork")
    while not result.done if only else time.monotonic() < until:
        hear, tell = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(samples, seed, until, only, tell))
        worker.start()
        tell.close()
        try:
            while hear.poll(WALL_S):
                seed, how, failure = hear.recv()
                if how is None:
                    continue
                result.done, result.tables = result.done + 1, result.tables + how[0]
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


def main() -> int:
    """Say how it went; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        samples = record(Path(work))
    for sample in samples:
        with tempfile.TemporaryDirectory() as work:
            assert check(sample, sample.files, Path(work)), "the probe's own files are refused"
        print({name: len(data) for name, data in sorted(sample.files.items())}, flush=True)
    if options.keep:
        options.keep.mkdir(parents=True)
        for name, data in damaged(samples, options.seed)[1].items():
            (options.keep / name).write_bytes(data)
    result = fuzz(samples, options.seconds, options.seed, options.only)
    print(f"{result.done} decoded from seed {options.seed} on, {result.tables} gave tables; "
          f"the longest, seed {result.longest}, took {result.longest_s:.2f} s of CPU")  # fmt: skip
    for seed, failure in result.failures.items():
        print(f"seed {seed}: {failure}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
