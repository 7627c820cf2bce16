"""Tables read in blocks and written again with two columns more: nothing of a row is changed on the way."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from analect.errors import InputError, ReadError
from analect.sources.parquet import ParquetTable, import_pyarrow, plain_records
from analect.sources.tables import PARQUET, BadRow, CsvTable, Row, open_table, row_of
from analect.types import Matrix, Vector

ADDED = ("embedding", "error")
"""The columns that are added."""
_ROWS = 2048  # rows of a block: enough for batches of like lengths
_CHARACTERS = 8_000_000  # of a block's texts: rows may be books
_GROUP_ROWS = 16_384  # rows of a Parquet row group; with 384 components 25 MB of vectors


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that stand together; where the file is Parquet, `batch` has them in its own types."""

    rows: Sequence[Row | BadRow]
    batch: Any = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a first reading tells: `columns` in order, the `fields` of a template, and how many rows there are.

    `schema` is what the columns are in Arrow, when that was asked for.
    """

    columns: tuple[str, ...]
    fields: tuple[str, ...]
    rows: int
    schema: Any = None


class TableReader:
    """Reads a table in blocks. `fields` are those that the rows must have; the others stay in `Row.raw`."""

    def __init__(self, path: Path, *, fields: frozenset[str]) -> None:
        suffix = path.suffix.lower()
        self._table = open_table(path, suffix=suffix)
        self._fields = fields
        self._as_batches = False

    def layout(self, target: str) -> Layout:
        """Return the layout of the table that is to be written to a file with the suffix `target`.

        Raises `ReadError` when it cannot be read to its end, `InputError` when it does not fit the target.
        """
        table = self._table
        if isinstance(table, ParquetTable):
            self._as_batches = target == PARQUET
            schema = table.schema()
            return Layout(tuple(schema.names), tuple(table.fields()), table.count(), schema)
        columns = dict.fromkeys(table.header() if isinstance(table, CsvTable) else ())
        fields = dict.fromkeys(columns)
        typed = _ArrowTypes(strings=isinstance(table, CsvTable)) if target == PARQUET else None
        rows = 0
        for block in self.blocks():
            rows += len(block.rows)
            for row in block.rows:
                columns.update(dict.fromkeys(row.raw))
                if isinstance(row, Row):
                    fields.update(dict.fromkeys(row.fields))
            if typed:
                typed.add(block)
        return Layout(tuple(columns), tuple(fields), rows, typed.schema(tuple(columns)) if typed else None)

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, in order. Raises `ReadError` when what follows cannot be read."""
        if self._as_batches:
            yield from self._batches()
            return
        block: list[Row | BadRow] = []
        characters = 0
        for row in self._table.rows():
            if isinstance(row, BadRow) and row.place is None:
                raise ReadError(row.error)
            block.append(row)
            characters += sum(len(value) for value in row.raw.values() if isinstance(value, str))
            if len(block) >= _ROWS or characters >= _CHARACTERS:
                yield Block(block)
                block, characters = [], 0
        if block:
            yield Block(block)

    def _batches(self) -> Iterator[Block]:
        assert isinstance(self._table, ParquetTable)
        # Only what the template uses is read as text: the other columns may be of any type.
        names = [
            name
            for name in self._table.schema().names
            if any(field == name or field.startswith(f"{name}.") for field in self._fields)
        ]
        number = 0
        for batch in self._table.batches(_ROWS):
            rows = []
            for record in plain_records(batch, columns=names):
                number += 1
                rows.append(row_of(record, place=f"row {number}"))
            yield Block(rows, batch)


class TableWriter(AbstractContextManager["TableWriter"], Protocol):
    """Writes blocks to an open file; leaving it writes what is still held back."""

    def __init__(self, file: BinaryIO, *, layout: Layout) -> None: ...

    def write(self, block: Block, vectors: Matrix, *, errors: Sequence[str | None]) -> None:
        """Write the rows with their vectors (n, dim); where there is an error, there is no vector."""
        ...


class CsvWriter(AbstractContextManager["CsvWriter"]):
    """CSV with a header line; vectors are JSON arrays, and so are nested values."""

    delimiter = ","

    def __init__(self, file: BinaryIO, *, layout: Layout) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        # Told of line ends of two characters, csv quotes both wherever they stand in a cell; one is written.
        self._csv = csv.writer(_Lines(self._text), delimiter=self.delimiter, lineterminator="\r\n")
        self._columns = layout.columns
        self._csv.writerow([*self._columns, *ADDED])

    def write(self, block: Block, vectors: Matrix, *, errors: Sequence[str | None]) -> None:
        for row, vector, error in zip(block.rows, vectors, errors, strict=True):
            cells = [_cell(row.raw.get(name)) for name in self._columns]
            self._csv.writerow([*cells, "" if error else _vector_json(vector), error or ""])

    def __exit__(self, *exc: object) -> None:
        self._text.flush()
        self._text.detach()  # the file is another's


