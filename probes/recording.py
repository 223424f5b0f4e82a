"""A recording on disk: written whole or not at all, and read as untrusted input.

The layout and the schemas are those of ``probes.events``; the manifest is declared in
``probes.manifest``.  ``docs/recording.md`` says what is checked, and when.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from probes.calls import Counter, count
from probes.events import EVENTS
from probes.manifest import AGAIN, Manifest, check_manifest
from probes.tables import (
    TABLES,
    check_columns,
    check_keys,
    check_rows,
    check_values,
    opened,
    rows_of,
    unified,
    unpacked_bytes,
)  # fmt: skip
from profiler.errors import DiskFull, RecordingInvalid, no_room

if typing.TYPE_CHECKING:
    import pandas as pd

MANIFEST: Final = "manifest.json"
CONSOLE: Final = "console.log"
SUMS: Final = "SHA256SUMS"
"""The digests of all other files, as sha256sum writes them: against damage, not against somebody who wants to lie."""
CONSOLE_BYTES: Final = 16 << 20
"""The guest's console is kept up to here; what comes later is cut off."""
MANIFEST_BYTES: Final = 8 << 20
_NEEDED: Final = ("ledger", "phases", "calls", "events")
BATCH: Final = 1 << 17
"""Rows that ``Recording.batches`` reads at a time."""
GROUP: Final = 1 << 20
"""Rows of events that are written at a time, where they come as a table."""
FILE_BYTES: Final = 4 << 30
"""The largest table, packed or unpacked."""
_SUMS_BYTES: Final = 1 << 16

_PACKED_EVENTS: Final[Mapping[str, Any]] = types.MappingProxyType({
    "compression": "zstd", "compression_level": 3,
    "use_dictionary": [column for column in EVENTS.names if column != "time"],
    "column_encoding": {"time": "DELTA_BINARY_PACKED"},  # times grow by little
    "write_statistics": ["time"],  # of the others nobody asks
})  # fmt: skip

# -- writing ----------------------------------------------------------------------------------------------------------


def write(
    directory: Path,
    manifest: Mapping[str, Any],
    tables: Mapping[str, pa.Table | pa.RecordBatchReader],
    console: bytes,
) -> None:
    """Put a recording at ``directory``, whole or not at all, replacing what is there.

    ``tables`` are ledger, phases, events, and what else there is; tables not given are empty.  Events may be a reader:
    each of its batches is a row group, and one is in memory at a time.  Calls are counted here unless they are given,
    which they must be where not all events are.  It is written beside its place, synced and renamed.  Raises
    ``RecordingInvalid`` if manifest or tables are not as declared, ``DiskFull`` if there is no room (and leaves nothing
    behind), and what a reader raises.
    """
    lost = bool(check_manifest(dict(manifest))["probe"]["lost_events"])
    if not set(_NEEDED) <= set(tables) | {"calls"} <= set(TABLES):
        raise RecordingInvalid(f"a recording has the tables {', '.join(TABLES)}, not {', '.join(sorted(tables))}")
    given = {name: tables[name] if name in tables else schema.empty_table() for name, schema in TABLES.items()}
    for name, table in given.items():
        check_columns(table.schema, name, f"table {name}")
        if isinstance(table, pa.Table):
            check_rows(table.num_rows, name)
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    if len(text) > MANIFEST_BYTES:
        raise RecordingInvalid(f"the manifest has {len(text):,} bytes, more than {MANIFEST_BYTES:,}")
    half: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        half.chmod(0o755)  # mkdtemp's 0700 would keep other users from reading the result
        with _synced(half / CONSOLE) as file:
            file.write(console[:CONSOLE_BYTES])
        calls = _write_events(half / "events.parquet", given.pop("events"), lost=lost, counted="calls" not in tables)
        for name, table in (given | ({} if calls is None else {"calls": calls})).items():
            with _synced(half / f"{name}.parquet") as file:
                pq.write_table(table.cast(TABLES[name]), file, compression="zstd", compression_level=3)
        with _synced(half / MANIFEST) as file:
            file.write(text)
        with _synced(half / SUMS) as file:
            file.write("".join(f"{_digest(path)}  {path.name}\n" for path in _files(half)).encode())
        _sync_directory(half)
        _rename(half, directory)
        _sync_directory(directory.parent)
    except OSError as error:
        if no_room(error):
            raise DiskFull(
                f"no room left for the recording {directory}", hint="Make room, then repeat the same command."
            ) from error
        raise
    finally:
        if half is not None:
            shutil.rmtree(half, ignore_errors=True)


