"""The SQLite store: one file, readable while it is written, full text by FTS5.

Writes are transactions under a write-ahead log: a crash at any moment leaves either the old documents or the new ones.
A revision is `<file identity>-<number>`; every put and delete is one step.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from analect.errors import (
    ConflictError,
    EmbedderMismatchError,
    ForeignFileError,
    NotFoundError,
    RevisionExpired,
    StoreError,
)
from analect.filters import matches
from analect.fts import match_expression
from analect.stores._checks import check_vectors
from analect.stores._schema import migrate
from analect.types import Change, Chunk, Condition, Document, Entry, Filter, Hit, Metadata, PageSpan, Revision, Stored
from analect.wal import transaction, use_wal

_PAGE_BYTES = 1 << 14  # of the file: ten vectors of 384 fill one; of the usual 4 KB, two leave a quarter empty
_STEP = 8192  # chunks a `Change` carries at most: bounds the memory of whoever follows
_PRUNE_EVERY = 256  # revisions between two looks at the removals
_REMEMBERED = 100_000  # removals kept for `changes`; who is further behind reads everything again
_CHUNK_COLUMNS = """c.id, d.id, c.text, c."start", c."end", d.uri, c.title, c.headings, c.page, d.metadata"""
_REASONS = {
    "SQLITE_FULL": "the disk is full; nothing of this step was written",
    "SQLITE_READONLY": "the file or its folder is read-only",
    "SQLITE_CANTOPEN": "the file cannot be opened: is the folder there, and writable?",
    "SQLITE_BUSY": "another process kept it locked for a minute; try again when that has finished",
    "SQLITE_CORRUPT": "the file is damaged; delete it and add the documents again (the ledger keeps their vectors)",
    "SQLITE_IOERR": "the disk cannot be read or written (is it full?)",
}


class SqliteStore:
    """Keeps a corpus in the file `path`. Safe for several threads and processes: many read while one writes.

    Raises `StoreError` when the file cannot be opened, `ForeignFileError` when it is not a corpus.
    """

    def __init__(self, *, path: str | Path) -> None:
        self._path = Path(path)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._read_only = False
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._set_up(self._connect(f"{self._path.absolute().as_uri()}?mode=rwc"))
        except sqlite3.OperationalError as error:
            # A closed corpus on a read-only disk has no log to follow, so it may be read as it lies there.
            barred = (error.sqlite_errorname or "").startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))
            if not barred or not self._path.exists() or Path(f"{self._path}-wal").exists():
                raise
            self._read_only = True
            return self._set_up(self._connect(f"{self._path.absolute().as_uri()}?immutable=1"))

    def _set_up(self, db: sqlite3.Connection) -> sqlite3.Connection:
        try:
            if not self._read_only:
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a file that is not there yet
                use_wal(db)
            db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last step, never damages the file
            migrate(db, path=str(self._path))
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self, uri: str) -> sqlite3.Connection:
        db = sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None, check_same_thread=False)
        db.create_function("matches", 2, _matches_json, deterministic=True)
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the database's errors into one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            if name == "SQLITE_NOTADB":
                raise ForeignFileError(f"{self._path} is not an SQLite file: name another with --corpus") from error
            reason = next((text for prefix, text in _REASONS.items() if name.startswith(prefix)), str(error))
            raise StoreError(f"the corpus {self._path}: {reason}") from error
        except OSError as error:
            raise StoreError(f"the corpus {self._path}: {error.strerror}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection with one consistent view of the file."""
        with self._idle_lock:
            db = self._idle.pop() if self._idle else None
        with self._errors():
            if db is None:
                mode = "immutable=1" if self._read_only else "mode=rw"
                db = self._connect(f"{self._path.absolute().as_uri()}?{mode}")
            try:
                db.execute("BEGIN")
                yield db
            finally:
                db.rollback()
                with self._idle_lock:
                    self._idle.append(db)

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Lend the writing connection in a transaction, with the number of the revision that it makes."""
        db = self._writer
        with self._errors(), self._write_lock, transaction(db):
            number = int(_setting(db, "revision")) + 1
            yield db, number
            if number % _PRUNE_EVERY == 0:
                _forget_old_removals(db)
            db.execute("UPDATE corpus SET value = ? WHERE key = 'revision'", (number,))

    def prepare(self, *, embedder_id: str, dim: int) -> None:
        """Bind an empty store to a vector space. Raises `EmbedderMismatchError` when it holds another one's vectors."""
        with self._reading() as db:
            space = _setting(db, "embedder_id"), _setting(db, "dim")
            if space == (embedder_id, dim):
                return
            (filled,) = db.execute("SELECT EXISTS (SELECT 1 FROM chunks)").fetchone()
        if filled:
            raise EmbedderMismatchError(
                f"{self._path} holds vectors of {space[0]}, not of {embedder_id}: "
                "use that embedder, or another corpus file (--corpus)"
            )
        with self._writing() as (db, _):
            rows = [("embedder_id", embedder_id), ("dim", dim)]
            db.executemany("INSERT OR REPLACE INTO corpus VALUES (?, ?)", rows)

    def put(self, entries: Iterable[Entry]) -> Revision:
        """Replace those documents whole, all or none. Raises `ConflictError` when another source has an id."""
        entries = list(entries)
        with self._writing() as (db, number):
            dim = _setting(db, "dim")
            if dim is None:
                raise StoreError("the store has no vector space yet: call prepare(embedder_id=…, dim=…) first")
            _refuse_other_sources(db, entries)
            for entry in entries:
                check_vectors(entry, dim=dim)
                _remove(db, entry.document.id, number)
                _insert(db, entry, number)
            return self._name(db, number)

    def delete(self, document_ids: Iterable[str]) -> Revision:
        """Remove those documents, all or none; ids that are not there are ignored."""
        with self._writing() as (db, number):
            for document_id in document_ids:
                _remove(db, document_id, number)
            return self._name(db, number)

    def documents(self, *, source: str | None = None) -> Iterator[Stored]:
        """Yield what is there, ordered by id."""
        with self._reading() as db:
            columns = "id, source, uri, fingerprint, revision"
            rows = db.execute(f"SELECT {columns} FROM documents WHERE ?1 IS NULL OR source = ?1 ORDER BY id", (source,))
            for document_id, of, uri, fingerprint, number in rows:
                yield Stored(id=document_id, source=of, uri=uri, fingerprint=fingerprint, version=str(number))

    def get(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Return those chunks in the order asked for; ids that are not there are left out."""
        with self._reading() as db:
            return _chunks(db, chunk_ids)

    def read_document(self, document_id: str) -> Document:
        """Return the document as it was put. Raises `NotFoundError`."""
        query = "SELECT id, text, source, uri, title, metadata, pages, record FROM documents WHERE id = ?"
        with self._reading() as db:
            row = db.execute(query, (document_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"no document {document_id!r} in this corpus")
        found, text, source, uri, title, metadata, pages, record = row
        spans = tuple(PageSpan(*span) for span in json.loads(pages))
        return Document(found, text, source, uri, title, _metadata(metadata), spans, bool(record))

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        """Yield what came and went since a revision, in steps of bounded size out of one consistent view."""
        with self._reading() as db:
            number = self._parse(db, since)
            removed: tuple[str, ...] = ()
            if since is not None:
                rows = db.execute("SELECT chunk_id FROM removed WHERE revision > ? ORDER BY revision", (number,))
                removed = tuple(name for (name,) in rows)
            now = self._name(db, int(_setting(db, "revision")))
            rows = db.execute(
                "SELECT v.vector, c.id, d.metadata FROM chunks c JOIN documents d ON d.number = c.document "
                "JOIN vectors v ON v.number = c.number WHERE c.revision > ? ORDER BY c.number",
                (number,),
            )
            dim = int(_setting(db, "dim") or 0)
            batch = rows.fetchmany(_STEP)
            while batch or removed:
                blobs, names, metadata = zip(*batch, strict=True) if batch else ((), (), ())
                vectors = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(batch), dim)
                yield Change(now, removed, names, _Parsed(metadata), vectors, partial(_chunks, db, names))
                batch, removed = rows.fetchmany(_STEP), ()

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        """Return the k best hits by BM25, best first, ties by chunk id; filters act before the top k."""
        expression = match_expression(query)
        if expression is None:
            return []
        conditions = json.dumps([[each.field, each.op, each.value] for each in where])
        with self._reading() as db:
            rows = db.execute(
                f"SELECT -bm25(words), {_CHUNK_COLUMNS} FROM words JOIN chunks c ON c.number = words.rowid "
                "JOIN documents d ON d.number = c.document "
                "WHERE words MATCH ? AND (? OR matches(?, d.metadata)) ORDER BY 1 DESC, c.id LIMIT ?",
                (expression, not where, conditions, k),
            )
            return [Hit(_chunk(row[1:]), row[0], {"lexical": row[0]}) for row in rows]

    def count(self) -> tuple[int, int]:
        """Return the number of documents and of chunks."""
        with self._reading() as db:
            row = db.execute("SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)").fetchone()
        return int(row[0]), int(row[1])

    def revision(self) -> Revision:
        """Return the present revision."""
        with self._reading() as db:
            return self._name(db, int(_setting(db, "revision")))

    def _name(self, db: sqlite3.Connection, number: int) -> Revision:
        return f"{_setting(db, 'identity')}-{number}"

    def _parse(self, db: sqlite3.Connection, since: Revision | None) -> int:
        if since is None:
            return -1
        identity, _, number = since.partition("-")
        known = int(_setting(db, "oldest")), int(_setting(db, "revision"))
        if identity != _setting(db, "identity") or not known[0] <= int(number) <= known[1]:
            raise RevisionExpired(f"changes since {since} are no longer known: read everything again")
        return int(number)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._idle_lock, closing(self._writer):
            while self._idle:
                self._idle.pop().close()


def _setting(db: sqlite3.Connection, key: str) -> Any:
    row = db.execute("SELECT value FROM corpus WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def _refuse_other_sources(db: sqlite3.Connection, entries: list[Entry]) -> None:
    taken = []
    for document in (entry.document for entry in entries):
        row = db.execute("SELECT source FROM documents WHERE id = ?", (document.id,)).fetchone()
        if row and row[0] != document.source:
            taken.append(document.id)
    if taken:
        raise ConflictError(f"another source already has {', '.join(map(repr, taken))}", ids=tuple(taken))


def _remove(db: sqlite3.Connection, document_id: str, number: int) -> None:
    row = db.execute("SELECT number FROM documents WHERE id = ?", (document_id,)).fetchone()
    if row is None:
        return
    chunks = "FROM chunks WHERE document = ?"
    # FTS5 with outside content forgets a row only when told what it had indexed.
    db.execute(
        "INSERT INTO words (words, rowid, title, headings, text) "
        f"SELECT 'delete', number, title, headings, text {chunks}",
        row,
    )
    db.execute(f"INSERT INTO removed SELECT ?, id {chunks}", (number, *row))
    db.execute(f"DELETE FROM vectors WHERE number IN (SELECT number {chunks})", row)
    db.execute(f"DELETE {chunks}", row)
    db.execute("DELETE FROM documents WHERE number = ?", row)


def _insert(db: sqlite3.Connection, entry: Entry, number: int) -> None:
    document = entry.document
    pages = json.dumps([[page.number, page.start, page.end] for page in document.pages])
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    cursor = db.execute(
        "INSERT INTO documents (id, source, uri, title, text, metadata, pages, record, fingerprint, revision) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(document.id, document.source, document.uri, document.title, document.text),
            *(metadata, pages, document.record, entry.fingerprint, number),
        ),
    )
    owner = cursor.lastrowid
    for chunk, vector in zip(entry.chunks, entry.vectors, strict=True):
        headings = json.dumps(chunk.headings, ensure_ascii=False)
        cursor = db.execute(
            'INSERT INTO chunks (id, document, text, "start", "end", title, headings, page, revision) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (chunk.id, owner, chunk.text, chunk.start, chunk.end, chunk.title, headings, chunk.page, number),
        )
        row = cursor.lastrowid
        db.execute("INSERT INTO vectors VALUES (?, ?)", (row, vector.astype("<f4").tobytes()))
        db.execute(
            "INSERT INTO words (rowid, title, headings, text) VALUES (?, ?, ?, ?)",
            (row, chunk.title, headings, chunk.text),
        )


def _forget_old_removals(db: sqlite3.Connection) -> None:
    query = "SELECT revision FROM removed ORDER BY revision DESC LIMIT 1 OFFSET ?"
    row = db.execute(query, (_REMEMBERED,)).fetchone()
    if row:
        db.execute("DELETE FROM removed WHERE revision <= ?", row)
        db.execute("UPDATE corpus SET value = ? WHERE key = 'oldest'", row)


class _Parsed(Sequence[Metadata]):
    """The metadata of many rows, kept as text until it is looked at: most indexes never are filtered."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, place: int) -> Metadata: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Metadata]: ...
    def __getitem__(self, place: int | slice) -> Metadata | Sequence[Metadata]:
        return _Parsed(self._texts[place]) if isinstance(place, slice) else _metadata(self._texts[place])


def _chunks(db: sqlite3.Connection, chunk_ids: Sequence[str]) -> list[Chunk]:
    query = f"SELECT {_CHUNK_COLUMNS} FROM chunks c JOIN documents d ON d.number = c.document WHERE c.id = ?"
    rows = (db.execute(query, (chunk_id,)).fetchone() for chunk_id in chunk_ids)
    return [_chunk(row) for row in rows if row is not None]


def _chunk(row: tuple[Any, ...]) -> Chunk:
    chunk_id, document_id, text, start, end, uri, title, headings, page, metadata = row
    path = tuple(json.loads(headings)) if headings != "[]" else ()
    return Chunk(chunk_id, document_id, text, start, end, uri, title, path, page, _metadata(metadata))


def _metadata(text: str) -> Metadata:
    found = json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _matches_json(conditions: str, metadata: str) -> bool:
    """`filters.matches` as an SQL function: one meaning of a filter, wherever it is applied."""
    return matches(_filter(conditions), _metadata(metadata))


@lru_cache(maxsize=16)
def _filter(conditions: str) -> Filter:
    rows = json.loads(conditions)
    return tuple(Condition(field, op, tuple(v) if isinstance(v, list) else v) for field, op, v in rows)
