"""Costly instructions on real kernels: known numbers of them in user code, and what a call of each kernel takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import images
from analysis.verify import verify
from images import GuestSpec, Program, apps, store
from images.apps import freebsd
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main
from profiler.machine import qemu

pytestmark = [
    pytest.mark.skipif(shutil.which(qemu.PROGRAM) is None, reason=f"no {qemu.PROGRAM} on this machine"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine"),
    pytest.mark.timeout(900),  # the first run fetches a kernel
]

SOURCE = Path(__file__).with_name("costly.c")
N, PAGES = 1003, 211  # as in costly.c
FUNCTIONS = ("pauses", "locks", "exchanges", "neither", "faulting", "faulting_last")
IN_USER_CODE = {
    "pauses": {"pause": N},
    "locks": {"lock": 2 * N},
    "exchanges": {"lock": N},
    "faulting": {"lock": 2 * PAGES, "pause": 2 * PAGES},
    "faulting_last": {"xsave": PAGES},
}
OTHERS = {
    "osv": "no OSv kernel: weaklink guests add osv --kind osv --kernel loader.elf",
    "freebsd": "no FreeBSD kernel: weaklink guests add freebsd --kind freebsd --kernel FILE --base FILE",
}
GUESTS = ("linux", "linux+pti=on", "freebsd", "freebsd+vm.pmap.pti=1", "osv", "osv:static")


def guest(spec: str) -> str:
    """The same with the name that this machine's kernel of that kind has; skips where there is none."""
    kind = GuestSpec.parse(spec).name
    if kind not in OTHERS:
        return spec
    ready = [one.name for one in images.list_guests() if (one.kind, one.state) == (kind, "ready")]
    if not ready:
        pytest.skip(OTHERS[kind])
    return spec.replace(kind, ready[0], 1)


def build(folder: Path, root: Path, spec: str) -> Program:
    """The program for what a guest runs."""
    kind, runtime = GuestSpec.parse(spec).name, GuestSpec.parse(spec).runtime
    elf, objects = folder / "costly", folder / "costly.o"
    compiler = ["gcc", "-O1", f"-I{root / 'probes'}"]
    if kind == "freebsd":
        system = images.sysroot(images.check(GuestSpec.parse(guest(spec))), progress=print)
        assert system is not None
        flags = [*compiler, "-w", *freebsd.flags(system)]
        subprocess.run([*flags, "-c", SOURCE, "-o", objects], check=True, timeout=60)
        subprocess.run([*flags, *freebsd.link(system, [str(objects)]), "-o", elf], check=True, timeout=60)
    else:
        pie = kind == "osv" and runtime != "static"
        subprocess.run(
            [*compiler, *(["-fPIE", "-pie"] if pie else ["-static"]), SOURCE, "-o", elf], check=True, timeout=60
        )
    digest = store.sha256_file(elf)
    return Program(elf, digest, "", digest, frozenset({"main", *FUNCTIONS}))


def run(out: Path, spec: str, *more: str) -> Recording:
    command = ["run", "tour", "--guests", spec, "--seeds", "1", "--phases", "null-call", "--out", str(out), *more]
    assert main(command) == 0
    (place,) = recording.find(out)
    return recording.read(place)


def counted(seen: Recording) -> pd.DataFrame:
    frame = seen.frame("costly")
    return frame.assign(**{name: frame[name].astype(str) for name in frame if frame[name].dtype == "category"})


def by_function(costly: pd.DataFrame) -> dict[str, dict[str, int]]:
    sums = costly.groupby(["function", "instruction"])["count"].sum()
    return {name: sums[name].to_dict() for name in costly["function"].unique()}


@pytest.mark.parametrize("mode", ["exact", "block"])
@pytest.mark.parametrize("spec", ["linux", "freebsd", "osv", "osv:static"])
def test_what_user_code_executes_is_counted_to_the_last(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, mode: str
) -> None:
    program = build(tmp_path, root, spec)
    monkeypatch.setattr(apps, "build", lambda *asked, **more: program)
    seen = run(tmp_path / "out", guest(spec), "--mode", mode)
    costly = counted(seen)
    user = costly[(costly["space"] == "user") & costly["function"].isin(FUNCTIONS)]
    want = dict(IN_USER_CODE)
    if mode == "block":  # where they fault they are counted twice
        user = user[~user["function"].isin(["faulting", "faulting_last"])]
        want = {name: counts for name, counts in want.items() if not name.startswith("faulting")}
    assert by_function(user) == want
    if mode == "exact":
        about_phases = ("calls as declared", "ops as declared")
        assert not [check for check in verify(seen) if not check.ok and check.name not in about_phases]


@pytest.mark.parametrize("spec", GUESTS)
def test_a_null_call_goes_in_and_comes_back(tmp_path: Path, spec: str) -> None:
    seen = run(tmp_path, guest(spec))
    ops = int(seen.phases["ops"].iloc[0])
    costly = counted(seen)
    of_calls = costly[costly["operation"] == "getppid"].groupby("instruction")["count"].sum().to_dict()
    if spec == "osv":  # the call is a call
        assert of_calls == {}
    elif spec == "osv:static":  # it saves what a thread has of extended state around each call, and leaves by a jump
        assert of_calls == {"syscall": ops, "xsave": 2 * ops}
    else:
        isolated = {"cr3": 2 * ops} if "pti" in spec else {}
        assert of_calls == {"syscall": ops, "swapgs": 2 * ops, "sysret": ops, **isolated}


@pytest.mark.parametrize(("spec", "calls"), [("osv", 1), ("osv:static", 1), ("linux", 0)])
def test_reading_a_clock_that_is_a_device(tmp_path: Path, spec: str, calls: int) -> None:
    seen = run(tmp_path, guest(spec), "--phases", "clock-read")
    ops = int(seen.phases["ops"].iloc[0])
    costly = counted(seen)
    mmio = costly[(costly["instruction"] == "mmio") & (costly["operation"] == "clock_gettime")]
    assert mmio["count"].sum() == calls * ops
    assert set(mmio["layer"]) <= {"emulation"}
