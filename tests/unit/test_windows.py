"""Windows of programs without markers: as they are written, as the probe is told, and as it opens and closes them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from probes.exec.window import Trigger, Window, lines, missed
from probes.symbols import SymbolTable
from profiler.errors import UsageError, WindowMissed

# -- as text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "opens", "closes"),
    [
        ("exec", ("exec", ""), ("exit", "")),
        ("exec..exit", ("exec", ""), ("exit", "")),
        ("console:Ready", ("console", "Ready"), ("exit", "")),
        ("console:Ready to accept..console:bye", ("console", "Ready to accept"), ("console", "bye")),
        ("console:a..b", ("console", "a..b"), ("exit", "")),
        ("console:a..b..exit", ("console", "a..b"), ("exit", "")),
        ("console:x..symbol:main", ("console", "x"), ("symbol", "main")),
        ("symbol:begin..symbol:_ZN1aC2Ev", ("symbol", "begin"), ("symbol", "_ZN1aC2Ev")),
        ("symbol:begin", ("symbol", "begin"), ("exit", "")),
        ("exec..console:^(done|failed)$", ("exec", ""), ("console", "^(done|failed)$")),
    ],
)
def test_a_window_has_two_ends(text: str, opens: tuple[str, str], closes: tuple[str, str]) -> None:
    window = Window.parse(text)
    assert window == Window(Trigger(*opens), Trigger(*closes))
    assert Window.parse(str(window)) == window, "and is written as it is read"


def test_markers_are_no_window_of_ours() -> None:
    assert Window.parse("marker") is None


@pytest.mark.parametrize(
    "text",
    ["", "exit", "exec..", "exec..exec", "marker..exit", "console:", "symbol:", "symbol:a b", "symbol:a;b", "line:x",
     "console:(", "console:[z", "console:é", "console:" + "x" * 201, "console:a\nb"],
)  # fmt: skip
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as failure:
        Window.parse(text)
    assert failure.value.hint


# -- as the probe is told ----------------------------------------------------------------------------------------------


def table(**functions: int) -> SymbolTable:
    addresses = np.array(list(functions.values()), dtype=np.uint64)
    return SymbolTable(addresses, np.full(len(functions), 16, dtype=np.uint64), list(functions))


LINUX = table(__x64_sys_exit_group=0xFFFF0010, work=0xFFFF0020)
PROGRAM, LIBRARY = table(_start=0x1000, main=0x1010, work=0x1020), table(work=0x7000, helper=0x7010)


def told(text: str, kernel: SymbolTable = LINUX, kind: str = "linux") -> list[str]:
    window = Window.parse(text)
    assert window is not None
    return list(lines(window, kind=kind, kernel=kernel, program=[PROGRAM, LIBRARY], entry=0x1000, threads=[9]))


def test_the_whole_program_on_linux() -> None:
    assert told("exec..exit") == [
        "w arm 1000", "w arm 1010", "w open at 1000", "w open at 1010", "w close exit ffff0010", "w thread 9",
    ]  # fmt: skip


def test_a_symbol_is_the_programs_before_it_is_a_librarys_or_the_kernels() -> None:
    assert told("symbol:work..symbol:helper")[2:] == ["w open at 1020", "w close at 7010"]
    assert told("symbol:__x64_sys_exit_group..symbol:work")[2:] == ["w open at ffff0010", "w close at 1020"]
    with pytest.raises(UsageError, match="no function nowhere"):
        told("symbol:nowhere")


def test_more_functions_of_a_name_than_can_be_watched_are_refused() -> None:
    addresses = np.arange(0x9000, 0x9000 + 13 * 16, 16, dtype=np.uint64)
    kernel = SymbolTable(addresses, np.full(13, 16, dtype=np.uint64), ["init"] * 13)
    with pytest.raises(UsageError, match="there are 13 functions init"):
        told("symbol:init", kernel)


def test_on_osv_the_machine_ends_with_the_program() -> None:
    kernel = table(exit=0x40000010, _ZN3osv8poweroffEv=0x40000020)
    assert told("exec", kernel, "osv")[4:] == ["w close exit 40000010", "w close exit 40000020"]


def test_lines_of_the_console_are_told_as_they_are() -> None:
    assert told("console:^a b|c$..console:x")[2:] == ["w open line ^a b|c$", "w close line x"]


# -- as it goes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler on this machine")
    folder = tmp_path_factory.mktemp("driver")
    plugin = root / "probes" / "exec" / "plugin"
    units = [plugin / f"{name}.c" for name in ("window", "config", "costly", "state", "ledger", "threads", "events")]
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address", "-DWL_API=1"]
    source = Path(__file__).with_name("window_driver.c")
    subprocess.run(["gcc", *flags, f"-I{plugin}", source, *units, "-o", folder / "driver"], check=True, timeout=60)
    return folder / "driver"


def play(driver: Path, tmp_path: Path, window: list[str], happens: list[str]) -> list[str]:
    config, console = tmp_path / "probe.conf", tmp_path / "console"
    config.write_text("\n".join(["weaklink-exec 2 0 0 8000000000000000 ffffffffffffffff", *window, ""]))
    console.touch()
    done = subprocess.run(
        [driver, config, console], input="\n".join([*happens, ""]), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WHOLE = ["w arm 1000", "w open at 1000", "w close exit 2000", "w thread 9"]
LISTENING = ["w arm 1000", "w open line ^ready$", "w close line done|bye"]


@pytest.mark.parametrize(
    ("window", "happens", "says"),
    [
        (WHOLE, ["arm 1000", "first", "reach 2000 0"], ["open 1", "close 1", "finish 1", "111"]),
        (WHOLE, ["arm 1000", "first", "reach 2000 4", "reach 2000 0"], ["open 1", "close 1", "finish 1", "111"]),
        (WHOLE, ["arm 1000", "first", "reach 2000 4", "ended"], ["open 1", "close 1", "finish 1", "111"]),
        (WHOLE, ["arm 1000", "first", "reach 1000 0"], ["open 1", "110"]),
        (WHOLE, ["ended"], ["finish 1", "000"]),
        (["w arm 1000", "w open at 1100", "w close at 1100"], ["arm 1000", "first", "reach 1100 0", "reach 1100 0"],
         ["open 1", "close 1", "finish 1", "111"]),
        (["w arm 1000", "w open at 1100", "w close at 1200"], ["arm 1000", "first", "reach 1200 0", "reach 1100 0"],
         ["open 1", "110"]),
        (["w arm 1000", "w open at 1100", "w close at 1200"], ["arm 1000", "reach 1100 0", "ended"],
         ["open 1", "finish 1", "110"]),
        (LISTENING, ["arm 1000", "say ready\\r\\n", "say do", "say ne", "say \\n"],
         ["open 1", "close 1", "finish 1", "111"]),
        (LISTENING, ["arm 1000", "say ready"], ["100"]),
        (LISTENING, ["arm 1000", "say not ready\\ndone\\n"], ["100"]),
        (LISTENING, ["boot ready\\n", "arm 1000", "say done\\n"], ["100"]),
        (LISTENING, ["arm 1000", "say ready\\nbye\\nready\\n"], ["open 1", "close 1", "finish 1", "111"]),
        (LISTENING, ["arm 1000", "say " + "x" * 8500 + "\\nready\\n"], ["open 1", "110"]),
    ],
)  # fmt: skip
def test_what_opens_and_closes_a_window(
    driver: Path, tmp_path: Path, window: list[str], happens: list[str], says: list[str]
) -> None:
    assert play(driver, tmp_path, window, happens) == says


@pytest.mark.parametrize(
    "wrong",
    ["w", "w ", "w open", "w open at", "w open at xyz", "w shut at 10", "w open line (", "w open line [z",
     "w close line " + "x" * 300],
)  # fmt: skip
def test_the_probe_refuses_what_it_does_not_understand(driver: Path, tmp_path: Path, wrong: str) -> None:
    config = tmp_path / "probe.conf"
    config.write_text(f"weaklink-exec 2 0 0 0 0\n{wrong}\n")
    (tmp_path / "console").touch()
    done = subprocess.run([driver, config, tmp_path / "console"], input="", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "weaklink-exec: " in done.stderr


def test_a_console_that_cannot_be_read_is_said(driver: Path, tmp_path: Path) -> None:
    config = tmp_path / "probe.conf"
    config.write_text("weaklink-exec 2 0 0 0 0\nw open line x\n")
    done = subprocess.run([driver, config, tmp_path / "none"], input="", capture_output=True, text=True, timeout=60)
    assert (done.returncode, "console's log" in done.stderr) == (1, True)


# -- and if it does not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("armed", "opened", "closed", "says"),
    [(0, 0, 0, "never executed"), (1, 0, 0, "never opened: console:a"), (1, 1, 0, "never closed: symbol:b")],
)
def test_a_window_that_was_missed_is_named(tmp_path: Path, armed: int, opened: int, closed: int, says: str) -> None:
    state = {"armed": bool(armed), "opened": bool(opened), "closed": bool(closed)}
    (tmp_path / "summary.json").write_text(json.dumps({"window": state}))
    failure = missed(Window.parse("console:a..symbol:b"), tmp_path)
    assert isinstance(failure, WindowMissed)
    assert says in str(failure)
    assert failure.hint
    assert (failure.exit_code, missed(None, tmp_path)) == (24, None)


def test_a_window_that_was_seen_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"window": {"armed": true, "opened": true, "closed": true}}')
    assert missed(Window(), tmp_path) is None
