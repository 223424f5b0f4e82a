"""Every way the tool can stop: its exit code, whose fault it is, what it shows of itself, and the way out.

This module is a leaf: it imports nothing of ours, and it is the one module that all four packages may import
(an import-linter contract holds both).  The command line prints ``str(error)``, then ``error.hint``, and exits with
``error.exit_code``; nothing else in the program calls ``sys.exit``.

``docs/troubleshooting.md`` is made of the classes here: the docstring says what a failure means, ``evidence`` what is
shown of it, ``ways`` what can be done; the first of them is what the terminal says where a raiser knows nothing better.

Exit codes: 0 done, 1 the answer is no, 2 usage, 3 not comparable or not enough data, 10-29 failures, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(failure: OSError | str) -> bool:
    """Whether an error, or what a program said of one, is that a disk, a quota or a file is full.

    The text of an error counts too: pyarrow wraps some, and keeps the number there only.
    """
    number, text = getattr(failure, "errno", None), str(failure)
    return number in _NO_ROOM or any(os.strerror(full) in text for full in _NO_ROOM)


def no_memory(said: str) -> bool:
    """Whether what a program said of an error is that it could not have memory."""
    return os.strerror(errno.ENOMEM) in said or "no memory for" in said or "failed to allocate" in said


def shown(text: str) -> str:
    """``text`` as it may be written on a terminal: without control, format, bidi and half characters; lines stay lines.

    Messages quote what guests, recordings and kernel files hold.
    """
    if text.replace("\n", "").isprintable():
        return text
    from unicodedata import category

    spaced = (" " if letter == "\t" or category(letter)[0] == "Z" else letter for letter in text)
    return "".join(letter for letter in spaced if letter == "\n" or category(letter)[0] != "C")


class WeaklinkError(Exception):
    """A bug of weaklink: nobody foresaw what happened, or one of weaklink's own tables is wrong."""

    exit_code: ClassVar[int] = 29
    name: ClassVar[str] = "internal error"
    blame: ClassVar[str] = "weaklink"
    evidence: ClassVar[str] = "the kind of the error and its text; where it happened is left in `bug.txt` in the cache"
    ways: ClassVar[tuple[str, ...]] = (
        "report it with the file that it names; without one, run it again with --debug and report what that prints",
        "add to the report what `weaklink doctor --json` says, and the console if a guest was running",
    )

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(shown(message))
        self.hint = shown(hint or self.ways[0])

    @classmethod
    def section(cls) -> str:
        """Where more is said of it: a section of the documentation."""
        return f"docs/troubleshooting.md#{cls.name.lower().replace(' ', '-')}"


class CheckFailed(WeaklinkError):
    """The answer is no: a check did not hold."""

    exit_code, name, blame = 1, "check failed", "the data"
    evidence = "how many of how many checks failed, and each of them above it"
    ways = (
        "do not trust what is computed from the data it names",
        "record again what `weaklink verify` refuses: delete its directory and give the same `weaklink run`",
    )


class UsageError(WeaklinkError):
    """The command was not understood, or asks for what there is not: a word, a guest, a file, a place to write."""

    exit_code, name, blame = 2, "usage", "the command line"
    evidence = "the word that was not understood, and what would be"
    ways = (
        "see `weaklink --help`; every verb has a --help of its own",
        "see what guests there are: `weaklink guests list`",
    )


class NotComparable(WeaklinkError):
    """The recordings must not be compared, or are too few to say anything."""

    exit_code, name, blame = 3, "not comparable", "the data"
    evidence = "what of them differs: QEMU, its CPU model, the app, the phases, the probe's mode"
    ways = ("record all of the guests in one `weaklink run`", "name the guest that is wanted with --guest")


class NothingToShow(WeaklinkError):
    """The recordings do not hold what was asked for; the message says what would make it visible."""

    exit_code, name, blame = 3, "nothing to show", "the data"
    evidence = "what is missing, and what the recording says of why"
    ways = ("look at another phase or guest: --phase, --guest",)


class QemuMissing(WeaklinkError):
    """No QEMU can be used: it is not in PATH (or not where WEAKLINK_QEMU points), does not start, or is too old."""

    exit_code, name, blame = 10, "QEMU missing", "this machine"
    evidence = "the program that was looked for, and what it said where it did not say its version"
    ways = (
        "install it as root: apt-get install --no-install-recommends qemu-system-x86",
        "name another one in the environment variable WEAKLINK_QEMU",
    )


