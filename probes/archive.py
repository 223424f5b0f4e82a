"""Many recordings in one small file: for keeping, sending, and the ones that come with weaklink.

A zip file of ``recordings.json`` (manifests, consoles and places) and one Parquet file per table, in which a column
``recording`` says whose row it is.  Rows are sorted so that what is the same in all seeds lies together, and are left
to the zip file's LZMA to compress: a tenth of the recordings' own files.  It is read as untrusted input, like them.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from probes import recording, tables
from probes.manifest import check_manifest
from probes.recording import CONSOLE, CONSOLE_BYTES, Recording
from probes.tables import TABLES
from profiler.errors import DiskFull, RecordingInvalid, UsageError, no_room

SUFFIX: Final = ".recordings"
_LIST: Final = "recordings.json"
_MOST: Final = 10_000
_BYTES: Final = 1 << 30
"""The most that a member of an archive may unpack to."""
_TABLE_BYTES: Final = 4 << 30
"""The most that a table may take in memory: a value that repeats a billion times is a few bytes in the file."""
_LONGEST_PLACE: Final = 1000
_LONGEST_NAME: Final = 255  # bytes, of a file on any system
_OWNER: Final = pa.field("recording", pa.int16(), nullable=False)
_HINT: Final = "Pack the recordings again: weaklink pack DIR --out FILE"


@dataclass(frozen=True)
class Packed(Recording):
    """A recording in an archive; ``directory`` is the archive with the recording's place in it, for messages."""

    tables: Callable[[str], pa.Table] = field(repr=False, compare=False)
    number: int
    console: bytes = field(repr=False)

    def batches(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See ``Recording.batches``; an archive's tables are in memory anyway."""
        yield from self.table(name, columns).to_batches(recording.BATCH)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """See ``Recording.table``."""
        whole = self.tables(name)
        mine = whole.filter(pc.equal(whole[_OWNER.name], self.number)).drop_columns([_OWNER.name])
        tables.check_rows(mine.num_rows, name)
        tables.check_keys(mine, name, f"{self.directory} ({name})")
        mine = mine if columns is None else mine.select(list(columns))
        # The names of other recordings are none of this one's.
        plain = pa.schema([pa.field(f.name, tables.plain(f.type), f.nullable) for f in mine.schema])
        again = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in mine.cast(plain).columns]
        return pa.table(again, schema=pa.schema([f.with_type(c.type) for f, c in zip(plain, again, strict=True)]))


def write(file: Path, recordings: Sequence[Recording], root: Path, *, events: Collection[int] | None = None) -> None:
    """Put recordings at or below ``root`` into ``file``, replacing it whole or not at all.

    ``events`` keeps those of the phases of these numbers in one recording per guest (the first seed), and no others: a
    window of a second has a million of them.  None keeps all.  Raises ``DiskFull``, and ``RecordingInvalid`` if a
    recording cannot be read.
    """
    described: list[dict[str, Any]] = []
    rows: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    seen: set[str] = set()
    for number, one in enumerate(recordings):
        kept = one.events_kept
        if events is not None:
            wanted = set(events) if one.spec not in seen else set()
            kept = frozenset(wanted if kept is None else wanted & kept)
            seen.add(one.spec)
        manifest: dict[str, Any] = {**one.manifest}
        if kept is not None:
            manifest["events_kept"] = sorted(kept)
        described.append({
            "place": one.directory.relative_to(root).as_posix(), "manifest": manifest,
            "console": _console(one).decode("latin-1"),
        })  # fmt: skip
        for name, parts in rows.items():
            table = one.table(name)
            if name == "events" and kept is not None:
                table = _of_phases(table, kept)
            table = table.cast(TABLES[name])
            owner = pa.array([number] * table.num_rows, _OWNER.type)
            parts.append(table.add_column(0, _OWNER, owner))
    text = json.dumps(described, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as half:
            try:
                with zipfile.ZipFile(half, "w", zipfile.ZIP_LZMA) as archive:
                    archive.writestr(_member(_LIST), text)
                    for name, parts in rows.items():
                        archive.writestr(_member(f"{name}.parquet"), _packed(name, pa.concat_tables(parts)))
                half.flush()
                os.fsync(half.fileno())
                os.chmod(half.name, 0o644)
                os.replace(half.name, file)
            except BaseException:
                os.unlink(half.name)
                raise
    except OSError as error:
        if no_room(error):
            raise DiskFull(f"no room left for {file}", hint="Make room, then repeat the same command.") from error
        raise


def read(file: Path) -> list[Recording]:
    """The recordings in an archive; tables are unpacked when the first of them is asked for one.

    Raises ``RecordingInvalid`` for a file that is no archive, a damaged one, or one that unpacks to too much.
    """
    try:
        described = json.loads(_read_member(file, _LIST), parse_constant=recording.no_constant)
    except (ValueError, RecursionError) as error:
        raise RecordingInvalid(f"{file}: its list of recordings cannot be read: {error}"[:500], hint=_HINT) from error
    if not isinstance(described, list) or not 0 < len(described) <= _MOST:
        _refuse(file, "has no list of recordings")
    unpacked: dict[str, pa.Table] = {}

    def unpacked_once(name: str) -> pa.Table:
        if name not in unpacked:
            unpacked[name] = _unpacked(file, name, len(described))
        return unpacked[name]

    found: list[Recording] = []
    for number, entry in enumerate(described):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("place", "console")):
            _refuse(file, f"does not describe recording {number}")
        if not _is_place(entry["place"]):
            _refuse(file, f"has no place for recording {number}")
        try:
            manifest = check_manifest(entry.get("manifest"))
        except RecordingInvalid as error:
            raise RecordingInvalid(f"{file / entry['place']}: {error}"[:500], hint=_HINT) from error
        console = entry["console"].encode("latin-1", "replace")[:CONSOLE_BYTES]
        found.append(Packed(file / entry["place"], manifest, unpacked_once, number, console))
    places = {one.directory for one in found}
    if len(places) < len(found) or any(above in places for place in places for above in place.parents):
        _refuse(file, "has two recordings in one place")
    return found


