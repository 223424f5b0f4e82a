"""A program of the user's before it is run: what it is, what it needs, why it is refused, how its end is told."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from images import Program, launcher, programs
from images.guests import load
from images.libraries import of_libc
from probes.exec.said import Phase
from probes.exec.window import Window
from profiler.cli.main import main
from profiler.errors import AppBuild, UsageError
from profiler.machine.boot import Unaware, _Watch
from profiler.machine.console import SIGNAL, Conversation
from profiler.machine.verdict import Evidence, judge, program_failed
from profiler.subject import Own

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")


def compile_c(text: str, out: Path, *flags: str) -> Path:
    source = out.with_suffix(".c")
    source.write_text(text)
    subprocess.run(["gcc", source, *flags, "-o", out], check=True, timeout=60)
    return out


# -- what it is --------------------------------------------------------------------------------------------------------


def header(bits: int = 2, system: int = 0, kind: int = 2, machine: int = 62, entry: int = 0x400000) -> bytes:
    ident = b"\x7fELF" + bytes([bits, 1, 1, system]) + bytes(8)
    return ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, 0, 0, 0, 64, 56, 0, 64, 0, 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"#!/bin/sh -e\necho\n", "is a script for /bin/sh -e"),
        (b"hello\n", "is a text file"),
        (b"", "is an empty file"),
        (b"PK\x03\x04" + bytes(200), "is a zip archive"),
        (header(machine=183), "64-bit ARM"),
        (header(bits=1, machine=3), "32-bit"),
        (header(kind=1), "object file"),
        (header(system=9), "a program for FreeBSD"),
        (header(kind=3, entry=0), "is a library, not a program"),
        (header()[:30], "not a program"),
    ],
)
def test_what_is_no_program_is_said_to_be_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(UsageError) as failure:
        programs.program(path, tmp_path / "cache")
    assert says in str(failure.value)
    assert failure.value.hint


def test_what_is_not_there_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        programs.program(tmp_path / "nothing", tmp_path / "cache")
    with pytest.raises(UsageError, match="Is a directory"):
        programs.program(tmp_path, tmp_path / "cache")


@needs_gcc
def test_a_dynamic_program_comes_with_its_libraries(tmp_path: Path) -> None:
    path = compile_c("int main(void) { return 0; }", tmp_path / "p")
    found = programs.program(path, tmp_path / "cache")
    assert (found.target, found.init, found.own, found.preload) == ("linux-pie", False, None, "")
    assert found.interpreter in found.libraries
    assert any(name.endswith("/libc.so.6") for name in found.libraries)
    assert found.source_sha256 == found.sha256


@needs_gcc
def test_a_library_that_is_not_here_is_named(tmp_path: Path) -> None:
    library = compile_c("int helper(void) { return 7; }", tmp_path / "libhelper.so", "-shared", "-fPIC")
    path = compile_c("int helper(void); int main(void) { return helper(); }", tmp_path / "p", str(library))
    library.rename(tmp_path / "gone.so")
    with pytest.raises(UsageError, match=r"needs .*libhelper\.so"):
        programs.program(path, tmp_path / "cache")


@needs_gcc
def test_of_a_static_program_libcs_functions_are_not_its_own(tmp_path: Path) -> None:
    text = '#include <stdio.h>\nint mine(void) { return puts(""); }\nint main(void) { return mine(); }'
    found = programs.program(compile_c(text, tmp_path / "p", "-static", "-O0"), tmp_path / "cache")
    assert (found.target, dict(found.libraries)) == ("linux-static", {})
    assert found.own is not None
    assert {"mine", "main"} <= found.own
    assert found.own.isdisjoint({"puts", "malloc", "write", "__libc_start_main", "memcpy"})


@needs_gcc
def test_files_that_are_named_come_with_it(tmp_path: Path) -> None:
    path = compile_c("int main(void) { return 0; }", tmp_path / "p")
    (tmp_path / "conf").write_text("a")
    cache = tmp_path / "cache"
    plain = programs.program(path, cache)
    found = programs.program(path, cache, files={"/etc/p.conf": tmp_path / "conf"})
    assert found.files == {"/etc/p.conf": tmp_path / "conf"}
    (tmp_path / "conf").write_text("b")
    other = programs.program(path, cache, files={"/etc/p.conf": tmp_path / "conf"})
    assert len({one.source_sha256 for one in (plain, found, other)}) == 3, "with another file it is another app"
    for place in ("etc/p.conf", "/", plain.interpreter):
        with pytest.raises(UsageError, match="no place for a file"):
            programs.program(path, cache, files={place: tmp_path / "conf"})
    with pytest.raises(UsageError, match="is not a file"):
        programs.program(path, cache, files={"/x": tmp_path})


def test_the_c_librarys_parts_are_told_from_other_libraries() -> None:
    theirs = ["libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "libnss_files.so.2", "libdl.so.2"]
    assert all(map(of_libc, theirs))
    assert not any(map(of_libc, ["libcrypto.so.3", "libjemalloc.so.2", "libcap.so.2", "libmount.so.1", "app"]))


# -- its client --------------------------------------------------------------------------------------------------------

CLIENT = '#include "marker.h"\n#include <unistd.h>\nint main(void) { weaklink_arm(); return 5; }\n'


@needs_gcc
def test_a_client_is_loaded_into_the_program(tmp_path: Path) -> None:
    path = compile_c("#include <unistd.h>\nint main(void) { pause(); return 0; }", tmp_path / "p")
    client = tmp_path / "client.c"
    client.write_text(CLIENT)
    found = programs.program(path, tmp_path / "cache", with_client=client)
    assert found.for_loader()["LD_PRELOAD"] == found.preload
    shared = found.libraries[found.preload]
    done = subprocess.run([path], env={"LD_PRELOAD": str(shared)}, timeout=20, check=False)
    assert done.returncode == 5, "the process ends with what the client's main returned"
    assert found.source_sha256 != programs.program(path, tmp_path / "cache").source_sha256, "it is another app"
    assert programs.program(path, tmp_path / "cache", with_client=shared.rename(tmp_path / "c.so")).preload


@needs_gcc
def test_a_client_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = compile_c("int main(void) { return 0; }", tmp_path / "p")
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void) { return nonsense; }")
    with pytest.raises(AppBuild, match="nonsense"):
        programs.program(path, tmp_path / "cache", with_client=broken)
    with pytest.raises(UsageError, match="is no client"):
        programs.program(path, tmp_path / "cache", with_client=path)
    static = compile_c("int main(void) { return 0; }", tmp_path / "s", "-static")
    with pytest.raises(UsageError, match="is static"):
        programs.program(static, tmp_path / "cache", with_client=broken)


# -- how it is started -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["/app", *["x"] * 1000], ["/app", "x" * (1 << 20)]], ids=["many", "long"])
def test_what_a_launcher_would_not_read_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="more than a program is given"):
        launcher.text(words, {})


def test_a_launcher_is_told_words_as_they_are() -> None:
    assert launcher.text(["/app", "", "a b", "x=y"], {"A": "1"}) == b"env=A=1\0arg=/app\0arg=\0arg=a b\0arg=x=y\0"


@needs_gcc
def test_the_launcher_lies_where_no_program_does(tmp_path: Path) -> None:
    from elftools.elf.elffile import ELFFile

    with launcher.build(tmp_path).open("rb") as file:
        segments = [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert all(0x70000000 <= segment["p_vaddr"] < 0x71000000 for segment in segments)


def test_a_runtime_says_what_it_cannot_run() -> None:
    def of(target: str) -> Program:
        return Program(Path("p"), "", target, "")

    linux, osv = load("linux"), load("osv")
    linux.check_program(linux.runtime(""), of("linux-pie"))
    linux.check_program(linux.runtime(""), of("linux-static"))
    osv.check_program(osv.runtime("static"), of("linux-static"))
    client = replace(of("linux-pie"), preload="/lib/c.so")
    osv.check_program(osv.runtime("glibc"), client)
    for guest, runtime, program, says, way_out in [
        (osv, "glibc", of("linux-static"), "osv:glibc cannot run a static program for Linux", "use osv:static"),
        (osv, "static", of("linux-pie"), "osv:static cannot run a dynamic", "use osv:libc or osv:glibc"),
        (osv, "libc", client, "osv:libc cannot run a dynamic program for Linux with a client", "use osv:glibc"),
        (linux, "static", of("freebsd-static"), "a static program for FreeBSD", "no runtime of linux can"),
    ]:
        with pytest.raises(UsageError, match=says) as failure:
            guest.check_program(guest.runtime(runtime), program)
        assert failure.value.hint == way_out


# -- how it ended ------------------------------------------------------------------------------------------------------


def heard(*lines: str) -> Conversation:
    conversation = Conversation()
    for line in lines:
        conversation.hear(f"weaklink: {line}")
    return conversation


def test_a_launcher_says_how_the_program_ended() -> None:
    assert heard("ready", "exit 3", "done").status == 3
    assert heard("signal 11").status == SIGNAL + 11
    assert heard("exit 0", "exit 4").status == 0, "the first to end is the one that was started"
    assert heard("ready").status is None
    assert heard("exit none", "exit 99999999999").malformed != []


@pytest.mark.parametrize(
    ("status", "says"),
    [(3, "ended with status 3"), (SIGNAL + 11, "killed by signal 11 (SIGSEGV)"), (SIGNAL + 99, "signal 99 (unknown)"),
     (-1, "ended with status -1")],
)  # fmt: skip
def test_a_program_that_did_not_end_well_failed(status: int, says: str) -> None:
    failure = program_failed(status, b"weaklink: ready\nno config\x1b[31m\r\nweaklink: done\n")
    assert failure is not None
    assert says in str(failure)
    assert str(failure).endswith("| no config[31m"), "its own last lines, without what a terminal would obey"
    assert failure.exit_code == 23


@pytest.mark.parametrize("status", [0, None])
def test_a_program_that_ended_well_did_not_fail(status: int | None) -> None:
    assert program_failed(status, b"") is None


def test_a_kernel_may_say_it_in_its_own_words() -> None:
    osv = load("osv")
    ends = f"{osv.program['exit']}|{osv.runtime('libc').returns}"
    watch = object.__new__(_Watch)
    watch._unaware = Unaware(osv.program["ready"], ends, lambda: False, with_status=True)
    said = {
        "Cmdline: /app": "weaklink: ready",
        "program exited with status 127": "weaklink: exit 127",
        "program /app returned -1": "weaklink: exit -1",
        "Powering off.": "weaklink: exit 0",
        "a program exited with status 1": "a program exited with status 1",
    }
    assert {line: watch._translated(line) for line in said} == said


def test_a_machine_that_switches_itself_off_after_its_program_is_fine() -> None:
    assert judge(Evidence(["x"], heard("ready", "exit 0"), exit_code=0)) is None
    assert judge(Evidence(["x"], heard("ready"), exit_code=0)) is not None
    assert judge(Evidence(["x"], heard("ready", "exit 0"), exit_code=1)) is not None


# -- what a recording says of it ---------------------------------------------------------------------------------------


def own(window: Window | None, **more: object) -> Own:
    return Own(Path("/x/my server@2"), ["-v"], window, **more)  # type: ignore[arg-type]


def test_a_window_is_one_phase() -> None:
    subject = own(Window(), ops=503, op="round trip")
    assert subject.name == "my_server_2"
    assert subject.said([]) == [Phase(1, "run", "ok", 503, None, "")]
    declared = subject.phases(None)
    assert [(phase["number"], phase["op"], phase["ops"]) for phase in declared] == [(1, "round trip", 503)]


def test_a_program_with_markers_names_its_phases() -> None:
    said = [Phase(4, "get", "ok", 1009, 5, ""), Phase(5, "set", "failed", 3, 5, "why")]
    subject = own(None)
    assert subject.said(said) == said
    assert [(phase["number"], phase["name"], phase["ops"]) for phase in subject.phases(said)] == [
        (4, "get", 1009), (5, "set", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [{"ops": 0}, {"ops": -3}, {"op": ""}, {"op": "Round Trip"}, {"op": "a\nb"}])
def test_ops_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        own(Window(), **wrong)


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tour", "--guests", "linux", "--out", "O", "--", "x"], "tour takes no arguments"),
        (["./p", "--guests", "linux", "--out", "O", "--phases", "a"], "a program has no --phases"),
        (["./p", "--guests", "linux", "--out", "O", "--window", "exit"], "is no window"),
        (["./p", "--guests", "linux", "--out", "O", "--ops", "0"], "0 is no number of ops"),
        (["./p", "--guests", "linux", "--out", "O", "--file", "/etc/x"], "is no file for a guest"),
        (["./p", "--guests", "linux", "--out", "O", "--file", "/x=a", "--file", "/x=b"], "is no file for a guest"),
        (["./p", "x", "--guests", "linux", "--out", "O"], "unrecognized arguments: x"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_follows_two_hyphens_is_the_programs_alone() -> None:
    from profiler.cli.main import parser

    words = ["run", "./p", "--guests", "linux", "--out", "O", "--", "--seeds", "9", "--", "", "-x"]
    parsed = parser().parse_args(words)
    assert (parsed.arguments, parsed.seeds) == (["--seeds", "9", "--", "", "-x"], "3")
    assert parser().parse_args(words[:6]).arguments == []
