"""Price lists: those that come with weaklink are sourced, and what is wrong with one is said by file and key."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis import prices
from analysis.prices import CLASSES, INSTRUCTION, STRING_BYTES
from profiler.errors import UsageError

GOOD = """
machine = "Toy"

[sources.manual]
what = "The toy's manual"
address = "https://example.org/manual"

[price.instruction]
low = 0.5
high = 2
sources = ["manual"]
says = "half a cycle to two"
"""


def written(folder: Path, text: str) -> Path:
    place = folder / "toy.toml"
    place.write_text(text, encoding="utf-8")
    return place


def test_there_are_machines_of_several_makers() -> None:
    assert prices.names() == ["icelake-sp", "skylake-sp", "zen2", "zen3"]


@pytest.mark.parametrize("name", prices.names())
def test_a_list_that_comes_with_weaklink_says_where_each_price_is_from(name: str) -> None:
    found = prices.load(name)
    assert found.name == name
    for of, price in found.prices.items():
        assert 0 <= price.low <= price.high, of
        assert price.low > 0 or price.high < math.inf, of
        assert price.sources, of
        assert all(source in found.sources for source in price.sources), of
        assert any(digit in price.says for digit in "0123456789"), f"{name}: {of}: no figure of the source"
    lows, highs = found.ends
    assert (lows <= highs).all()
    assert lows[CLASSES.index(INSTRUCTION)] > 0
    assert math.isfinite(highs[CLASSES.index(INSTRUCTION)])
    assert math.isfinite(highs[CLASSES.index(STRING_BYTES)])


@pytest.mark.parametrize("name", prices.names())
def test_prices_are_in_the_order_of_classes_and_none_is_known_of_a_halt(name: str) -> None:
    with (prices.HERE / f"{name}.toml").open("rb") as file:
        written_order = [line.decode()[7:-2] for line in file if line.startswith(b"[price.")]
    assert written_order == [of for of in CLASSES if of in written_order]
    assert "hlt" not in written_order  # it takes until the next interrupt


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    text = GOOD + '[price.string_bytes]\nlow = 0.5\nhigh = 32\nsources = ["manual"]\nsays = "bytes per cycle"\n'
    text += '[price.lock]\nlow = 20\nsources = ["manual"]\nsays = "at least 20"\nmeasured_on = "Toy 0"\n'
    text += '[price.int]\nhigh = 600\nsources = ["manual"]\nsays = "at most 600"\n'
    found = prices.load(str(written(tmp_path, text)))
    assert (found.name, found.machine) == ("toy", "Toy")
    assert found.sources["manual"].address == "https://example.org/manual"
    lows, highs = found.ends
    ends = dict(zip(CLASSES, zip(lows, highs, strict=True), strict=True))
    assert ends[INSTRUCTION] == (0.5, 2)
    assert ends[STRING_BYTES] == (1 / 32, 2)  # cycles for a byte
    assert ends["lock"] == (20, math.inf)
    assert ends["int"] == (0, 600)
    assert ends["wrmsr"] == (0, math.inf)  # not in the list: anything
    assert found.prices["lock"].measured_on == "Toy 0"
    assert np.isfinite(highs).sum() == 3


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('machine = "Toy"', "", "machine: is missing"),
        ('machine = "Toy"', "machine = 3", "machine: 3 is no text"),
        ('machine = "Toy"', 'machine = " "', "machine: ' ' is no text"),
        ('machine = "Toy"', 'machine = "Toy"\nclock = 3', "clock: unknown; there are machine, price, sources"),
        ("[sources.manual]", "[sources]", "sources.what: must be a table"),
        ('what = "The toy\'s manual"', "", "sources.manual.what: is missing"),
        ("https://example.org", "example.org", "sources.manual.address: 'example.org/manual' is no address"),
        ("address =", "page = 3\naddress =", "sources.manual.page: unknown; there are address, what"),
        ("[price.instruction]", "[price]", "price.low: there is no such class; there are instruction, string_bytes, "),
        ("[price.instruction]", "[price.syscal]", "price.syscal: there is no such class"),
        ("[price.instruction]", "[price.lock]", "price.instruction: is missing; nothing can be modelled without it"),
        ("low = 0.5", "lo = 0.5", "price.instruction.lo: unknown; there are high, low, measured_on, says, sources"),
        ("low = 0.5", "low = 3", "price.instruction: low (3) is above high (2)"),
        ("low = 0.5\nhigh = 2", "", "price.instruction: has neither low nor high"),
        ("low = 0.5", 'low = "0.5"', "price.instruction.low: '0.5' is not a number above 0"),
        ("low = 0.5", "low = 0", "price.instruction.low: 0 is not a number above 0"),
        ("low = 0.5", "low = -1", "price.instruction.low: -1 is not a number above 0"),
        ("low = 0.5", "low = nan", "price.instruction.low: nan is not a number above 0"),
        ("low = 0.5", "low = true", "price.instruction.low: True is not a number above 0"),
        ("high = 2", "high = inf", "price.instruction.high: inf is not a number above 0"),
        ('sources = ["manual"]', "", "price.instruction.sources: must be a list"),
        ('sources = ["manual"]', "sources = []", "price.instruction.sources: must be a list"),
        ('sources = ["manual"]', 'sources = ["manuel"]', "price.instruction.sources: there is no [sources.manuel]"),
        ('sources = ["manual"]', "sources = [[1]]", "price.instruction.sources: there is no [sources.[1]]"),
        ('says = "half a cycle to two"', "", "price.instruction.says: is missing"),
        ('says = "half a cycle to two"', "says = 'x'\n[sources.b]\nwhat='x'\naddress='http://b'",
         "sources.b: no price names it"),
        ("low = 0.5", "low =", "not TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_file_and_key(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    assert was in GOOD
    place = written(tmp_path, GOOD.replace(was, becomes))
    with pytest.raises(UsageError) as raised:
        prices.load(str(place))
    assert str(raised.value).startswith(f"{place}: {said}")


def test_a_list_without_prices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"toy\.toml: sources: is missing"):
        prices.read(written(tmp_path, 'machine = "Toy"'))
    with pytest.raises(UsageError, match=r"toy\.toml: price: must be a table"):
        prices.read(written(tmp_path, 'machine = "Toy"\nprice = 3\nsources = {}'))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no price list 'pentium'"):
        prices.load("pentium")
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        prices.load(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        prices.load(str(tmp_path / "folder.toml"))


def test_a_file_that_is_no_text_or_too_large(tmp_path: Path) -> None:
    place = tmp_path / "toy.toml"
    place.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        prices.load(str(place))
    place.write_bytes(b"#" * (prices.LARGEST + 1))
    with pytest.raises(UsageError, match="larger than"):
        prices.load(str(place))