def _is_place(text: str) -> bool:
    """Whether a recording may be put there, below whatever directory: no name in it leads elsewhere, or does harm."""
    parts = Path(text).parts
    return (
        bool(parts) and text.isprintable() and not Path(text).is_absolute() and ".." not in parts
        and len(text) <= _LONGEST_PLACE and all(len(part.encode()) <= _LONGEST_NAME for part in parts)
    )  # fmt: skip


def unpack(file: Path, root: Path) -> list[Path]:
    """Write the recordings of an archive below ``root``, each whole or not at all; their directories.

    Raises ``RecordingInvalid``, ``DiskFull``, and ``UsageError`` if one of the directories is there already.
    """
    found = read(file)
    places = [root / one.directory.relative_to(file) for one in found]
    if there := [place for place in places if place.exists()]:
        raise UsageError(f"{there[0]} is there already", hint="unpack into an empty directory")
    for one, place in zip(found, places, strict=True):
        recording.write(place, one.manifest, {name: one.table(name) for name in TABLES}, _console(one))
    return places


def _console(one: Recording) -> bytes:
    if isinstance(one, Packed):
        return one.console
    path = one.directory / CONSOLE
    return path.read_bytes()[:CONSOLE_BYTES] if path.is_file() else b""


def _of_phases(events: pa.Table, phases: frozenset[int]) -> pa.Table:
    """The events from the begin to the end of some phases.  Times stay as they were."""
    import numpy as np

    kinds = pc.cast(events["kind"], pa.string())
    numbers = events["value"].to_numpy()
    wanted = np.isin(numbers, sorted(phases))
    begins = np.flatnonzero(pc.equal(kinds, "phase-begin").to_numpy() & wanted)
    ends = np.flatnonzero(pc.equal(kinds, "phase-end").to_numpy() & wanted)
    inside = np.zeros(events.num_rows + 1, dtype=np.int64)
    inside[begins] += 1
    inside[ends + 1] -= 1
    return events.filter(pa.array(np.cumsum(inside)[:-1] > 0))


def _packed(name: str, table: pa.Table) -> bytes:
    """A table of all recordings as Parquet: sorted by what it is about, and then by whose it is."""
    about = {"ledger": ("phase", "operation", "layer", "function", "role", "space"), "calls": ("phase", "operation")}
    plain = [pa.field(f.name, tables.plain(f.type), f.nullable) for f in table.schema]
    table = table.cast(pa.schema(plain))
    keys = [*about.get(name, ()), _OWNER.name]
    if name in about:
        table = table.sort_by([(key, "ascending") for key in keys])
    # Dictionaries for what repeats; plain numbers compress best as they are.
    repeats = [f.name for f in table.schema if pa.types.is_string(f.type)] + [_OWNER.name]
    target = io.BytesIO()
    pq.write_table(table, target, compression="none", use_dictionary=repeats, store_schema=False)
    return target.getvalue()


def _unpacked(file: Path, name: str, recordings: int) -> pa.Table:
    where = f"{file} ({name})"

    def check(packed: pq.ParquetFile) -> None:
        unpacked, rows = tables.unpacked_bytes(packed.metadata), tables.rows_of(packed.metadata)
        if unpacked > _BYTES:
            _refuse(file, f"has a table {name} of {unpacked:,} bytes")
        schema = packed.schema_arrow
        if schema.names[:1] != [_OWNER.name] or schema.field(0).type != _OWNER.type:
            _refuse(file, f"does not say whose the rows of {name} are")
        tables.check_columns(schema.remove(0), name, where)
        if rows * _row_bytes(name) > _TABLE_BYTES:
            _refuse(file, f"has a table {name} of {rows:,} rows")

    content = pa.py_buffer(_read_member(file, f"{name}.parquet"))
    with tables.opened(content, name, where, _HINT, check) as packed:
        table = tables.unified(packed.read())
        tables.check_values(table.drop_columns([_OWNER.name]), name, where)
    owners = pc.min_max(table[_OWNER.name]).as_py()
    if table.num_rows and (table[_OWNER.name].null_count or owners["min"] < 0 or owners["max"] >= recordings):
        _refuse(file, f"has rows of {name} that are nobody's")
    return table


def _row_bytes(name: str) -> int:
    """Bytes of a row in memory; a string is a number there, of an entry in a dictionary."""
    widths = [column.type.bit_width // 8 if pa.types.is_integer(column.type) else 4 for column in TABLES[name]]
    return int(sum(widths)) + int(_OWNER.type.bit_width) // 8


def _read_member(file: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(name)
            if info.file_size > _BYTES:
                _refuse(file, f"has a member {name} of {info.file_size:,} bytes")
            with archive.open(info) as member:
                data = member.read(info.file_size + 1)
            if len(data) != info.file_size:
                _refuse(file, f"has a member {name} of another size than it says")
            return data
    except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise RecordingInvalid(f"{file} is no archive of recordings, or a damaged one: {error}"[:500],
                               hint=_HINT) from error  # fmt: skip
    except Exception as error:  # lzma.LZMAError, which only exists where Python was built with it
        raise RecordingInvalid(f"{file} is damaged: {error}"[:500], hint=_HINT) from error


def _member(name: str) -> zipfile.ZipInfo:
    """A member without the time it was written: the same recordings make the same file."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_LZMA
    return info


def _refuse(file: Path, why: str) -> NoReturn:
    raise RecordingInvalid(f"{file} {why}", hint=_HINT)
