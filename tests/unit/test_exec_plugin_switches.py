"""Why threads stop, who wakes them, and what class an interrupt was: the rules, on made-up ways through a kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from probes.events import EVENT_KINDS, HOWS
from tests import plugin_driver, raw_log
from tests.plugin_driver import ask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

BLOCKED, PREEMPTED, YIELDED, EXITED = (HOWS.index(how) for how in ("blocked", "preempted", "yielded", "exited"))
BACKGROUND, IRQ = 3, 77


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_driver.build(root, tmp_path_factory.mktemp("driver"))


def seen(driver: Path, folder: Path, words: str, *kinds: str) -> list[tuple[str, str, int, int]]:
    """(kind, how, name, value) of the events of some kinds; B, P, Y and X stand for why a thread stops."""
    for letter, how in zip("BPYX", (BLOCKED, PREEMPTED, YIELDED, EXITED), strict=True):
        words = words.replace(letter, str(how))
    ask(driver, "switches", folder / "events.bin", *words.split())
    events = raw_log.read(folder / "events.bin").tolist()
    names = raw_log.EVENT.names or ()
    rows = [dict(zip(names, event, strict=True)) for event in events]
    found = [(EVENT_KINDS[row["kind"]], HOWS[row["how"]], int(row["name"]), int(row["value"])) for row in rows]
    return [row for row in found if row[0] in kinds]


@pytest.mark.parametrize(
    ("words", "hows"),
    [
        ("eP s2", ["preempted"]),
        ("eP iB s2", ["blocked"]),
        ("eB iP s2", ["preempted"]),
        ("bY eP s2", ["yielded"]),
        ("bX eP iB s2", ["exited"]),  # who ends is taken off the queue as well
        ("eP iB eP s2", ["preempted"]),  # the first time there was no switch
        ("bY eP eP s2", ["preempted"]),
        ("bY I77 eP s2", ["preempted"]),  # an interrupt came in between
        ("bY I77 eP R eP s2", ["yielded"]),
        ("eP iB s2 s1", ["blocked", ""]),  # one that no scheduler was seen to choose
        ("eP iB s2 eP s1 eP s2", ["blocked", "preempted", "preempted"]),
        ("s2", [""]),
    ],
)
def test_why_a_thread_stops(driver: Path, tmp_path: Path, words: str, hows: list[str]) -> None:
    assert [how for _, how, _, _ in seen(driver, tmp_path, words, "switch")] == hows


@pytest.mark.parametrize(
    ("words", "wakes"),
    [
        ("w2", [("", BACKGROUND, 1)]),  # nothing is known of it
        ("eP s2 eP iB s1 w2 w2", [("woken", BACKGROUND, 1), ("awake", BACKGROUND, 1)]),
        ("eP s2 eP s1 w2", [("awake", BACKGROUND, 1)]),
        ("eP s2 eP iB s1 I77 w2 R", [("woken", IRQ, 1)]),
        ("n2 r2 r2", [("woken", BACKGROUND, 1)]),  # the kernel made it; only then may it run
        ("n2 w2 r2", [("woken", BACKGROUND, 1)]),
        ("eP s2 eP iB s1 r2", [("woken", BACKGROUND, 1)]),
        ("eP s2 eP iB s1 w2 r2", [("woken", BACKGROUND, 1)]),
        ("eP s2 eP s1 r2", []),
        ("r2", []),
        ("s2 s1 w2", [("", BACKGROUND, 1)]),  # it stopped, and nobody said why
    ],
)
def test_who_is_woken(driver: Path, tmp_path: Path, words: str, wakes: list[tuple[str, int, int]]) -> None:
    assert [row[1:] for row in seen(driver, tmp_path, words, "wake")] == wakes


def test_threads_come_and_go(driver: Path, tmp_path: Path) -> None:
    found = seen(driver, tmp_path, "n2 r2 eP iB s2 bX eP iB s1 n2", "thread-new", "thread-exit", "switch")
    assert [(kind, value) for kind, _, _, value in found] == [
        ("thread-new", 1), ("switch", 1), ("thread-exit", 0), ("switch", 0), ("thread-new", 2),
    ]  # fmt: skip