def _write_events(path: Path, events: pa.Table | pa.RecordBatchReader, *, lost: bool, counted: bool) -> pa.Table | None:
    """Write the events, a row group at a time, and give the table CALLS if they are to be ``counted``.

    Where events were ``lost`` the last phase may have no end.
    """
    # Reader errors keep their type only where Python reads: pyarrow's own writer of a reader would wrap them.
    pieces = events if isinstance(events, pa.RecordBatchReader) else _slices(events.cast(EVENTS))
    counter, rows = Counter(), 0
    with _synced(path) as file, pq.ParquetWriter(file, EVENTS, **_PACKED_EVENTS) as writer:
        for batch in pieces:
            rows += batch.num_rows
            check_rows(rows, "events")
            if counted:
                counter.add(batch)
            writer.write_batch(batch)
    return counter.table(cut=lost) if counted else None


def _slices(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """A table's rows, as many at a time as are a row group; dictionaries are one."""
    table = table.unify_dictionaries()
    for begin in range(0, table.num_rows, GROUP):
        yield table.slice(begin, GROUP).combine_chunks().to_batches()[0]


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name != SUMS)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(half: Path, directory: Path) -> None:
    """Put ``half`` in place.  rename(2) replaces an empty directory only, so a full one is moved aside first."""
    if not directory.exists():
        half.rename(directory)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.old.", dir=directory.parent))
    try:
        directory.rename(aside / "old")
        try:
            half.rename(directory)
        except BaseException:
            (aside / "old").rename(directory)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """One recording.  Tables are read when they are asked for, and only the columns asked for.

    Names in it come from a guest: pass them through ``analysis.views.escape`` before they are shown.
    """

    directory: Path
    manifest: Manifest

    @property
    def spec(self) -> str:
        """The guest as it was asked for, as in ``linux+audit=1``."""
        return self.manifest["guest"]["spec"]

    @property
    def events_kept(self) -> frozenset[int] | None:
        """The phases whose events are there; None if all are."""
        kept = self.manifest.get("events_kept")
        return None if kept is None else frozenset(kept)

    @property
    def seed(self) -> int:
        """The number of the seed."""
        return self.manifest["seed"]["number"]

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """The table LEDGER; its strings are categories."""
        return self.frame("ledger")

    @cached_property
    def phases(self) -> pd.DataFrame:
        """The table PHASES."""
        return self.frame("phases")

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The table CALLS."""
        return self.frame("calls")

    @cached_property
    def events(self) -> pd.DataFrame:
        """The table EVENTS; its strings are categories.  For large windows prefer ``frame`` with columns."""
        return self.frame("events")

    def counted(self) -> pd.DataFrame:
        """The table CALLS, counted once more from the events that are there."""
        cut = bool(self.manifest["probe"]["lost_events"])
        frame: pd.DataFrame = count(self.batches("events", ["kind", "name", "value"]), cut=cut).to_pandas()
        return frame

    def frame(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A table as a data frame; see ``table``."""
        import pandas as pd

        # Whole numbers stay whole where some are null.
        frame: pd.DataFrame = self.table(name, columns).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        plain = {column: "int64" for column in frame if frame[column].dtype == "Int64" and not frame[column].hasnans}
        return frame.astype(plain)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One of TABLES by its name (or some of its columns), strings as dictionaries.

        Raises ``RecordingInvalid`` if the file is damaged, too large, or not of the declared schema.
        """
        with self._opened(name) as file:
            table = unified(file.read(columns=None if columns is None else list(columns)))
            check_values(table, name, str(self.directory / f"{name}.parquet"))
            check_keys(table, name, str(self.directory / f"{name}.parquet"))
        return table

    def batches(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of ``table``, a piece at a time: a table of any size, in little memory.

        Each piece has dictionaries of its own.  Raises as ``table`` does, when the piece is reached that is wrong.
        """
        with self._opened(name) as file:
            wanted = None if columns is None else list(columns)
            for group in range(file.metadata.num_row_groups):  # several at once would be read ahead, all of them
                for batch in file.iter_batches(BATCH, row_groups=[group], columns=wanted, use_threads=False):
                    check_values(unified(pa.Table.from_batches([batch])), name, str(self.directory / f"{name}.parquet"))
                    yield batch

    def _opened(self, name: str) -> contextlib.AbstractContextManager[pq.ParquetFile]:
        path = self.directory / f"{name}.parquet"

        def check(file: pq.ParquetFile) -> None:
            check_columns(file.schema_arrow, name, path.name)
            check_rows(rows_of(file.metadata), name)
            unpacked = unpacked_bytes(file.metadata)
            if unpacked > FILE_BYTES:
                raise RecordingInvalid(
                    f"table {name} unpacks to {unpacked:,} bytes, more than {FILE_BYTES:,}", hint=AGAIN
                )
            check_whole(path)

        return opened(path, name, str(path), AGAIN, check)


