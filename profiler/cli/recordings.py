"""Finding the recordings that a verb is to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import RecordingInvalid, UsageError

if TYPE_CHECKING:
    from probes.recording import Recording


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
