"""The beginning of an app of the user's: a folder with an app.toml, one C source of two phases, and the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from images.apps import checked
from images.apps.describe import HERE, names
from profiler.errors import UsageError

_WORD: Final = "starter"
_HERE: Final = HERE / _WORD


def write(name: str, folder: Path) -> list[Path]:
    """Write the app ``name`` into ``folder``, which must not be there or be empty; the files.

    Raises ``UsageError`` for a name that is none, or one that weaklink's own apps have, and where something would be
    written over.
    """
    about = checked.schema()["properties"]["name"]
    if not re.fullmatch(about["pattern"], name):
        raise UsageError(f"{checked.shown(name)} is no name of an app", hint=f"it must be {about['x-must']}")
    if name in names():
        raise UsageError(f"weaklink has an app {name} itself", hint="choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{folder} is no folder", hint="name one that is not there yet") from error
    except PermissionError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", hint="name another folder") from error
    if taken is not None:
        raise UsageError(f"{folder} is not empty", hint="nothing is written over; name a folder that is not there yet")
    texts = {
        checked.NAME: _named(_HERE / f"{_WORD}.toml", name),
        f"{name}.c": _named(_HERE / f"{_WORD}.c", name),
        checked.SCHEMA.name: checked.SCHEMA.read_text(encoding="utf-8"),
    }
    for file, text in texts.items():
        with (folder / file).open("x", encoding="utf-8") as out:
            out.write(text)
    return [folder / file for file in texts]


def _named(template: Path, name: str) -> str:
    text = template.read_text(encoding="utf-8")
    return text.replace(f"{_WORD}_", f"{name.replace('-', '_')}_").replace(_WORD, name)