class TsvWriter(CsvWriter):
    """CSV with tabs."""

    delimiter = "\t"


class _Lines:
    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")


class JsonLinesWriter(AbstractContextManager["JsonLinesWriter"]):
    """One JSON object a line; a row that could not be read has what there is of it."""

    def __init__(self, file: BinaryIO, *, layout: Layout) -> None:
        self._file = file
        self._columns = layout.columns

    def write(self, block: Block, vectors: Matrix, *, errors: Sequence[str | None]) -> None:
        lines = []
        for row, vector, error in zip(block.rows, vectors, errors, strict=True):
            start = _json(row.raw)[:-1] + (", " if row.raw else "")
            made = "null" if error else _vector_json(vector)
            lines.append(f'{start}"embedding": {made}, "error": {_json(error)}}}\n')
        self._file.write("".join(lines).encode(errors="backslashreplace"))  # half a pair is an escape in JSON too

    def __exit__(self, *exc: object) -> None: ...


class ParquetWriter(AbstractContextManager["ParquetWriter"]):
    """Parquet; vectors are lists of float32. A file that was Parquet keeps its types, a CSV's cells are strings."""

    def __init__(self, file: BinaryIO, *, layout: Layout) -> None:
        self._arrow = import_pyarrow()
        added = (self._arrow.list_(self._arrow.float32()), self._arrow.string())
        self._schema = layout.schema
        self._whole = layout.schema
        for name, kind in zip(ADDED, added, strict=True):
            self._whole = self._whole.append(self._arrow.field(name, kind))
        try:
            self._writer = self._arrow.parquet.ParquetWriter(file, self._whole)
        except self._arrow.ArrowException as error:  # an object that is always empty, say
            raise InputError(f"the table cannot be written to Parquet ({error}): write .jsonl") from error
        self._held: list[Any] = []

    def write(self, block: Block, vectors: Matrix, *, errors: Sequence[str | None]) -> None:
        arrow = self._arrow
        batch = _batch_of(block, schema=self._schema) if block.batch is None else block.batch
        missing = np.array([error is not None for error in errors])
        offsets = np.concatenate([[0], np.cumsum(np.where(missing, 0, vectors.shape[1]))]).astype(np.int32)
        values = arrow.array(vectors[~missing].ravel())
        made = arrow.ListArray.from_arrays(arrow.array(offsets), values, mask=arrow.array(missing))
        columns = [*batch.columns, made, arrow.array(list(errors), arrow.string())]
        self._held.append(arrow.RecordBatch.from_arrays(columns, schema=self._whole))
        if sum(each.num_rows for each in self._held) >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        if self._held:
            self._writer.write_table(self._arrow.Table.from_batches(self._held))
            self._held = []

    def __exit__(self, *exc: object) -> None:
        self._write_group()
        self._writer.close()


class _ArrowTypes:
    """The types of the columns, block by block, in the end those that fit all."""

    def __init__(self, *, strings: bool) -> None:
        self._arrow = import_pyarrow()
        self._strings = strings
        self._schema = self._arrow.schema([])

    def add(self, block: Block) -> None:
        if self._strings:
            return
        for name in dict.fromkeys(name for row in block.rows for name in row.raw):
            try:
                kind = self._arrow.array([row.raw.get(name) for row in block.rows]).type
                seen = self._arrow.schema([(name, kind)])
                self._schema = self._arrow.unify_schemas([self._schema, seen], promote_options="permissive")
            except (self._arrow.ArrowException, OverflowError) as error:
                raise InputError(f"the column {name!r} has no one type in Parquet ({error}): write .jsonl") from error

    def schema(self, columns: tuple[str, ...]) -> Any:
        string = self._arrow.string()
        return self._arrow.schema(
            [self._arrow.field(name, string) if self._strings else self._schema.field(name) for name in columns]
        )


def _batch_of(block: Block, *, schema: Any) -> Any:
    arrow = import_pyarrow()
    try:
        columns = [arrow.array([row.raw.get(each.name) for row in block.rows], each.type) for each in schema]
    except (arrow.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"a value cannot be written to Parquet ({error}): write .jsonl") from error
    return arrow.RecordBatch.from_arrays(columns, schema=schema)


def _cell(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _vector_json(vector: Vector) -> str:
    """Return a JSON array; nine digits name every float32 exactly."""
    return "[" + ", ".join(["%.9g"] * len(vector)) % tuple(vector.tolist()) + "]"


WRITERS: Mapping[str, type[TableWriter]] = {
    ".csv": CsvWriter,
    ".tsv": TsvWriter,
    ".jsonl": JsonLinesWriter,
    ".ndjson": JsonLinesWriter,
    PARQUET: ParquetWriter,
}
"""The formats that can be written, by suffix."""
