"""The tables of a recording as they are read: what each may hold, whatever somebody has put into its file.

The schemas are those of ``probes.events``; ``docs/recording.md`` says what is checked, and when.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from probes.events import CALLS, COSTLY, EVENTS, FRAMES, LEDGER, LOCKS, PHASES, STACKS, THREADS
from probes.manifest import AGAIN
from profiler.errors import RecordingInvalid

STRING_BYTES: Final = 4096
"""The longest name in a table; C++ symbols of unikernels reach about 1 KB."""

TABLES: Final[Mapping[str, pa.Schema]] = types.MappingProxyType(
    {
        "ledger": LEDGER,
        "phases": PHASES,
        "calls": CALLS,
        "events": EVENTS,
        "threads": THREADS,
        "locks": LOCKS,
        "costly": COSTLY,
        "frames": FRAMES,
        "stacks": STACKS,
    }
)
ROWS: Final[Mapping[str, int]] = types.MappingProxyType(
    {
        "ledger": 5_000_000,
        "phases": 200,
        "calls": 200_000,
        "events": 200_000_000,
        "threads": 1_000_000,
        "locks": 1_000_000,
        "costly": 5_000_000,
        "frames": 5_000_000,
        "stacks": 20_000_000,
    }
)
"""The most rows a table may have.  Phase numbers are 0..199; the most events seen in a window were 18 million."""
KEYS: Final[Mapping[str, Sequence[str]]] = types.MappingProxyType({
    "phases": ("number",), "calls": ("phase", "operation"), "threads": ("thread",), "locks": ("address",),
    "frames": ("frame",),
})  # fmt: skip
"""What tells the rows of a table apart."""


@contextlib.contextmanager
def opened(
    source: Path | pa.Buffer, name: str, where: str, hint: str, check: Callable[[pq.ParquetFile], None]
) -> Iterator[pq.ParquetFile]:
    """A Parquet file with the columns of a table of TABLES, if ``check`` lets it pass.

    Raises ``RecordingInvalid``, for what goes wrong while it is read too.
    """

    def place() -> Path | pa.BufferReader:
        return source if isinstance(source, Path) else pa.BufferReader(source)

    try:
        with pq.ParquetFile(place()) as file:  # pyarrow trips over dictionaries of columns that are not there
            check(file)
        # Dictionaries bound what repeated long names can cost in memory.
        with pq.ParquetFile(place(), read_dictionary=strings(name)) as file:
            yield file
    except (OSError, ValueError, LookupError, ArithmeticError, MemoryError, pa.ArrowException) as error:
        raise RecordingInvalid(f"{where} cannot be read: {error}"[:500], hint=hint) from error


def unified(table: pa.Table) -> pa.Table:
    """The table with one dictionary per column; ArrowInvalid if an entry is not there, or is no text.

    Arrow itself believes a file that says that a row is of entry 140 of 3.
    """
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column.validate(full=True)
    return table.unify_dictionaries()


def check_values(table: pa.Table, name: str, where: str) -> None:
    """Raise ``RecordingInvalid`` for a name that is too long or a null where none may be; dictionaries are unified."""
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            for chunk in column.chunks[:1]:  # unified: every chunk has the same dictionary
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
                if longest > STRING_BYTES:
                    raise RecordingInvalid(f"{where} holds a name of {longest:,} bytes", hint=AGAIN)
    for field, column in zip(table.schema, table.columns, strict=True):
        if column.null_count and not TABLES[name].field(field.name).nullable:
            raise RecordingInvalid(f"{where} has rows without a value", hint=AGAIN)


def check_keys(table: pa.Table, name: str, where: str) -> None:
    """Raise ``RecordingInvalid`` unless rows can be told apart, and frames are a tree; as far as the columns are there.

    ``table`` is of one recording.
    """
    keys = list(KEYS.get(name, ()))
    if (
        keys
        and {*keys} <= {*table.column_names}
        and table.select(keys).group_by(keys).aggregate([]).num_rows != table.num_rows
    ):
        raise RecordingInvalid(f"{where} has two rows of one {' and '.join(keys)}", hint=AGAIN)
    if name == "frames" and {"frame", "caller"} <= set(table.column_names):
        frame, caller = (table[column].to_numpy() for column in ("frame", "caller"))
        if (frame != range(len(frame))).any() or (caller < -1).any() or (caller >= frame).any():
            raise RecordingInvalid(f"{where} is no tree of frames", hint=AGAIN)


def strings(name: str) -> list[str]:
    """Which columns of a table are strings."""
    return [column.name for column in TABLES[name] if not pa.types.is_integer(column.type)]


def check_columns(schema: pa.Schema, name: str, where: str) -> None:
    """Raise ``RecordingInvalid`` unless a table has the columns of TABLES, in order and of their types."""
    want = TABLES[name]
    if list(schema.names) != list(want.names):
        extra = [column for column in schema.names if column not in want.names]
        lacking = [column for column in want.names if column not in schema.names]
        detail = f"unknown: {', '.join(extra) or '-'}; missing: {', '.join(lacking) or '-'}"
        raise RecordingInvalid(f"{where} does not have the columns it should ({detail})"[:500], hint=AGAIN)
    for column in want.names:
        if plain(schema.field(column).type) != plain(want.field(column).type):
            kind = f"{schema.field(column).type}"[:100]
            raise RecordingInvalid(f"{where}: column {column} is {kind}, not {want.field(column).type}", hint=AGAIN)


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that a reader cares about: how strings are packed makes no difference."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_large_string(kind) else kind


def check_rows(rows: int, name: str) -> None:
    """Raise ``RecordingInvalid`` if a table of one recording has more rows than it may."""
    if rows > ROWS[name]:
        raise RecordingInvalid(f"table {name} has {rows:,} rows, more than {ROWS[name]:,}", hint="Run fewer phases.")


def rows_of(metadata: pq.FileMetaData) -> int:
    """How many rows a Parquet file says that it has: as a whole, or in its groups, whichever it says more of."""
    groups = sum(int(metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups))
    return max(int(metadata.num_rows), groups)


def unpacked_bytes(metadata: pq.FileMetaData) -> int:
    """How many bytes a Parquet file says that it has, unpacked."""
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
