"""Tables as documents: one record, one document.

The first reading of a table finds out its fields, their types and whether an id repeats; the second one yields. Between
the two nothing is kept but eight bytes an id, so a table may be bigger than memory.

A record's uri is `<uri of the table>#<its id>`. A failed record that has an id is reported under that uri, one without
under `<uri>#line 7`; what ends the whole table is reported under the table's own uri.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from analect.errors import InputError, MissingExtraError, ReadError
from analect.sources import DOCUMENT_LIMIT
from analect.sources.parquet import ParquetTable
from analect.sources.tables import PARQUET, SUFFIXES, BadRow, Row, Table, open_table
from analect.sources.templates import Template, as_text, check_fields
from analect.types import Document, ReadFailure, Value

_ID_FIELDS = ("id", "_id", "Id", "ID")
_TITLE_FIELDS = ("title", "name")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


class RecordsSource:
    """The records of one CSV, TSV, JSON, JSONL, NDJSON or Parquet file.

    `text` is a template such as "{Summary}: {Text}"; without it, a text has one `name: value` line for each string
    field. `id` names the field that holds the ids; without it, that is the first of id, _id, Id, ID that every record
    has and none shares, or else a hash of the record, which stays when records are added or reordered. `uri` says where
    the file came from when that is not `path`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        text: str | None = None,
        id: str | None = None,
        uri: str | None = None,
    ) -> None:
        self._path = Path(path)
        self._uri = os.path.abspath(path) if uri is None else uri  # noqa: PTH100 - resolve() follows links
        self.name = name or self._uri
        self.roots: tuple[str, ...] = (self._uri,)
        self._template = None if text is None else Template(text)
        self._id = id
        suffixes = (self._path.suffix.lower(), Path(self._uri).suffix.lower())
        self._suffix = next((suffix for suffix in suffixes if suffix in SUFFIXES), "")
        if not self._suffix:
            raise InputError(f"{self._uri!r} is no table: its suffix must be one of {', '.join(sorted(SUFFIXES))}")

    def total(self) -> int:
        """Return about how many records there are, from a count of lines (or of objects, in JSON)."""
        if self._suffix == PARQUET:
            return self._total_stated()
        mark = b"{" if self._suffix == ".json" else b"\n"
        count, last = 0, mark
        try:
            with self._path.open("rb") as file:
                for block in iter(partial(file.read, 1 << 20), b""):
                    count, last = count + block.count(mark), block[-1:]
        except OSError:
            return 0  # reading it will say why
        if mark == b"\n":
            header = self._suffix in (".csv", ".tsv")
            return max(0, count + (last != mark) - header)
        return count

    def _total_stated(self) -> int:
        try:
            return ParquetTable(self._path).count()
        except (OSError, ReadError, MissingExtraError):
            return 0  # reading it will say why

    def read(self) -> Iterator[Document | ReadFailure]:
        """Yield a document for each record. Raises, before anything else, `InputError` for a field that none
        has, or `MissingExtraError`."""
        table = open_table(self._path, suffix=self._suffix)
        try:
            plan = self._plan(table)
            for row in table.rows():
                yield self._bad(row.place, error=row.error) if isinstance(row, BadRow) else self._outcome(row, plan)
        except ReadError as error:
            yield self._bad(None, error=str(error))
        except UnicodeDecodeError as error:  # it was checked as a whole before
            yield self._bad(None, error=f"changed while it was read ({error.reason}): add it again")
        except OSError as error:
            yield self._bad(None, error=f"cannot be read: {error.strerror or error}")

    def _plan(self, table: Table) -> _Plan:
        survey = _Survey(typed=table.typed, id_fields=_ID_FIELDS if self._id is None else (self._id,))
        for row in table.rows():
            if isinstance(row, Row):
                survey.add(row)
        if survey.count:
            wanted = () if self._template is None else sorted(self._template.fields)
            check_fields((*wanted, *(() if self._id is None else (self._id,))), present=survey.kinds)
        if self._id is not None:
            return _Plan(self._id, repeated=survey.ids[self._id].repeated(), kinds=survey.kinds)
        for name in _ID_FIELDS:
            if survey.ids[name].count == survey.count > 0 and not survey.ids[name].repeated():
                return _Plan(name, repeated=frozenset(), kinds=survey.kinds)
        return _Plan(None, repeated=_repeated_contents(table), kinds=survey.kinds)

    def _outcome(self, row: Row, plan: _Plan) -> Document | ReadFailure:
        try:
            id = plan.id_of(row)
        except ReadError as error:
            return self._bad(row.place, error=str(error))
        values = plan.typed(row.fields)
        text = self._text(row.fields, values=values, id_field=plan.id_field)
        if not text.strip():
            return self._bad(id, error=f"{row.place} has no text: {self._where_text_comes_from()} is empty")
        if len(text) > DOCUMENT_LIMIT:
            return self._bad(
                id, error=f"{row.place} has {len(text):,} characters, the limit is {DOCUMENT_LIMIT:,}: split it"
            )
        used = frozenset() if self._template is None else self._template.fields
        return Document(
            id=id,
            text=text,
            source=self.name,
            uri=f"{self._uri}#{id}",
            title=_title_of(values, among=values if self._template is None else used),
            metadata={
                name: value
                for name, value in values.items()
                if value is not None and name != plan.id_field and name not in used
            },
            record=True,
        )

    def _text(self, fields: Mapping[str, Value], *, values: Mapping[str, Value], id_field: str | None) -> str:
        if self._template is not None:
            return self._template.fill(fields)  # as written in the table: 1.50 stays 1.50
        named = ((name, value) for name, value in values.items() if name != id_field and isinstance(value, str))
        return "\n".join(f"{name}: {value}" for name, value in named if value.strip())

    def _where_text_comes_from(self) -> str:
        return "every string field" if self._template is None else "what the template makes of it"

    def _bad(self, part: str | None, *, error: str) -> ReadFailure:
        return ReadFailure(self.name, self._uri if part is None else f"{self._uri}#{part}", error)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the records of one table get their ids and types. `repeated` holds digests of ids that occur again."""

    id_field: str | None
    repeated: frozenset[int]
    kinds: Mapping[str, type]
    _seen: dict[str, str] = field(default_factory=dict)
    _copies: dict[str, int] = field(default_factory=dict)

    def id_of(self, row: Row) -> str:
        """Return the record's id. Raises `ReadError` when it has none of its own, or another's."""
        if self.id_field is None:
            return self._numbered(_content_id(row))
        id = _id_text(row.fields.get(self.id_field))
        if id is None:
            raise ReadError(f"{row.place} has no value in the id field {self.id_field!r}")
        if _digest(id) in self.repeated and self._seen.setdefault(id, row.place) != row.place:
            raise ReadError(f"{row.place} has the id {id!r}, which {self._seen[id]} has already: the first one is kept")
        return id

    def _numbered(self, id: str) -> str:
        if _digest(id) not in self.repeated:
            return id
        copy = self._copies[id] = self._copies.get(id, 0) + 1
        return id if copy == 1 else f"{id}-{copy}"

    def typed(self, fields: Mapping[str, Value]) -> dict[str, Value]:
        """Return the fields in the types of their columns."""
        return {name: _as_kind(value, self.kinds.get(name, object)) for name, value in fields.items()}


class _Survey:
    """What the first reading tells of a table. A kind of `object` means: each value's own type."""

    def __init__(self, *, typed: bool, id_fields: tuple[str, ...]) -> None:
        self._typed = typed
        self.count = 0
        self.kinds: dict[str, type] = {}
        self.ids = {name: _Ids() for name in id_fields}

    def add(self, row: Row) -> None:
        self.count += 1
        for name, value in row.fields.items():
            known = self.kinds.get(name)
            if self._typed:
                self.kinds[name] = _common_type(known, value=value)
            elif known is not str:  # once a string, always a string
                self.kinds[name] = _common_kind(known, value=str(value))
        for name, ids in self.ids.items():
            if (id := _id_text(row.fields.get(name))) is not None:
                ids.add(id)


