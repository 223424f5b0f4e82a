"""Keys of a TOML document and the lines that they are on, however it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.apps.places import Path, Places
from tests.conftest import ROOT

TOML = sorted(path for top in ("images", "probes", "analysis", "tests") for path in (ROOT / top).rglob("*.toml"))


def every(value: Any, key: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All places of a document, and what is there."""
    if key:
        yield key, value
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in rows:
        yield from every(inner, (*key, name))


@pytest.mark.parametrize("path", TOML, ids=lambda path: str(path.relative_to(ROOT)))
def test_all_places_of_a_document_are_found(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert Places(text).paths() == {key for key, _ in every(tomllib.loads(text))}


ODD = '''\
# [not] = "a table"
a.b . "c.d"	= 1 # dotted
'e#f' = "# no comment ] = \\" [x]"
"\\u00e9\\"" = 3
é\u0301 = 1
text = """
[header]
k = 1 \\""" no end
"""""
raw = \'\'\'
x = '
\'\'\'
many = [ # with
  1, [2,
  3], # comments ]
  { x = 1, y.z = "}" },
  "]", \'\'\'
\'\'\',
  7,
]
when = 1979-05-27 07:32:00 # a date with a space
inline = { a = [ 1,
  2 ], b = {} }

	[ t . "u v" ]
key = +inf
[[list]]
k = 1
[list.sub]
k = 2
	[[list.inner]]
	k = 3
	[[list.inner]]
	k = 4
[[list]]
[[list.inner]]
k = 5'''.replace("é\u0301 = 1\n", "utf = 'é😀'\n")

LINES: dict[Path, int] = {
    ("a",): 2, ("a", "b"): 2, ("a", "b", "c.d"): 2, ("e#f",): 3, ('é"',): 4, ("utf",): 5, ("text",): 6, ("raw",): 10,
    ("many",): 13, ("many", 0): 14, ("many", 1): 14, ("many", 1, 0): 14, ("many", 1, 1): 15, ("many", 2): 16,
    ("many", 2, "x"): 16, ("many", 2, "y"): 16, ("many", 2, "y", "z"): 16, ("many", 3): 17, ("many", 4): 17,
    ("many", 5): 19, ("when",): 21, ("inline",): 22, ("inline", "a"): 22, ("inline", "a", 0): 22,
    ("inline", "a", 1): 23, ("inline", "b"): 23, ("t",): 25, ("t", "u v"): 25, ("t", "u v", "key"): 26,
    ("list",): 27, ("list", 0): 27,
    ("list", 0, "k"): 28, ("list", 0, "sub"): 29, ("list", 0, "sub", "k"): 30, ("list", 0, "inner"): 31,
    ("list", 0, "inner", 0): 31, ("list", 0, "inner", 0, "k"): 32, ("list", 0, "inner", 1): 33,
    ("list", 0, "inner", 1, "k"): 34, ("list", 1): 35, ("list", 1, "inner"): 36, ("list", 1, "inner", 0): 36,
    ("list", 1, "inner", 0, "k"): 37,
}  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_key_has_its_line(newline: str) -> None:
    text = ODD.replace("\n", newline)
    places = Places(text)
    assert places.paths() == {key for key, _ in every(tomllib.loads(text))} == LINES.keys()
    assert {key: places.line(key) for key in LINES} == LINES
    assert places.line(("list", 1, "missing")) == 35
    assert places.line(("nothing",)) == 1


_VALUES = st.sampled_from(
    ["1", "'#'", '"]"', '"""\n[x]\n"""', "'''\n\n'''", "[\n1,\n]", "{ a = 1 }", "[{ b = '''\n''' }, [] ]",
     "1979-05-27 07:32:00", '"""a""\\""""', '"""""""', '"\\\\"', "''", "-nan"]
)  # fmt: skip
_KEYS = st.sampled_from(["k{0}", '"k {0}"', "'k.{0}'", "k{0}.x", '"k{0}" . "="', "k-{0}"])
_BETWEEN = st.sampled_from(["", "# [c]", "\n", " \t# k = '''", "[t{0}]", "[[r]]", "[[ t{0}.'r' ]]", "[r{0}.s]"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_BETWEEN, _KEYS, _VALUES), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_lines_of_documents_of_any_make(rows: list[tuple[str, str, str]], newline: str) -> None:
    """Each value is put behind a key that holds its number; what line that is on is known from how it was written."""
    text, lines = "", {}
    for number, (between, key, value) in enumerate(rows):
        text += between.format(number) + "\n"
        lines[number] = text.count("\n") + 1
        text += f"{key.format(number)} = {value}\n"
    text = text.replace("\n", newline)
    places = Places(text)
    assert places.paths() == {key for key, _ in every(tomllib.loads(text))}
    for path in places.paths():
        named = [part for part in path if isinstance(part, str) and part.startswith("k")]
        if len(named) == 1 and path[-1] == named[0]:
            number = int("".join(filter(str.isdigit, named[0])))
            assert places.line(path) == lines[number]
