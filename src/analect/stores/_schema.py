"""The tables of a corpus file, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3
import uuid

from analect.errors import ForeignFileError, NewerSchemaError
from analect.fts import TOKENIZER
from analect.wal import transaction

APPLICATION_ID = 0x414E4C43  # "ANLC" in the file's header: tells a corpus from any other SQLite file

_VERSION_1 = f"""
CREATE TABLE corpus (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    uri TEXT NOT NULL,
    title TEXT,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,  -- a JSON object
    pages TEXT NOT NULL,     -- a JSON list of [number, start, end]
    record INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES documents (number),
    text TEXT NOT NULL,
    "start" INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    title TEXT,
    headings TEXT NOT NULL,  -- a JSON list
    page INTEGER,
    revision INTEGER NOT NULL
);
CREATE INDEX chunks_by_document ON chunks (document);
CREATE INDEX chunks_by_revision ON chunks (revision);
-- Vectors have a table of their own, so that reading texts does not read them, and the other way round.
CREATE TABLE vectors (number INTEGER PRIMARY KEY, vector BLOB NOT NULL);  -- little-endian float32
CREATE TABLE removed (revision INTEGER NOT NULL, chunk_id TEXT NOT NULL);
CREATE INDEX removed_by_revision ON removed (revision);
CREATE VIRTUAL TABLE words USING fts5 (
    title, headings, text, content='chunks', content_rowid='number', tokenize='{TOKENIZER}'
);
"""

MIGRATIONS = (_VERSION_1,)
"""Script n takes a file from schema version n to n + 1. Never edit one that was released: append."""


def migrate(db: sqlite3.Connection, *, path: str) -> None:
    """Bring the file to the present schema, in one transaction. Raises `ForeignFileError`, `NewerSchemaError`."""
    if _version(db, path=path) == len(MIGRATIONS):
        return
    with transaction(db):
        for script in MIGRATIONS[_version(db, path=path) :]:  # again, now that nobody else can be migrating it
            for statement in _statements(script):
                db.execute(statement)
        db.execute(
            "INSERT OR IGNORE INTO corpus VALUES ('identity', ?), ('revision', 0), ('oldest', 0)", (_identity(),)
        )
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(db: sqlite3.Connection, *, path: str) -> int:
    # Tables first: who makes the file sets the id together with them, so tables that are seen have it by now.
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and tables:
        raise ForeignFileError(f"{path} is an SQLite file, but not an analect corpus: name another with --corpus")
    if version > len(MIGRATIONS):
        raise NewerSchemaError(
            f"{path} has schema {version}, this analect knows {len(MIGRATIONS)}: it was written by a newer one; upgrade"
        )
    return int(version)


def _statements(script: str) -> list[str]:
    """Split a script: `executescript` would commit the transaction that makes a migration all or nothing."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _identity() -> str:
    return uuid.uuid4().hex[:8]