class _Ids:
    """Digests of ids, eight bytes each: a set of strings would outgrow memory before the table ends."""

    def __init__(self) -> None:
        self._digests = array("Q")

    def add(self, id: str) -> None:
        self._digests.append(_digest(id))

    @property
    def count(self) -> int:
        return len(self._digests)

    def repeated(self) -> frozenset[int]:
        digests, counts = np.unique(np.frombuffer(self._digests, dtype=np.uint64), return_counts=True)
        return frozenset(digests[counts > 1].tolist())


def _repeated_contents(table: Table) -> frozenset[int]:
    contents = _Ids()
    for row in table.rows():
        if isinstance(row, Row):
            contents.add(_content_id(row))
    return contents.repeated()


def _digest(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def _content_id(row: Row) -> str:
    text = json.dumps(row.fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _id_text(value: Value) -> str | None:
    return None if value is None or isinstance(value, tuple) else str(value) if str(value).strip() else None


def _common_type(known: type | None, *, value: Value) -> type:
    """Return `float` for a column of whole and other numbers (many programs write 27.0 as 27), else no common type."""
    own = type(value) if type(value) in (int, float) else type(None) if value is None else object
    if known is None or known is own or known is type(None):
        return own
    if own is type(None):
        return known
    return float if {known, own} == {int, float} else object


def _common_kind(known: type | None, *, value: str) -> type:
    """Return the kind of a column of which `known` is the kind so far; None of a value that is empty."""
    kind = _kind_of(value)
    if kind is None or known is None:
        return kind or known or type(None)
    if known is type(None) or kind is known:
        return kind
    return float if {kind, known} == {int, float} else str


def _kind_of(value: str) -> type | None:
    if not value:
        return None
    if value.lower() in ("true", "false"):
        return bool
    if _INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63:
        return int
    # Digits alone that are no integer above are a code ("007") or too long: a float would change them.
    return float if _FLOAT.fullmatch(value) and not value.lstrip("-").isdigit() else str


def _as_kind(value: Value, kind: type) -> Value:
    if kind is float and isinstance(value, int):
        return float(value)
    if kind is object or not isinstance(value, str):
        return value
    if not value:
        return None
    if kind is bool:
        return value.lower() == "true"
    if kind is int:
        return int(value)
    return float(value) if kind is float else value


def _title_of(values: Mapping[str, Value], *, among: Mapping[str, Value] | frozenset[str]) -> str | None:
    for wanted in _TITLE_FIELDS:
        for name in values:
            value = values[name]
            if name.lower() == wanted and name in among and isinstance(value, str) and value.strip():
                return " ".join(as_text(value).split())
    return None
