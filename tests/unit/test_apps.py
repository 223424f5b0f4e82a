"""The apps: what app.toml promises is what the app says of itself and what it really calls."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from images import Program, apps
from images.apps import builder
from probes import maps
from profiler import errors

_ROOT = Path(apps.__file__).resolve().parents[2]
_NEEDED = ("gcc", "objcopy", "nm")

needs_compiler = pytest.mark.skipif(any(shutil.which(tool) is None for tool in _NEEDED), reason="needs gcc, binutils")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


@pytest.fixture(scope="module")
def tour() -> apps.App:
    return apps.load("tour")


@pytest.fixture(scope="module")
def built(tour: apps.App, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return apps.build(tour, "linux-static", tmp_path_factory.mktemp("cache"))


def _run(elf: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([elf, *arguments], capture_output=True, text=True, timeout=60, check=False)


def _phase_lines(text: str) -> dict[str, list[str]]:
    lines = [line.split(" ", 7) for line in text.splitlines() if line.startswith("weaklink: phase ")]
    return {words[3]: words[2:] for words in lines}


# ---- app.toml


@pytest.mark.parametrize(("name", "phases"), [("tour", 22), ("sqlite", 11), ("crowd", 24)])
def test_every_phase_has_a_prime_number_of_ops_and_a_number_of_its_own(name: str, phases: int) -> None:
    app = apps.load(name)
    assert len(app.phases) == phases
    assert all(_is_prime(phase.ops) for phase in app.phases)
    assert len({phase.number for phase in app.phases}) == len({phase.name for phase in app.phases}) == phases
    assert all(0 <= phase.number < 200 for phase in app.phases)


@pytest.mark.parametrize("name", apps.names())
def test_exact_and_varying_calls_do_not_overlap(name: str) -> None:
    known = set(maps.operations().of_function().values())
    for phase in apps.load(name).phases:
        assert not phase.varies & phase.calls.keys(), phase.name
        assert all(count > 0 for count in phase.calls.values()), phase.name
        assert phase.calls.keys() <= known


def test_what_an_app_fetches_is_the_same_app_without_fetching_it(tmp_path: Path) -> None:
    sqlite = apps.load("sqlite")
    assert sqlite.source is not None
    digest = builder.Job.of(sqlite, "linux-static").source_digest()
    file, *others = sqlite.source.files
    other = dataclasses.replace(sqlite.source, files=(dataclasses.replace(file, sha256="0" * 64), *others))
    changed = dataclasses.replace(sqlite, source=other)
    assert builder.Job.of(changed, "linux-static").source_digest() != digest
    assert builder.Job.of(sqlite, "linux-pie").source_digest() == digest


def test_an_unknown_app_is_a_usage_error_that_names_the_known_ones() -> None:
    with pytest.raises(errors.UsageError) as caught:
        apps.load("../tour")
    assert "tour" in caught.value.hint


@pytest.mark.parametrize("text", ["name = 'x'", "name = ", "name='x'\ndescription='d'\nsources=3\ncflags=[]"])
def test_a_bad_app_toml_is_the_apps_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.toml").write_text(text)
    with pytest.raises(errors.AppBuild, match=r"app\.toml"):
        apps.read(tmp_path)


# ---- building


@needs_compiler
def test_the_digest_depends_on_nothing_but_sources_and_toolchain(
    tour: apps.App, built: Program, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / "tour"
    shutil.copytree(tour.folder, copy)
    (tmp_path / "a" / "longer").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    other = apps.build(apps.read(copy), "linux-static", tmp_path / "linked" / "longer" / "cache")
    assert other.elf != built.elf
    assert other.sha256 == built.sha256
    for folder in (built.elf.parent.parent, tour.folder, tmp_path):
        assert os.fsencode(folder) not in built.elf.read_bytes() + other.elf.read_bytes()


@needs_compiler
def test_it_is_compiled_once_in_a_private_folder_and_again_when_damaged(tour: apps.App, tmp_path: Path) -> None:
    first = apps.build(tour, "linux-static", tmp_path)
    stamp = first.elf.stat().st_mtime_ns
    assert apps.build(tour, "linux-static", tmp_path) == first
    assert first.elf.stat().st_mtime_ns == stamp
    assert stat.S_IMODE(first.elf.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in (tmp_path / "apps").iterdir()] == [first.elf.parent.name]  # no scratch left
    first.elf.write_bytes(first.elf.read_bytes()[:-1])
    assert apps.build(tour, "linux-static", tmp_path) == first
    assert first.elf.stat().st_mtime_ns != stamp


@needs_compiler
def test_other_flags_are_another_build(tour: apps.App, built: Program, tmp_path: Path) -> None:
    changed = apps.build(dataclasses.replace(tour, cflags=(*tour.cflags, "-O1")), "linux-static", tmp_path)
    assert changed.elf.parent.name != built.elf.parent.name
    assert changed.sha256 != built.sha256


@needs_compiler
def test_functions_are_ours_and_only_ours(built: Program) -> None:
    assert all(name == "main" or name.startswith(("tour_", "app_")) for name in built.own)
    assert {"main", "app_window", "tour_null_call_run"} <= built.own
    listing = subprocess.run(["nm", built.elf], capture_output=True, text=True, check=True).stdout
    in_elf = {line.split()[2] for line in listing.splitlines() if line.split()[-2] in "tT"}
    assert built.own <= in_elf
    assert {name for name in in_elf if name.startswith(("tour_", "app_"))} <= built.own


@needs_compiler
def test_every_marker_is_there_exactly_once(built: Program) -> None:
    code = built.elf.read_bytes()
    for number in (0x01, 0x02, 0x03, *range(0x10, 0x10 + 200)):
        assert code.count(bytes([0x0F, 0x1F, 0x80, number, 0x00, 0xED, 0x5E])) == 1, hex(number)
    assert code.count(bytes([0x00, 0xED, 0x5E])) == 203  # and no other


@needs_compiler
@pytest.mark.parametrize("target", ["linux-static", "linux-pie"])
def test_markers_and_their_time_stamps_lie_on_one_page(tour: apps.App, tmp_path: Path, target: str) -> None:
    """A guest may load code when it is first executed; the fault must not fall between a marker and its RDTSC."""
    elf = apps.build(tour, target, tmp_path).elf
    listing = subprocess.run(["nm", "-S", elf], capture_output=True, text=True, check=True).stdout
    ((start, size),) = [words[:2] for words in map(str.split, listing.splitlines()) if words[-1] == "app_window"]
    assert int(start, 16) % 4096 == 0
    assert int(size, 16) <= 4096


@needs_compiler
def test_one_app_for_two_targets_is_one_app(tour: apps.App, built: Program, tmp_path: Path) -> None:
    pie = apps.build(tour, "linux-pie", tmp_path)
    assert (built.target, pie.target) == ("linux-static", "linux-pie")
    assert pie.source_sha256 == built.source_sha256
    assert pie.sha256 != built.sha256
    assert pie.own == built.own
    assert not built.libraries
    assert pie.interpreter in pie.libraries
    phases = _phase_lines(_run(pie.elf, "--phases", "null-call").stdout)
    assert phases["null-call"][2] == "ok"
    stubs = subprocess.run(["objdump", "-d", "-j", ".plt", pie.elf], capture_output=True, text=True, check=False).stdout
    assert "getppid" not in stubs  # calls go to libc, not through a stub that is neither's


@needs_compiler
def test_another_source_is_another_app(tour: apps.App, built: Program, tmp_path: Path) -> None:
    copy = tmp_path / "tour"
    shutil.copytree(tour.folder, copy)
    (copy / "no_epoll.c").write_text("/* not even compiled for this target */\n")
    assert apps.build(apps.read(copy), "linux-static", tmp_path).source_sha256 != built.source_sha256


def test_an_unknown_target_is_a_usage_error_that_names_the_known_ones(tour: apps.App, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError) as caught:
        apps.build(tour, "plan9-static", tmp_path)
    assert "linux-static" in caught.value.hint


@needs_compiler
def test_a_compile_error_names_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    phase = "[[phase]]\nnumber=1\nname='a'\nquestion='?'\nop='o'\nops=1\n"
    (folder / "app.toml").write_text(f"name='broken'\ndescription='d'\nsources=['a.c']\ncflags=[]\n{phase}")
    (folder / "a.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(errors.AppBuild, match=r"a\.c:1.*\n?.*nothing"):
        apps.build(apps.read(folder), "linux-static", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "apps").iterdir())


def test_without_a_compiler_the_hint_is_the_apt_line(
    tour: apps.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ToolMissing) as caught:
        apps.build(tour, "linux-static", tmp_path)
    assert caught.value.hint == "install it as root: apt-get install gcc libc6-dev"


@needs_compiler
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, errors.DiskFull), (errno.EACCES, PermissionError)])
def test_only_a_full_disk_is_called_one(
    tour: apps.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def fail(**where: object) -> str:
        raise OSError(number, "no")

    monkeypatch.setattr(builder.tempfile, "mkdtemp", fail)
    with pytest.raises(kind):
        apps.build(tour, "linux-static", tmp_path)


# ---- running it as an ordinary program


@needs_compiler
def test_list_agrees_with_app_toml(tour: apps.App, built: Program) -> None:
    rows = [line.split("\t") for line in _run(built.elf, "--list").stdout.splitlines()]
    assert rows == [[str(p.number), p.name, str(p.ops), p.op, p.question] for p in tour.phases]


@needs_compiler
def test_it_says_what_the_console_protocol_asks_for(built: Program) -> None:
    done = _run(built.elf, "--spin", "7", "--phases", "null-call,file-tree")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert all(line.startswith("weaklink: ") for line in lines)
    keys = [line.split()[2] for line in lines if line.startswith("weaklink: guest ")]
    assert keys == ["version", "vendor", "clocksource", "pti", "mitigations", "cmdline"]
    assert lines[len(keys)] == "weaklink: ready"
    assert lines[-1] == "weaklink: done"
    phases = _phase_lines(done.stdout)
    assert list(phases) == ["null-call", "file-tree"]
    number, name, status, ops, tsc = phases["null-call"]
    assert (number, name, status, ops) == ("1", "null-call", "ok", "10007")
    assert int(tsc) > 10007


@needs_compiler
@pytest.mark.parametrize(
    "arguments",
    [
        ["--phases", "null-call,nothing"],
        ["--phases", ""],
        ["--spin", "-1"],
        ["--spin", "1x"],
        ["--settle", "-1"],
        ["--settle"],
        ["--what"],
    ],
)
def test_bad_arguments_are_said_and_refused(built: Program, arguments: list[str]) -> None:
    done = _run(built.elf, *arguments)
    assert done.returncode == 2
    assert done.stdout.startswith("weaklink: error ")
    assert "ready" not in done.stdout


# ---- with libc's functions replaced: what is really called, and what happens when a call does not work

_COUNTER = """
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
extern volatile unsigned long counted_calls[];
extern const char *const counted_names[];
extern const unsigned long counted_number;
__attribute__((constructor)) static void counted_share(void) /* with forked children too */
{
	mmap((void *)counted_calls, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}
void counted_window(int number, int open)
{
	if (open)
		usleep(50000); /* app_settle() is for a guest: a busy host brings threads later to where they wait */
	for (unsigned long i = 0; i < counted_number; i++) {
		if (!open && counted_calls[i])
			fprintf(stderr, "%d %s %lu\\n", number, counted_names[i], counted_calls[i]);
		counted_calls[i] = 0;
	}
}
"""


def _relocatable(app: apps.App, folder: Path, extra: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """Compile the app into one object; return it and the libc functions it wants."""
    job = builder.Job.of(app, "linux-static")
    job.lay_out(folder, folder / "cache")
    objects = []
    for source in job.sources():
        objects.append(folder / f"{source.replace('/', '-')}.o")
        command = ["gcc", *job.flags(), *extra, *builder.INCLUDE, "-c", source, "-o", str(objects[-1])]
        subprocess.run(command, cwd=folder, check=True)
    whole = folder / "whole.o"
    subprocess.run(["gcc", "-r", "-nostdlib", *objects, "-o", whole], check=True)
    wanted = subprocess.run(["nm", "-u", whole], capture_output=True, text=True, check=True).stdout.split()[1::2]
    return whole, [name for name in wanted if name not in ("counted_window", "stdout", "_GLOBAL_OFFSET_TABLE_")]


@pytest.fixture(scope="module")
def plain(tour: apps.App, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _relocatable(tour, tmp_path_factory.mktemp("plain"))[0]


@needs_compiler
def test_each_phase_calls_exactly_what_app_toml_says(tour: apps.App, tmp_path: Path) -> None:
    """Every reference of the app to libc goes through a stub that counts, in all threads and child processes."""
    (tmp_path / "hook.h").write_text(
        "void counted_window(int, int);\n#define APP_WINDOW_HOOK(number, open) counted_window(number, open)\n"
    )
    whole, wanted = _relocatable(tour, tmp_path, ["-include", str(tmp_path / "hook.h")])
    subprocess.run(["objcopy", *(f"--redefine-sym={name}=counted_{name}" for name in wanted), whole], check=True)
    stubs = [
        f".globl counted_{name}\ncounted_{name}: lock incq counted_calls+{8 * index}(%rip)\njmp {name}"
        for index, name in enumerate(wanted)
    ]
    names = [f'.section .rodata\nname_{index}: .asciz "{name}"' for index, name in enumerate(wanted)]
    table = "\n".join(f".quad name_{index}" for index in range(len(wanted)))
    (tmp_path / "stubs.s").write_text(
        ".text\n" + "\n".join([*stubs, *names]) + f"\n.data\n.globl counted_names\ncounted_names:\n{table}\n"
        f".globl counted_number\ncounted_number: .quad {len(wanted)}\n"
        ".bss\n.balign 4096\n.globl counted_calls\ncounted_calls: .skip 4096\n.section .note.GNU-stack\n"
    )
    (tmp_path / "counter.c").write_text(_COUNTER)
    elf = tmp_path / "counted"
    parts = [whole, tmp_path / "stubs.s", tmp_path / "counter.c"]
    subprocess.run(["gcc", "-static", "-pthread", *parts, "-o", elf], check=True)

    done = _run(elf)
    statuses = {name: words[2] for name, words in _phase_lines(done.stdout).items()}
    assert statuses == {phase.name: "ok" for phase in tour.phases}, done.stdout
    seen: dict[int, dict[str, int]] = {phase.number: {} for phase in tour.phases}
    operation = maps.operations().of_function()
    for line in done.stderr.splitlines():
        number, name, count = line.split()
        here, name = seen[int(number)], operation.get(name, name)
        here[name] = here.get(name, 0) + int(count)
    for phase in tour.phases:
        exact = {name: count for name, count in seen[phase.number].items() if name not in phase.varies}
        assert exact == dict(phase.calls), phase.name


def _with_fakes(plain: Path, folder: Path, code: str, *names: str) -> Path:
    """Link the app with its references to ``names`` going to ``fake_NAME`` in ``code``."""
    whole = folder / "faked.o"
    subprocess.run(["objcopy", *(f"--redefine-sym={n}=fake_{n}" for n in names), plain, whole], check=True)
    (folder / "fake.c").write_text("#define _GNU_SOURCE\n#include <errno.h>\n#include <unistd.h>\n" + code)
    subprocess.run(["gcc", "-static", "-pthread", whole, folder / "fake.c", "-o", folder / "faked"], check=True)
    return folder / "faked"


@needs_compiler
def test_what_a_guest_cannot_do_is_unsupported_with_the_reason_and_no_window(plain: Path, tmp_path: Path) -> None:
    code = """
    int fake_fork(void) { return -1; } /* without a reason */
    int fake_epoll_create1(int flags) { (void)flags; errno = EPERM; return -1; }
    """
    done = _run(_with_fakes(plain, tmp_path, code, "fork", "epoll_create1"), "--phases", "fork-wait,epoll-100,poll-100")
    phases = _phase_lines(done.stdout)
    assert done.returncode == 0
    assert phases["fork-wait"][2:] == ["unsupported", "0", "0", "fork: Function not implemented"]
    assert phases["epoll-100"][2:] == ["unsupported", "0", "0", "epoll_create1: Operation not permitted"]
    assert phases["poll-100"][2] == "ok"


@needs_compiler
@pytest.mark.parametrize(
    ("function", "phase", "code"),
    [
        ("getppid", "null-call", "int fake_getppid(void) { static int n; return n++; }"),
        ("read", "file-read", "long fake_read(int f, char *b, long n) { long r = read(f, b, n); *b ^= 1; return r; }"),
        ("read", "pipe-pingpong", "long fake_read(int f, char *b, long n) { (void)f; (void)b; (void)n; return 0; }"),
        ("send", "tcp-pingpong", "long fake_send(void) { errno = ENOBUFS; return -1; }"),
        ("pthread_create", "mutex-contended", "int fake_pthread_create(void) { return EAGAIN; }"),
    ],
)  # fmt: skip
def test_a_wrong_result_is_failed_with_a_reason_and_no_hang(
    plain: Path, tmp_path: Path, function: str, phase: str, code: str
) -> None:
    done = _run(_with_fakes(plain, tmp_path, code, function), "--phases", phase)
    words = _phase_lines(done.stdout)[phase]
    assert words[2:4] == ["failed", "0"]
    assert words[5]
    assert done.stdout.splitlines()[-1] == "weaklink: done"


# ---- docs


def _documented(app: apps.App) -> list[list[str]]:
    text = (_ROOT / "docs" / f"{app.name}.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and line[:4].strip("| ").isdigit()]
    return [[cell.strip() for cell in line.split("|")[1:7]] for line in lines]


@pytest.mark.parametrize("name", apps.names())
def test_the_documented_table_is_that_of_app_toml(name: str) -> None:
    app = apps.load(name)
    rows = _documented(app)
    assert [row[:5] for row in rows] == [[str(p.number), p.name, p.question, p.op, str(p.ops)] for p in app.phases]


def test_the_tours_calls_are_documented(tour: apps.App) -> None:
    for row, phase in zip(_documented(tour), tour.phases, strict=True):
        shown = {name for name in phase.calls if not name.startswith("sem_")}
        assert all(f"`{name}`" in row[5] for name in shown), phase.name
