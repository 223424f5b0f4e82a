"""Whether an app.toml is one: against app.schema.json, and against the folder that it is in.

The schema is the one description of the format; what it cannot say (numbers that are there twice, files that are not)
is said here.  Everything that is wrong is told at once, each with its line and key.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from images.apps import folders
from images.apps.places import Path as Key
from images.apps.places import Places
from profiler.errors import AppBuild

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

SCHEMA: Final = Path(__file__).with_name("app.schema.json")
NAME: Final = "app.toml"
MOST_BYTES: Final = 64 << 10
"""Of an app.toml: the longest that comes with weaklink has a ninth of it."""

_MOST: Final = 1_000  # mistakes that are looked for
_MOST_SHOWN: Final = 20
_LONGEST_SHOWN: Final = 60
_HINT: Final = "docs/apps.md has each key; `weaklink apps schema` prints the schema, for editors"
_AT: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|(end of document))\)$")
_DOTTED: Final = re.compile(r"""(?<![A-Za-z0-9_-])(?:(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]++)[ \t]*+\.[ \t]*+){32}""")
_KINDS: Final = {"string": "text in quotes", "array": "an array, as in [1, 2]", "object": "a table"}
_BIGGEST: Final = 1 << 63

Mistake = tuple[Key, str]


def table(folder: Path) -> Mapping[str, Any]:
    """Read the app.toml in ``folder``; ``AppBuild`` with each mistake in a line, as FILE:LINE: KEY: WHAT."""
    path = folder / NAME
    text = _text(folder)
    try:
        if _DOTTED.search(text):  # tomllib takes a time that grows with the square of their number
            raise ValueError("a key has more than 32 parts")
        found = tomllib.loads(text)
    except RecursionError as error:
        raise _refused([f"{path}: arrays or tables are nested too deeply"]) from error
    except ValueError as error:
        raise _refused([f"{path}{_position(str(error), text)}"]) from error
    mistakes = list(islice(_too_big(found, ()), _MOST)) or list(islice(schema_mistakes(found), _MOST))
    wrong = {key for key, _ in mistakes}
    mistakes += [one for one in (*_twice(found), *_files(folder, found)) if one[0] not in wrong]
    if mistakes:
        places = Places(text)
        rows = sorted((places.line(key), _order(key), _named(key), said) for key, said in mistakes)
        raise _refused([f"{path}:{line}: {key}{said}" for line, _, key, said in rows])
    return found


@cache
def schema() -> Mapping[str, Any]:
    """Give the published schema."""
    content: Mapping[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return content


def schema_mistakes(found: Mapping[str, Any]) -> Iterator[Mistake]:
    """Give what the schema has against a document: where, and what, in words; one for each place."""
    known = schema()
    seen: set[Mistake | Key] = set()
    for error in _validator().iter_errors(found):
        key: Key = tuple(error.absolute_path)
        if error.validator == "required":
            some = [(key, f"{name} is missing") for name in error.validator_value if name not in error.instance]
        elif error.validator == "additionalProperties":
            names = [name for name in error.instance if name not in error.schema["properties"]]
            some = [((*key, name), _unknown(name, key, error.schema["properties"], known)) for name in names]
        elif "propertyNames" in error.absolute_schema_path:
            some = [((*key, error.instance), f"must be {error.schema['x-must']}")]
        elif error.validator == "uniqueItems":
            some = [((*key, index), "is there twice") for index in _repeated(error.instance)]
        else:
            some = [] if key in seen else [(key, _must(error.validator, error.schema, error.instance))]
            seen.add(key)
        for one in some:
            if one not in seen:
                seen.add(one)
                yield one


@cache
def _validator() -> Draft7Validator:
    from jsonschema import Draft7Validator, ValidationError, validators  # an eighth of a second

    def pattern(validator: Any, wanted: str, value: Any, about: Any) -> Iterator[Any]:
        # As ECMA 262 has it, where $ is not before a last newline.
        if isinstance(value, str) and not re.search(wanted.replace("$", r"\Z"), value):
            yield ValidationError("pattern")

    def unique(validator: Any, wanted: bool, value: Any, about: Any) -> Iterator[Any]:
        if isinstance(value, list) and _repeated(value):
            yield ValidationError("uniqueItems")

    def integer(checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)  # 3.0 is none in TOML

    types = Draft7Validator.TYPE_CHECKER.redefine("integer", integer)
    extended = validators.extend(Draft7Validator, {"pattern": pattern, "uniqueItems": unique}, type_checker=types)
    made: Draft7Validator = extended(schema())
    return made


def _repeated(items: list[Any]) -> list[int]:
    seen: set[str] = set()
    texts = [(index, item) for index, item in enumerate(items) if isinstance(item, str)]
    return [index for index, item in texts if item in seen or seen.add(item)]  # type: ignore[func-returns-value]


def _must(kind: str, about: Mapping[str, Any], value: Any) -> str:
    """Say what a value must be, and what it is instead."""
    if kind in ("minItems", "maxItems", "maxProperties"):
        bound = "at least" if kind == "minItems" else "at most"
        return f"must have {bound} {about[kind]}, not {len(value)}"
    if "x-must" in about:
        wanted = about["x-must"]
    elif about["type"] == "integer":
        wanted = f"an integer from {about['minimum']} to {about['maximum']}"
    else:
        wanted = _KINDS[about["type"]]
    return f"must be {wanted}, not {shown(value)}"


def _unknown(name: str, key: Key, properties: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    if key and name in known["properties"]:
        return "does not belong here, but at the top, above the first line in square brackets"
    near = get_close_matches(name[:_LONGEST_SHOWN], properties, n=1)
    return f"there is no such key; {f'{near[0]}?' if near else 'there are: ' + ', '.join(properties)}"


def _too_big(value: Any, key: Key) -> Iterator[Mistake]:
    """Integers that TOML does not have, and that Python may refuse to print."""
    if isinstance(value, int) and not -_BIGGEST <= value < _BIGGEST:
        yield key, "a number of more than 64 bits"
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in rows:
        yield from _too_big(inner, (*key, part))


def _order(key: Key) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in key]


def _twice(found: Mapping[str, Any]) -> list[Mistake]:
    """Numbers and names that two phases share, and calls that are said to be exact and to vary."""
    phases = found.get("phase")
    rows = [row if isinstance(row, dict) else {} for row in phases] if isinstance(phases, list) else []
    mistakes: list[Mistake] = []
    for what in ("number", "name"):
        first: dict[str | int, int] = {}
        for index, row in enumerate(rows):
            value = row.get(what)
            if isinstance(value, str | int) and first.setdefault(value, index) != index:
                mistakes.append((("phase", index, what), f"{shown(value)} is phase[{first[value]}]'s already"))
    for index, row in enumerate(rows):
        calls, varies = row.get("calls"), row.get("varies")
        if isinstance(calls, dict) and isinstance(varies, list):
            both = [at for at, name in enumerate(varies) if isinstance(name, str) and name in calls]
            mistakes += [(("phase", index, "varies", at), f"{varies[at]} is in calls as well") for at in both]
    return mistakes


def _files(folder: Path, found: Mapping[str, Any]) -> Iterator[Mistake]:
    """Sources that are not there, or are not what can be compiled."""
    package, systems = found.get("source"), found.get("system_sources")
    files = package.get("file") if isinstance(package, dict) else None
    fetched = {row.get("name") for row in files if isinstance(row, dict)} if isinstance(files, list) else set()
    lists: list[tuple[Key, Any]] = [(("sources",), found.get("sources"))]
    if isinstance(systems, dict):
        lists += [(("system_sources", system), sources) for system, sources in systems.items()]
    for key, sources in lists:
        for index, name in enumerate(sources if isinstance(sources, list) else []):
            if isinstance(name, str) and name not in fetched and folders.PLAIN.fullmatch(name):
                why = folders.trouble(folder, name)
                if why:
                    yield (*key, index), f"{name} {why}"


def _text(folder: Path) -> str:
    why = folders.trouble(folder, NAME, MOST_BYTES)
    if why:
        raise _refused([f"{folder / NAME} {why}"])
    content = (folder / NAME).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused([f"{folder / NAME}:{line}: a byte that is no UTF-8"]) from error


def _position(said: str, text: str) -> str:
    """Give :LINE:COLUMN: and what is wrong there, of what tomllib says."""
    found = _AT.search(said)
    if not found:
        return f": {said[:200]}"
    if found[3]:
        lines = text.rstrip().splitlines() or [""]
        return f":{len(lines)}:{len(lines[-1]) + 1}: {said[: found.start()]}"
    return f":{found[1]}:{found[2]}: {said[: found.start()]}"


def _named(key: Key) -> str:
    """Give a key as in phase[2].ops; nothing for the whole document."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_bare(part)}" for part in key]
    return f"{''.join(parts).removeprefix('.')}: " if key else ""


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else shown(name)


def shown(value: Any) -> str:
    """Give a value as TOML has it, short and safe to print."""
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "..."
        return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    return str(value)


def _refused(lines: list[str]) -> AppBuild:
    if len(lines) == 1:
        return AppBuild(lines[0], hint=_HINT)
    first, more = lines[:_MOST_SHOWN], len(lines) - _MOST_SHOWN
    others = f"and {more} {'or more ' if len(lines) >= _MOST else ''}others"
    text = "\n".join([f"{len(lines)} mistakes", *first, *([others] if more > 0 else [])])
    return AppBuild(text, hint=_HINT)
