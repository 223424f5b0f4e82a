"""Recordings and archives of them that somebody else has made: what do their readers, and the verbs, make of them?

``recording`` reads, checks, packs and unpacks; ``verbs`` runs the command line over recordings whose types are right
and whose contents are not.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from probes import archive, recording
from probes.tables import ROWS, STRING_BYTES, TABLES, plain
from profiler.errors import UsageError, WeaklinkError
from tests import synthetic
from tests.fuzz.harness import UNSAFE, Files, Random, Target, told
from tests.fuzz.mutate import BYTES, HOSTILE, number, of_json, one

PACKED: Final = "packed.recordings"
BASE: Final = "base"
VERBS: Final = (
    ("verify", "--all"), ("explain", "--against", "linux"), ("explain", "--against", "linux", "--brief"),
    ("explain", "--against", "linux", "--format", "markdown"), ("explain", "--against", "linux", "--format", "json"),
    ("report", "-o", "page.html"), ("top",), ("top", "--by", "operation", "--format", "csv"), ("top", "--stacks"),
    ("syscalls",), ("syscalls", "--nested", "--format", "json"), ("switches",), ("switches", "--pairs"), ("locks",),
    ("locks", "--stacks"), ("waits",), ("waits", "--graph"), ("waits", "--roots"), ("waits", "--path"),
    ("events",), ("events", "--format", "csv"), ("packets",), ("stacks", "--folded", "--guest", "linux"), ("scale",),
)  # fmt: skip


# -- damage -----------------------------------------------------------------------------------------------------------


def of_table(data: bytes, random: Random, *, kept: bool = False) -> bytes:
    """A Parquet table that is another one, written in another way; with ``kept`` columns and types stay."""
    table = pq.read_table(io.BytesIO(data))
    for _ in range(int(random.integers(1, 4))):
        table = one(random, _CONTENTS if kept or random.random() < 0.6 else _SHAPES)(table, random)
    sink = io.BytesIO()
    with contextlib.suppress(pa.ArrowException):  # not all types can be written
        pq.write_table(
            table, sink, compression=one(random, ("none", "snappy", "gzip", "zstd", "lz4", "brotli")),
            use_dictionary=bool(random.random() < 0.5), data_page_version=one(random, ("1.0", "2.0")),
            row_group_size=one(random, (None, 1, 7)) if table.num_rows < 5000 else None,
            store_schema=bool(random.random() < 0.5), version=one(random, ("1.0", "2.4", "2.6")),
        )  # fmt: skip
        return sink.getvalue()
    return data


def _put(table: pa.Table, at: int, column: Any) -> pa.Table:
    return table.set_column(at, pa.field(table.field(at).name, column.type), column)


def _values(table: pa.Table, random: Random) -> pa.Table:
    """Some values of a column are others."""
    at = int(random.integers(0, table.num_columns))
    column = table.column(at)
    values = column.to_pylist()
    if not values:
        return table
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    some = random.random(len(values)) < random.choice([0, 0.05, 1])
    some[int(random.integers(0, len(values)))] = True
    if pa.types.is_integer(plain):
        width = plain.bit_width
        put: Any = (number(random) + (1 << width - 1)) % (1 << width) - (1 << width - 1)
    elif random.random() < 0.5:  # a word that is one, where another is expected
        put = one(random, values)
    else:
        put = one(random, HOSTILE).encode("utf-8", "surrogatepass")  # no UTF-8, where it is a half of a pair
    changed = [put if wrong else value for wrong, value in zip(some, values, strict=True)]
    if isinstance(put, bytes):
        raw = [value.encode() if isinstance(value, str) else value for value in changed]
        return _put(table, at, pa.array(raw, pa.binary()).view(pa.string()))
    return _put(table, at, pa.array(changed, plain))


def _nulls(table: pa.Table, random: Random) -> pa.Table:
    at = int(random.integers(0, table.num_columns))
    column = table.column(at)
    values = [None if random.random() < 0.3 else value for value in column.to_pylist()]
    return _put(table, at, pa.array(values, column.type))


def _rows(table: pa.Table, random: Random) -> pa.Table:
    """Rows in another order, some of them not, some often."""
    if not table.num_rows:
        return table
    count = int(random.choice([0, 1, table.num_rows, 3 * table.num_rows]))
    return table.take(pa.array(random.integers(0, table.num_rows, min(count, 20_000))))


def _cut(table: pa.Table, random: Random) -> pa.Table:
    begin, end = sorted(random.integers(0, table.num_rows + 1, 2).tolist())
    return table.slice(begin, end - begin)


def _columns(table: pa.Table, random: Random) -> pa.Table:
    """A column is missing, there twice, elsewhere, or has another name."""
    at, what = int(random.integers(0, table.num_columns)), random.random()
    if what < 0.3 and table.num_columns > 1:
        return table.remove_column(at)
    if what < 0.6:
        return table.append_column(one(random, [table.field(at).name, *HOSTILE[:30]]), table.column(at))
    if what < 0.8:
        return table.select(random.permutation(table.num_columns).tolist())
    names = table.schema.names
    names[at] = one(random, HOSTILE[:30])
    return table.rename_columns(names)


def _types(table: pa.Table, random: Random) -> pa.Table:
    """A column of another type."""
    at = int(random.integers(0, table.num_columns))
    values = table.column(at).to_pylist()
    kind = one(random, (
        pa.int8(), pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.bool_(),
        pa.decimal128(38, 2), pa.timestamp("ns"), pa.list_(pa.int64()), pa.struct([("a", pa.list_(pa.string()))]),
        pa.map_(pa.string(), pa.int64()), pa.dictionary(pa.int32(), pa.string()), pa.null(), pa.float16(),
    ))  # fmt: skip
    try:
        return _put(table, at, pa.array(values, kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        empty: Any = [] if pa.types.is_list(kind) or pa.types.is_map(kind) else None
        return _put(table, at, pa.array([empty] * table.num_rows, kind))


_CONTENTS: Final = (_values, _values, _values, _rows, _cut)
_SHAPES: Final = (_nulls, _columns, _types)


def of_zip(data: bytes, random: Random) -> bytes:
    """An archive whose members are damaged, missing, there twice, or packed in another way."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w") as new:
        names = old.namelist()
        wrong = one(random, names)
        for name in names:
            content = old.read(name)
            if name == wrong:
                what = random.random()
                if what < 0.05:
                    continue
                if what < 0.1:
                    content = old.read(one(random, names))
                elif what < 0.3 and content:
                    content = one(random, BYTES)(content, random)
                else:
                    content = of_json(content, random) if name.endswith(".json") else of_table(content, random)
            kind = one(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            new.writestr(zipfile.ZipInfo(name), content, kind)
    return sink.getvalue()


def mutate(files: Files, random: Random, *, kept: bool = False) -> Files:
    """The same files, of which one or two are damaged; seldom one is missing or another one's."""
    files = dict(files)
    for _ in range(int(random.integers(1, 3))):
        name = one(random, sorted(files))
        what = random.random()
        if kept:
            files[name] = of_json(files[name], random) if name.endswith(".json") else of_table(
                files[name], random, kept=True) if name.endswith(".parquet") else files[name]  # fmt: skip
        elif what < 0.02:
            del files[name]
            break
        elif what < 0.04:
            files[name] = files[one(random, sorted(files))]
        elif what < 0.3 and files[name]:
            files[name] = one(random, BYTES)(files[name], random)
        elif name.endswith(".json"):
            files[name] = of_json(files[name], random)
        elif name.endswith(".parquet"):
            with contextlib.suppress(pa.ArrowException, OSError, UnicodeDecodeError):  # it was damaged before
                files[name] = of_table(files[name], random)
        elif name == PACKED:
            with contextlib.suppress(
                zipfile.BadZipFile, zlib.error, lzma.LZMAError, pa.ArrowException, OSError, EOFError
            ):
                files[name] = of_zip(files[name], random)
    return files


# -- what is made of it -----------------------------------------------------------------------------------------------


def check(before: Files, files: Files, place: Path) -> bool:
    """Read what is another than ``before``, in some cases pack and unpack it too; whether all could be read."""
    given, out = place / "given", place / "out"
    for folder in (given, out):
        folder.mkdir()
    for name, data in files.items():
        (given / name).write_bytes(data)
    changed = [
        name for name in TABLES if PACKED in files or files.get(f"{name}.parquet") != before.get(f"{name}.parquet")
    ]
    try:
        found = archive.read(given / PACKED) if PACKED in files else [recording.read(given)]
    except WeaklinkError as error:
        told(error)
        return False
    size = sum(map(len, files.values()))
    if PACKED in files:  # what is wrong with one of its tables is so for all recordings in it
        wrong = [name for name in TABLES if not _table(found[0], name)]
        wrong += [name for name in [list(TABLES)[size % len(TABLES)]] if not _readable(found[-1], name)]
    else:
        wrong = [name for name in changed if not _readable(found[0], name)]
    sound = not wrong
    if size % 4 == 0:
        sound = _packed(found, given / PACKED if PACKED in files else place, out) and sound
    assert {path.name for path in place.iterdir()} == {"given", "out"}
    assert {path.name for path in out.iterdir()} <= {PACKED, "unpacked"}
    return sound


def _packed(found: Sequence[recording.Recording], root: Path, out: Path) -> bool:
    """Pack and unpack recordings: all that can be packed must come back."""
    try:
        archive.write(out / PACKED, found, root)
    except WeaklinkError as error:
        told(error)
        return False
    try:
        places = archive.unpack(out / PACKED, out / "unpacked")
    except UsageError as error:  # two are to go to one place, or to one that cannot be
        told(error)
        return False
    for place, one_of_them in zip(places, found, strict=True):
        again = recording.read(place)
        for name, schema in TABLES.items():
            keys = [(column, "ascending") for column in schema.names] if name in ("ledger", "calls") else []
            words = pa.schema([field.with_type(plain(field.type)) for field in schema])  # whatever their dictionaries
            old, new = (of.table(name).cast(words) for of in (one_of_them, again))
            assert (new.sort_by(keys) if keys else new).equals(old.sort_by(keys) if keys else old), name
    return True


def _table(of: recording.Recording, name: str) -> bool:
    """Whether a table can be read at all."""
    try:
        of.table(name).validate(full=True)
    except WeaklinkError as error:
        told(error)
        return False
    return True


def _readable(of: recording.Recording, name: str) -> bool:
    """Read a table in each way; whether it could be read."""
    schema = TABLES[name]
    try:
        frame = of.frame(name)
        pieces = sum(batch.num_rows for batch in of.batches(name))
        if name == "events":
            of.counted()
    except WeaklinkError as error:
        told(error)
        return False
    assert list(frame) == schema.names, name
    assert len(frame) == pieces <= ROWS[name], name
    for field in schema:
        if pa.types.is_integer(field.type):
            assert str(frame[field.name].dtype).lower().startswith("int"), name
        else:
            assert max(map(len, map(str.encode, frame[field.name].unique())), default=0) <= STRING_BYTES, name
    return True


def verbs(_: object, files: Files, place: Path) -> bool:
    """Run one verb after another over two recordings; whether at least one had an answer."""
    from profiler.cli.main import main

    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    answered = False
    random = np.random.default_rng(sum(map(len, files.values())))
    for words in random.permutation(np.array(VERBS, dtype=object))[:3]:
        arguments = [str(place / word) if word == "page.html" else word for word in words[1:]]
        out, said = io.StringIO(), io.StringIO()
        command = [words[0], str(place), *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = main(command)
            if code == WeaklinkError.exit_code:
                main(["--debug", *command])
        answered |= code == 0
        assert code in (0, 1, 2, 3, 22), f"{words}: {code}: {said.getvalue()[-2000:]}"
        for text in (out.getvalue(), said.getvalue()):
            found = UNSAFE.search(text)
            assert not found, f"{words}: {text[max(0, found.start() - 100) : found.end() + 50]!r}"
    return answered


# -- samples ----------------------------------------------------------------------------------------------------------


def _read(place: Path) -> Files:
    """The files of a recording, but for their digests: who makes one up makes them up as well."""
    return {path.name: path.read_bytes() for path in sorted(place.iterdir()) if path.name != recording.SUMS}


def _small(root: Path) -> list[Path]:
    """Recordings of two guests, small enough to be read a hundred times in a second; one has call stacks."""
    tour = synthetic.tour()
    for phase in tour:
        phase.ops //= 20
    more = synthetic.stacks(("entry_SYSCALL_64", "do_syscall_64", "__x64_sys_getppid"), (10, 20, 30))
    return [
        *synthetic.record(root, "linux", tour, (1, 2)),
        *synthetic.record(root, "linux+audit=1", synthetic.audit(tour), (1,), more),
    ]


def _real(root: Path) -> list[Path]:
    """Real ones, of Linux and its variants."""
    packed = Path(__file__).parent.parent / "golden" / "linux.recordings"
    return archive.unpack(packed, root)


def target(work: Path) -> Target:
    """Cases of single recordings and of archives."""
    places = _small(work / "small")
    real = _real(work / "real")
    archive.write(work / PACKED, [recording.read(place) for place in places], work / "small")
    samples: list[Files] = [_read(places[0]), _read(places[-1]), {PACKED: (work / PACKED).read_bytes()}, _read(real[0])]
    weights = np.array([4, 4, 6, 1]) / 15

    def make(random: Random) -> tuple[Files, Files]:
        sample = samples[int(random.choice(len(samples), p=weights))]
        return sample, mutate(sample, random)

    return Target(make, check)


def verbs_target(work: Path) -> Target:
    """Cases of three recordings, of which one is damaged within its types."""
    small, real = _small(work / "small"), _real(work / "real")
    sets = [
        {place.relative_to(root).as_posix(): _read(place) for place in places}
        for root, places in ((work / "small", small), (work / "real", [real[0], real[-1]]))
    ]

    def make(random: Random) -> tuple[None, Files]:
        chosen = sets[int(random.random() < 0.3)]
        wrong = one(random, sorted(chosen))
        given = {
            place: mutate(files, random, kept=True) if place == wrong else files for place, files in chosen.items()
        }
        return None, {f"{place}/{name}": data for place, files in given.items() for name, data in files.items()}

    return Target(make, verbs)
