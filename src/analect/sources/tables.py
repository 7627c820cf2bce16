"""Rows of CSV, TSV, JSON, JSONL and Parquet files, one at a time; a bad row does not end its table.

CSV and JSONL are read as streams: a table may be bigger than memory. A JSON array has to be loaded whole.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from analect.encoding import check_text, decode, encoding_of_stream, unify_newlines
from analect.errors import ReadError
from analect.sources import DOCUMENT_LIMIT
from analect.types import Value

_DELIMITERS = ",;\t|"
_LONGEST_HEADER = 1 << 20  # characters looked at for the delimiter
_VECTOR = 32  # floats in a list that are no longer a handful of values
_BIGGEST = 2**63  # what stores and filters keep as a whole number


@dataclass(frozen=True, slots=True)
class Row:
    """One record, flat; `place` says where it stands ("line 7"). `raw` is the record as the file has it."""

    place: str
    fields: Mapping[str, Value]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read; without a `place`, that and everything after it. `raw` has what there is of it."""

    place: str | None
    error: str
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class Table(Protocol):
    """A file of records. `typed` tells that values have types of their own; in CSV all are strings."""

    typed: bool

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the records in order; can be called again. Raises `ReadError` when the file is no such table."""
        ...


class CsvTable:
    """A CSV or TSV file with a header line; the delimiter is the one that divides the header most."""

    typed = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def header(self) -> list[str]:
        """Return the names of the fields. Raises `ReadError`."""
        with self._records() as (header, _):
            return header

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the records. A row of another width is a `BadRow`, since nobody knows which cell is missing."""
        with self._records() as (header, records):
            for record in records:
                yield record if isinstance(record, BadRow) else _csv_row(record, header=header)

    @contextmanager
    def _records(self) -> Iterator[tuple[list[str], Iterator[_Record | BadRow]]]:
        csv.field_size_limit(max(csv.field_size_limit(), DOCUMENT_LIMIT + 1))  # the lines below are limited instead
        with _open(self._path, newline="") as stream:
            delimiter = _delimiter_of(stream.readline(_LONGEST_HEADER))
            stream.seek(0)
            records = _records(_Lines(stream), delimiter=delimiter)
            yield _header(next(records, None)), records