def read(directory: Path) -> Recording:
    """The recording at ``directory``: manifest checked, all files present; tables are checked when they are read."""
    path = directory / MANIFEST
    if lacking := missing(directory):
        raise RecordingInvalid(f"{directory} is not a recording, or half of one: no {', '.join(lacking)}", hint=AGAIN)
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise RecordingInvalid(f"{path} is larger than {MANIFEST_BYTES:,} bytes", hint=AGAIN)
        value = json.loads(path.read_bytes(), parse_constant=no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingInvalid(f"{path} cannot be read: {error}"[:500], hint=AGAIN) from error
    try:
        found = Recording(directory, check_manifest(value))
        check_whole(path)
        return found
    except RecordingInvalid as error:
        raise RecordingInvalid(f"{directory}: {error}", hint=error.hint) from error


def damaged(directory: Path) -> list[str]:
    """Which files of a recording are not what was written; none where nobody wrote down their digests."""
    found: list[str] = []
    for path in _files(directory) if (directory / SUMS).is_file() else []:
        try:
            check_whole(path)
        except (OSError, RecordingInvalid):
            found.append(path.name)
    return found


def check_whole(path: Path) -> None:
    """Raise ``RecordingInvalid`` if a file of a recording is not what was written, as far as that was written down."""
    sums = path.with_name(SUMS)
    if not sums.is_file():
        return
    if sums.stat().st_size > _SUMS_BYTES:
        raise RecordingInvalid(f"{sums} is larger than {_SUMS_BYTES:,} bytes", hint=AGAIN)
    stat = path.stat()
    digest = _digest_once(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if f"{digest}  {path.name}" not in sums.read_bytes().decode(errors="replace").splitlines():
        raise RecordingInvalid(f"{path} is damaged: its SHA-256 is not that in {SUMS}", hint=AGAIN)


@lru_cache(maxsize=4096)
def _digest_once(path: Path, _inode: int, _size: int, _mtime_ns: int) -> str:
    return _digest(path)


def missing(directory: Path) -> list[str]:
    """Which of its files a recording at ``directory`` lacks."""
    return [name for name in (MANIFEST, *(f"{table}.parquet" for table in TABLES)) if not (directory / name).is_file()]


def find(root: Path) -> list[Path]:
    """The directories at or below ``root`` that hold a manifest, sorted.  Hidden ones (half written) are left out."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        if MANIFEST in files:
            found.append(Path(folder))
            below.clear()
    return sorted(found)


def no_constant(text: str) -> NoReturn:
    """For ``json.loads``, which would read Infinity and NaN."""
    raise ValueError(f"{text} is not a number")
