"""Finding the recordings that a verb is to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler.errors import RecordingInvalid, UsageError

if TYPE_CHECKING:
    from probes.recording import Recording


_MOST_BYTES: Final = 64 << 20


def campaign(root: Path) -> dict[str, Any]:
    """What the last campaign in ``root`` wrote of itself, empty where nobody wrote: shown, never trusted."""
    from profiler.campaign import SUMMARY

    try:
        if (root / SUMMARY).is_file():  # a pipe would never end
            with (root / SUMMARY).open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
            return found if isinstance(found, dict) else {}
    except (OSError, ValueError, RecursionError):
        pass
    return {}


def whole(one: Recording) -> Recording:
    """Give a recording of which every file is what was written; raises RecordingInvalid for another."""
    from probes.recording import damaged

    if found := damaged(one.directory):
        raise RecordingInvalid(f"{one.directory}: {', '.join(found)} is not what was written")
    return one


def load(root: Path) -> list[Recording]:
    """All recordings at or below ``root``, sorted by path, or in the archive ``root`` (``weaklink pack``).

    Raises UsageError if there is no such directory, RecordingInvalid if it holds none or a damaged one.
    """
    from probes import archive, recording

    if root.suffix == archive.SUFFIX and root.is_file():
        return archive.read(root)
    if not root.is_dir():
        raise UsageError(f"there is no directory {root}", hint="name the --out directory of a `weaklink run`")
    found = [recording.read(directory) for directory in recording.find(root)]
    if not found:
        raise RecordingInvalid(
            f"no recordings in {root}", hint=f"make some: weaklink run tour --guests A,B --out {root}"
        )
    return found