class JsonLinesTable:
    """A file with one JSON object a line."""

    typed = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the records; blank lines are passed over."""
        with _open(self._path, newline="\n") as stream:
            number = 0
            while line := stream.readline(DOCUMENT_LIMIT + 1):
                number += 1
                if len(line) > DOCUMENT_LIMIT:
                    _skip_line(stream)
                    yield BadRow(f"line {number}", _too_long(f"line {number}"))
                elif line.strip():
                    yield _json_line(line, place=f"line {number}")


class JsonTable:
    """A JSON file: an array of objects, or an object of equally long arrays. It is parsed once and kept."""

    typed = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: list[object] | None = None

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the records."""
        if self._records is None:
            self._records = list(_json_records(self._content()))
        for number, record in enumerate(self._records, start=1):
            yield row_of(record, place=f"record {number}")

    def _content(self) -> object:
        try:
            return _parse(decode(self._path.read_bytes()))
        except json.JSONDecodeError as error:
            raise ReadError(f"is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error


def _delimiter_of(header: str) -> str:
    def width(delimiter: str) -> int:
        return len(next(csv.reader([header], delimiter=delimiter), []))

    return max(_DELIMITERS, key=width)


class _Lines:
    """The lines of a stream, counted; a record may not take more than `DOCUMENT_LIMIT` characters of them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = DOCUMENT_LIMIT
        self.number = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._left + 1)
        self.ended = not line
        if self.ended:
            raise StopIteration
        self.number += 1
        if len(line) > self._left:
            raise ReadError(_too_long(f"the record that ends in line {self.number}"))
        self._left -= len(line)
        return line

    def begin_record(self) -> None:
        self._left = DOCUMENT_LIMIT


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    cells: list[str]


def _records(lines: _Lines, *, delimiter: str) -> Iterator[_Record | BadRow]:
    # Strict: a quote that never closes would otherwise swallow the rest of the file into one cell without a word.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        line = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except ReadError as error:  # where its next record would begin is not known
            yield BadRow(None, f"{error}; nothing after line {line - 1} was read")
            return
        except csv.Error as error:
            if lines.ended:
                yield BadRow(
                    None, f"a quote that opens in the record of line {line} is never closed: nothing after it was read"
                )
                return
            yield BadRow(f"line {line}", f"line {line} is not CSV: {error}")
            continue
        if cells:
            yield _Record(line, cells)


def _header(record: _Record | BadRow | None) -> list[str]:
    if record is None:
        raise ReadError("has no header line: the first line must name the fields")
    if isinstance(record, BadRow):
        raise ReadError(f"has no header line that can be read: {record.error}")
    names = [name.strip() for name in record.cells]
    check_text("".join(names))
    if "" in names:
        raise ReadError(f"field {names.index('') + 1} of the header has no name: name it")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ReadError(f"the header names {repeated!r} twice: rename one of them")
    return names


def _csv_row(record: _Record, *, header: list[str]) -> Row | BadRow:
    place = f"line {record.line}"
    raw = dict(zip(header, record.cells, strict=False))
    if len(record.cells) != len(header):
        error = f"{place} has {len(record.cells)} fields, the header has {len(header)}: quote or repair it"
        return BadRow(place, error, raw=raw)
    try:
        for cell in record.cells:
            check_text(cell)
    except ReadError as error:
        return BadRow(place, f"{place} {error}", raw=raw)
    return Row(place, {name: unify_newlines(cell) for name, cell in raw.items()}, raw=raw)


def _parse(text: str) -> object:
    """Return parsed JSON; NaN and the infinities become null. Raises `ReadError`, or `JSONDecodeError` with a place."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise ReadError("JSON is nested too deep to be read: flatten it") from error
    except ValueError as error:  # a number of more than 4,300 digits
        raise ReadError("JSON holds a number too long to be read: write it as a string") from error


def _json_line(line: str, *, place: str) -> Row | BadRow:
    try:
        return row_of(_parse(line), place=place)
    except json.JSONDecodeError as error:
        return BadRow(place, f"{place} is not JSON at column {error.colno}: {error.msg}")
    except ReadError as error:
        return BadRow(place, f"{place}: {error}")


def row_of(record: object, *, place: str) -> Row | BadRow:
    """Return the row of a parsed JSON value, or why it is none."""
    if not isinstance(record, dict):
        return BadRow(place, f'{place} is a JSON {_kind_of(record)}, not an object: write {{"field": value, …}}')
    try:
        return Row(place, dict(_flat(record)), raw=record)
    except ReadError as error:
        return BadRow(place, f"{place} {error}", raw=record)
    except RecursionError:
        return BadRow(place, f"{place} is nested too deep to be read: flatten it", raw=record)


def _json_records(content: object) -> Iterable[object]:
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and content and all(isinstance(column, list) for column in content.values()):
        lengths = {name: len(column) for name, column in content.items()}
        if len(set(lengths.values())) == 1:
            return (dict(zip(content, cells, strict=True)) for cells in zip(*content.values(), strict=True))
        raise ReadError(f"holds arrays of different lengths ({_some(lengths)}): make them equally long")
    raise ReadError(
        f"holds one JSON {_kind_of(content)}: expected an array of objects, or an object of equally long arrays"
    )


def _some(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {length}" for name, length in list(lengths.items())[:5])


def _kind_of(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _flat(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the fields of a record, those of nested objects under dotted names."""
    for key, value in record.items():
        check_text(key)
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not _is_vector(value):
            yield prefix + key, _value(value)


def _value(value: object) -> Value:
    if isinstance(value, str):
        check_text(value)
        return unify_newlines(value)
    if isinstance(value, list):
        return _value_of_list(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -_BIGGEST <= value < _BIGGEST else str(value)
    return True if value is True else False if value is False else None


def _is_vector(value: object) -> bool:
    """Tell whether a field holds an embedding: nobody filters by its numbers, and as metadata they would be strings."""
    return isinstance(value, list) and len(value) >= _VECTOR and all(isinstance(each, float) for each in value)


def _value_of_list(values: list[object]) -> tuple[str, ...] | str:
    """Return the strings of a list of scalars, null left out; the JSON text of any other list."""
    if any(isinstance(value, list | dict) for value in values):
        text = json.dumps(values, ensure_ascii=False)
        check_text(text)
        return text
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values if value is not None)
    return tuple(str(_value(text)) for text in texts)


@contextmanager
def _open(path: Path, *, newline: str) -> Iterator[TextIO]:
    """Open a text of any encoding as a stream. Raises `ReadError`."""
    with path.open("rb") as raw:
        encoding = encoding_of_stream(raw)
    with path.open(encoding=encoding, newline=newline) as stream:
        yield stream


def _skip_line(stream: TextIO) -> None:
    while (part := stream.readline(1 << 20)) and not part.endswith("\n"):
        pass


def _too_long(what: str) -> str:
    return f"{what} has more than {DOCUMENT_LIMIT:,} characters, the limit of one record: split it"


_TABLES: Mapping[str, type[CsvTable] | type[JsonTable] | type[JsonLinesTable]] = {
    ".csv": CsvTable,
    ".tsv": CsvTable,
    ".json": JsonTable,
    ".jsonl": JsonLinesTable,
    ".ndjson": JsonLinesTable,
}
PARQUET = ".parquet"
SUFFIXES = frozenset({*_TABLES, PARQUET})
"""The suffixes of files that hold records."""


def open_table(path: Path, *, suffix: str) -> Table:
    """Return the table in a file, read the way its suffix says: one of `SUFFIXES`."""
    if suffix == PARQUET:
        from analect.sources.parquet import ParquetTable  # noqa: PLC0415  # it needs what is above

        return ParquetTable(path)
    return _TABLES[suffix](path)
