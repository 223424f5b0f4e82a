"""What goes wrong in a guest: its kernel, the app, what either says.  The app is ``faulty``, or ``program.c``."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import Final

from tests.faults.kind import Kind
from tests.faults.outside import WORDS
from tests.faults.scene import FINISHED, SEEDS, Scene, campaign, page, run_words

LIMIT_S: Final = "10"
ALL: Final = ("linux", "osv", "freebsd")
_HERE: Final = Path(__file__).resolve().parent
_PANIC: Final = {"linux": "Kernel panic - not syncing: sysrq", "osv": "Aborted", "freebsd": "panic: kdb_sysctl_panic"}
_ABORT: Final = {
    "linux": (15, "Attempted to kill init"), "osv": (15, "Aborted"), "freebsd": (23, "killed by signal 6 (SIGABRT)"),
}  # fmt: skip


def _kind(guest: str) -> str:
    """The kind of a guest's kernel, which may have any name."""
    import images
    from images import GuestSpec

    return images.check(GuestSpec.parse(guest)).kind


def _panics(scene: Scene) -> None:
    campaign(scene, _faulty("panic"), 15, [_PANIC[_kind(scene.guest)]], again=15)


def _aborts(scene: Scene) -> None:
    code, said = _ABORT[_kind(scene.guest)]
    campaign(scene, _faulty("abort"), code, [said], again=code)


def _faulty(phase: str, *more: str) -> tuple[str, ...]:
    return (str(_HERE / "faulty"), "--phases", f"good,{phase}", *more)


def _hangs(phase: str, scene: Scene) -> None:
    campaign(scene, _faulty(phase, "--limit", LIMIT_S), 16, [f"in phase {phase}: not done after"], again=16)
    _console_is_bounded(scene)


def _console_is_bounded(scene: Scene) -> None:
    for log in [*scene.out.rglob("*.failed.log"), *scene.out.rglob("console.log")]:
        if log.stat().st_size > 16 << 20:
            scene.wrong.append(f"{log.name} has {log.stat().st_size:,} bytes")


def _talks(phase: str, scene: Scene) -> None:
    """It ends well, whatever it said."""
    campaign(scene, _faulty(phase), 0)
    _console_is_bounded(scene)
    for text in ((scene.place / "log").read_text(encoding="utf-8"), _told(scene)):
        if "\x1b" in text or "\u202e" in text:
            scene.wrong.append("control characters on the terminal")


def _told(scene: Scene) -> str:
    """What a user is shown of its threads."""
    return scene.weaklink("switches", str(scene.out)).said


def _lies(phase: str, code: int, said: str, scene: Scene) -> None:
    campaign(scene, _faulty(phase, "--limit", LIMIT_S), code, [said], again=code)


def _does_not_boot(scene: Scene) -> None:
    """Linux has no root file system, and waits for a slow disk for months."""
    guests = f"{scene.guest},{scene.guest}+initcall_blacklist=populate_rootfs+rootdelay=9999999"
    words = (*WORDS, "--limit", LIMIT_S)
    scene.finished(words)
    scene.remember()
    command = run_words(words, guests, SEEDS, scene.out)
    for code in (25, 25):
        scene.expect(scene.weaklink(*command), code, "no boot", "not booted after")
        scene.count_orphans()
        scene.count_lost()
    page(scene, ["not booted after"], failed=True)
    scene.leftovers()
    scene.count_figures(words, FINISHED)


def _program(scene: Scene) -> Path:
    program = scene.references.place / "program"
    with scene.references.building:
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            command = ["gcc", "-O1", "-static", "-o", str(program), str(_HERE / "program.c")]
            subprocess.run(command, check=True, timeout=60)
    return program


def _ends(how: str, said: str, scene: Scene) -> None:
    words = (str(_program(scene)), "--", how)
    campaign(scene, words, 23, [said], again=23)


KINDS: Final = (
    Kind("panic", "the kernel panics (sysrq, abort, sysctl)", _panics, ALL),
    Kind("init-aborts", "the first process aborts", _aborts, ALL),
    Kind("boot-hang", "the kernel waits in its boot", _does_not_boot),
    Kind("app-crash", "a program dies by SIGSEGV", partial(_ends, "crash", "killed by signal 11 (SIGSEGV)")),
    Kind("app-status", "a program ends with status 3", partial(_ends, "status", "ended with status 3")),
    Kind("port-in-use", "a program finds its port taken", partial(_ends, "port", "Address already in use")),
    Kind("app-spins", "the app never ends, and works", partial(_hangs, "spin"), ALL),
    Kind("app-sleeps", "the app never ends, and sleeps", partial(_hangs, "sleep")),
    Kind("app-chatters", "the app never ends, and says so for ever", partial(_hangs, "chatter")),
    Kind("console-flood", "endless output on the console", partial(_hangs, "flood")),
    Kind("hostile-names", "escapes and HTML in names and lines", partial(_talks, "names")),
    Kind("long-line", "a line of 10 MB", partial(_talks, "lines")),
    Kind("false-lines", "lines that only pretend to be the app's report", partial(_lies, "claims", 14, "own clock")),
    Kind("false-marks", "a window closed out of turn", partial(_lies, "marks", 14, "own clock")),
    Kind("false-phase", "a phase opened that nobody declared", partial(_lies, "unasked", 14, "opened twice")),
    Kind("false-end", "done, said in the middle of the work", partial(_lies, "finish", 14, "never executed")),
)