class ToolMissing(WeaklinkError):
    """A program other than QEMU, or a file of one, is missing: a compiler, its libc, apt-get, dpkg-deb, pip."""

    exit_code, name, blame = 11, "tool missing", "this machine"
    evidence = "what is missing, and what it is for"
    ways = (
        "install what it names; for the compiler as root: apt-get install --no-install-recommends gcc libc6-dev",
        "see with `weaklink doctor` what else is missing",
    )


class ProbeBuild(WeaklinkError):
    """The probe, a plugin for QEMU that is compiled on first use, did not compile."""

    exit_code, name, blame = 12, "probe build", "this machine"
    evidence = "the compiler's first lines"
    ways = (
        "install compiler and headers as root: apt-get install --no-install-recommends gcc libc6-dev",
        "if CC names a compiler, try without it; if they are there, report the compiler's lines: it is a bug",
    )


class ProbeLoad(WeaklinkError):
    """QEMU refused the probe: it was built without plugins, or the plugin is not for it."""

    exit_code, name, blame = 13, "probe not loadable", "this machine"
    evidence = "what QEMU, or the probe itself, says of why"
    ways = (
        "run `weaklink doctor`; a QEMU built without plugin support cannot be used",
        "use the distribution's QEMU (unset WEAKLINK_QEMU), or build one with --enable-plugins",
    )


class ProbeLoss(WeaklinkError):
    """The probe lost data, or wrote something that does not add up; no recording is made of that."""

    exit_code, name, blame = 14, "probe loss", "weaklink"
    evidence = "which of its files, or which sum, is wrong"
    ways = (
        "run it again; if it happens again, report it with the app and the guest",
        "with an app of your own, check that each phase is opened and closed once, in that order",
    )


class GuestPanic(WeaklinkError):
    """The guest's kernel said on its console that it cannot go on.

    This wins over all that follows from it: QEMU that ends, an app that is not done.
    """

    exit_code, name, blame = 15, "guest panic", "the guest"
    evidence = "the kernel's own lines from the first that says so; the whole console is kept in `seed-N.failed.log`"
    ways = (
        "look at the app, if its end is what the kernel names (`Attempted to kill init`); else at the guest's options,"
        " then at its kernel",
        "see whether it panics without them: the guest's bare name with --guests",
        "of a kernel in the cache: `weaklink guests verify`",
    )


class AppHung(WeaklinkError):
    """The app was ready and not done when a limit struck: on time, or on what it wrote or had the probe write.

    Silence alone is no reason.
    """

    exit_code, name, blame = 16, "app hung", "the app or the guest"
    evidence = (
        "the phase in which or after which it was, which limit struck, and the last lines of the console; all of it is"
        " kept in `seed-N.failed.log`"
    )
    ways = (
        "look at the console; if it was getting on, give it longer with --limit SECONDS, or, where it was too much that"
        " was written, less to do (--phases, --window)",
        "see whether the other phases end without the one that it names",
    )


class GuestExit(WeaklinkError):
    """The guest switched itself off, or reset, before the app was done, and its kernel did not say why."""

    exit_code, name, blame = 17, "guest ended early", "the guest"
    evidence = "the last lines of the console; all of it is kept in `seed-N.failed.log`"
    ways = (
        "look at the console",
        "see whether it happens with another memory size or kernel: a reset without a word is mostly a triple fault",
    )


class DiskFull(WeaklinkError):
    """There is no room left for a recording, the cache, or a temporary file: a full disk, a quota, a file's limit."""

    exit_code, name, blame = 18, "disk full", "this machine"
    evidence = "the directory that is full"
    ways = (
        "make room, then run it again: what was recorded so far is whole and is kept",
        "name another --out, or point WEAKLINK_CACHE or TMPDIR at another disk, whichever it names",
    )


class ArtifactUnavailable(WeaklinkError):
    """A kernel, a package or a source is not here, and could not be fetched."""

    exit_code, name, blame = 19, "artifact unavailable", "the network or its source"
    evidence = "what was wanted, and what the program that fetches it said"
    ways = (
        "check that this machine is online; for a package of the distribution: sudo apt-get update",
        "give weaklink a file that you have: weaklink guests add NAME --kind KIND --kernel FILE",
    )


