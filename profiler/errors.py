"""Every way the tool can stop, each with its exit code, whose fault it is, and the way out.

This module is a leaf: it imports nothing of ours, and it is the one module that all four packages may import
(an import-linter contract holds both).  The command line prints ``str(error)``, then ``error.hint``, and exits with
``error.exit_code``; nothing else in the program calls ``sys.exit``.

Exit codes: 0 done, 1 the answer is no, 2 usage, 3 not comparable or not enough data, 10-29 failures, 130 interrupted.
"""

from __future__ import annotations

import errno
import os

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(failure: OSError | str) -> bool:
    """Whether an error, or what a program said of one, is that a disk, a quota or a file is full.

    The text of an error counts too: pyarrow wraps some, and keeps the number there only.
    """
    number, text = getattr(failure, "errno", None), str(failure)
    return number in _NO_ROOM or any(os.strerror(full) in text for full in _NO_ROOM)


class WeaklinkError(Exception):
    """A failure with a name.  ``hint`` is one sentence saying what to do next; ``blame`` says whose fault it is."""

    exit_code = 29
    name = "internal error"
    blame = "weaklink"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class CheckFailed(WeaklinkError):
    """The answer is no: a check or a comparison did not hold."""

    exit_code, name, blame = 1, "check failed", "the data"


class UsageError(WeaklinkError):
    """The command was not understood."""

    exit_code, name, blame = 2, "usage", "the command line"


class NotComparable(WeaklinkError):
    """The recordings must not be compared, or are too few to say anything."""

    exit_code, name, blame = 3, "not comparable", "the data"


class NothingToShow(WeaklinkError):
    """The recordings do not hold what was asked for; the message says what would make it visible."""

    exit_code, name, blame = 3, "nothing to show", "the data"


class QemuMissing(WeaklinkError):
    """No usable QEMU on this machine."""

    exit_code, name, blame = 10, "QEMU missing", "this machine"


class ToolMissing(WeaklinkError):
    """A program other than QEMU (a compiler, apt-get, dpkg-deb) is missing."""

    exit_code, name, blame = 11, "tool missing", "this machine"


class ProbeBuild(WeaklinkError):
    """The probe's plugin did not compile."""

    exit_code, name, blame = 12, "probe build", "this machine"


class ProbeLoad(WeaklinkError):
    """QEMU refused the probe's plugin."""

    exit_code, name, blame = 13, "probe not loadable", "this machine"


class ProbeLoss(WeaklinkError):
    """The probe lost data, or wrote something that does not add up."""

    exit_code, name, blame = 14, "probe loss", "weaklink"


class GuestPanic(WeaklinkError):
    """The guest's kernel said that it cannot go on."""

    exit_code, name, blame = 15, "guest panic", "the guest"


class GuestHang(WeaklinkError):
    """The guest made no progress within its limit."""

    exit_code, name, blame = 16, "guest hang", "the guest"


class GuestExit(WeaklinkError):
    """QEMU or the app ended before the app had said that it was done."""

    exit_code, name, blame = 17, "guest ended early", "the guest"


class DiskFull(WeaklinkError):
    """No room left for a recording or the cache."""

    exit_code, name, blame = 18, "disk full", "this machine"


class ArtifactUnavailable(WeaklinkError):
    """A kernel or package could not be fetched."""

    exit_code, name, blame = 19, "artifact unavailable", "the network or its source"


class ArtifactCorrupt(WeaklinkError):
    """What was fetched or cached is not what its digest says, or not the kind of file it should be."""

    exit_code, name, blame = 20, "artifact corrupt", "its source"


class AppBuild(WeaklinkError):
    """The app did not compile."""

    exit_code, name, blame = 21, "app build", "the app"


class AppFailed(WeaklinkError):
    """The program that was run ended with a status that is not 0, or was killed."""

    exit_code, name, blame = 23, "app failed", "the app"


class WindowMissed(WeaklinkError):
    """The window of a run did not open, or did not close."""

    exit_code, name, blame = 24, "window missed", "the window or the app"


class RecordingInvalid(WeaklinkError):
    """A recording is missing, incomplete, too large, or of another schema."""

    exit_code, name, blame = 22, "recording invalid", "the data"
