"""Rows of Parquet files, as a stream of batches: a table may be bigger than memory.

A value means what it would mean in JSON: dates and times are ISO strings, objects are fields with dotted names, lists
of scalars are lists of strings. What has no such meaning (bytes, maps, durations) ends the table by name.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from analect.errors import MissingExtraError, ReadError
from analect.sources.tables import BadRow, Row, row_of

_BATCH = 1024  # rows that are decoded at once
_EXACT_DIGITS = 15  # of a decimal: as many as a float holds


class ParquetTable:
    """A Parquet file; needs pyarrow, of the extra `parquet`."""

    typed = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the records. Raises `ReadError` when it is no Parquet file or has a column that is no metadata."""
        number = 0
        for batch in self.batches():
            for record in plain_records(batch):
                number += 1
                yield row_of(record, place=f"row {number}")

    def batches(self, size: int = _BATCH) -> Iterator[Any]:
        """Yield the rows as Arrow record batches of at most `size` rows, in the types of the file."""
        with self._opened() as file:
            yield from file.iter_batches(size)

    def schema(self) -> Any:
        """Return the Arrow schema of the file."""
        with self._opened() as file:
            return file.schema_arrow

    def fields(self) -> list[str]:
        """Return the names of the fields that a template can use: those of structs are dotted."""
        return [name for field in self.schema() for name in _field_names(field)]

    def count(self) -> int:
        """Return the number of rows, which the file states."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        arrow = import_pyarrow()
        try:
            # Without pre-buffering: a row group may be most of the file.
            with arrow.parquet.ParquetFile(self._path, pre_buffer=False) as file:
                names = file.schema_arrow.names
                if repeated := next((name for name in names if names.count(name) > 1), None):
                    raise ReadError(f"names the column {repeated!r} twice: rename one of them")
                yield file
        except (arrow.ArrowException, UnicodeDecodeError) as error:
            raise ReadError(f"is no Parquet file that can be read: {str(error).splitlines()[0]}") from error


def import_pyarrow() -> Any:
    """Return pyarrow with its Parquet module. Raises `MissingExtraError`."""
    try:
        import pyarrow  # noqa: PLC0415  # of an extra, and slow to import
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise MissingExtraError("a Parquet file", extra="parquet", module="pyarrow") from error
    return pyarrow


def plain_records(batch: Any, *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch (of those columns) as JSON would hold them. Raises `ReadError` naming a column."""
    arrow = import_pyarrow()
    batch = batch if columns is None else batch.select(columns)
    names = batch.schema.names
    fields = [field.with_type(_readable(field.type, arrow, column=field.name)) for field in batch.schema]
    try:
        read = [column.cast(field.type, safe=False) for column, field in zip(batch.columns, fields, strict=True)]
        values = [column.to_pylist() for column in read]
    except (arrow.ArrowException, ValueError, OverflowError) as error:  # a year 12000, bytes that are no UTF-8
        raise ReadError(f"holds a value that cannot be read: {error}") from error
    for row in range(batch.num_rows):
        yield {name: _plain(column[row]) for name, column in zip(names, values, strict=True)}


def _field_names(field: Any, prefix: str = "") -> list[str]:
    if not import_pyarrow().types.is_struct(field.type):
        return [prefix + field.name]
    return [name for each in field.type for name in _field_names(each, f"{prefix}{field.name}.")]


def _readable(kind: Any, arrow: Any, *, column: str) -> Any:
    """Return the type in which Python can take a column's values: whole microseconds, no dictionaries."""
    types = arrow.types
    if types.is_dictionary(kind):
        return _readable(kind.value_type, arrow, column=column)
    if types.is_timestamp(kind):
        return arrow.timestamp("us", kind.tz)
    if types.is_time(kind):
        return arrow.time64("us")
    if types.is_float16(kind):
        return arrow.float32()
    if types.is_struct(kind):
        return arrow.struct([each.with_type(_readable(each.type, arrow, column=column)) for each in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return arrow.list_(kind.value_field.with_type(_readable(kind.value_type, arrow, column=column)))
    plain = (
        *(types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_date),
        *(types.is_string, types.is_large_string, types.is_string_view, types.is_null),
    )
    if any(is_kind(kind) for is_kind in plain):
        return kind
    raise ReadError(
        f"the column {column!r} is of the type {kind}, which is neither text, number, date nor list: drop it"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Decimal):
        return float(value) if len(value.as_tuple().digits) <= _EXACT_DIGITS else str(value)
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    return value