class ArtifactCorrupt(WeaklinkError):
    """What was fetched, added or cached is not what its digest says, or not the kind of file it should be."""

    exit_code, name, blame = 20, "artifact corrupt", "its source, or the disk"
    evidence = "the file, and both digests or what is wrong with it"
    ways = (
        "run it again: what weaklink fetched itself is fetched anew",
        "see which kernels changed: `weaklink guests verify`; add yours again with --replace",
        "if it happens again, a proxy, a mirror or the disk changes files",
    )


class AppBuild(WeaklinkError):
    """The app's app.toml or its folder is not what it should be, or its sources did not compile for a guest."""

    exit_code, name, blame = 21, "app build", "the app"
    evidence = "what is wrong with app.toml, each with file, line and key, or the compiler's first lines"
    ways = (
        "look at the line that is named; docs/apps.md has each key of app.toml",
        "see with `weaklink doctor` whether compiler and headers are there",
    )


class RecordingInvalid(WeaklinkError):
    """A recording is missing, incomplete, damaged, too large, or of another schema."""

    exit_code, name, blame = 22, "recording invalid", "the data"
    evidence = "the file, and what is wrong with it"
    ways = (
        "record it again: delete its directory and give the same `weaklink run`",
        "one of another schema: read it with the weaklink that made it",
    )


class AppFailed(WeaklinkError):
    """The app said that it cannot go on, or the program ended with a status that is not 0, or was killed."""

    exit_code, name, blame = 23, "app failed", "the app"
    evidence = "what the app said, or its status or signal where the guest can tell, and its last lines"
    ways = (
        "look at what it says: in the guest it has its libraries and arguments; other files must be named with --file",
        "try it outside: what does it say there?",
    )


class WindowMissed(WeaklinkError):
    """The window of a run (--window) did not open, or did not close."""

    exit_code, name, blame = 24, "window missed", "the window or the app"
    evidence = "which of both did not happen; the console is kept in `seed-N.failed.log`"
    ways = (
        "look for the line or the symbol that --window names on the console or in the program",
        "record all of it: leave --window out",
    )


class NoBoot(WeaklinkError):
    """The guest did not come as far as the app: a limit struck first, or it switched itself off."""

    exit_code, name, blame = 25, "no boot", "the guest"
    evidence = "which limit struck, and the last lines of the console; all of it is kept in `seed-N.failed.log`"
    ways = (
        "look at the last lines of the console; if it was still getting on, give it longer with --limit SECONDS",
        "see whether it boots without options: the guest's bare name with --guests",
    )


class QemuDied(WeaklinkError):
    """QEMU itself ended, by a signal or with an error, and neither the guest nor weaklink wanted it to."""

    exit_code, name, blame = 26, "QEMU died", "QEMU, the probe, or who killed it"
    evidence = "the signal or the exit code, and what QEMU said on its standard error"
    ways = (
        "run it again; if it happens again, report it with `weaklink doctor --json` and the console",
        "killed by signal 9: somebody ended it (the kernel, for want of memory, is told apart where it can be)",
    )


class OutOfMemory(WeaklinkError):
    """There was not enough memory for QEMU, the probe or weaklink itself."""

    exit_code, name, blame = 27, "out of memory", "this machine"
    evidence = "who asked for memory, and for what"
    ways = (
        "end what else needs memory, or give this machine, container or session more (see `weaklink doctor`)",
        "with --stacks, or a long run: record fewer --phases at a time",
    )


class CacheUnusable(WeaklinkError):
    """The cache, where kernels, the probe and apps are kept, cannot be written, or belongs to somebody else."""

    exit_code, name, blame = 28, "cache unusable", "this machine"
    evidence = "the directory, and what is wrong with it"
    ways = ("point WEAKLINK_CACHE at a directory of your own",)


class Interrupted(WeaklinkError):
    """Ctrl-C, SIGTERM or SIGHUP ended it, in order: no QEMU is left, nothing is half written."""

    exit_code, name, blame = 130, "interrupted", "nobody"
    evidence = "nothing more: it was asked for"
    ways = ("what was recorded so far is whole; the same command goes on from there",)
