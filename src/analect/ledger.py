"""The ledger: what was embedded once is never computed again.

A vector is kept under the hash of its text, the embedder's id and the kind of text, in a file of its own that outlives
the corpus. It is committed batch by batch (request by request, where the embedder makes its own), before anything
downstream happens: a crash costs at most what is under way. Processes share the file: whoever computes a text holds a
lease on it, so another that needs it waits for the vector. The lease of a process that died is void at once on the same
host, and after `_LEASE_SECONDS` elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analect.errors import LedgerError
from analect.protocols import Embedder, EmbedsInParts
from analect.types import Embeddings, Kind, Matrix
from analect.wal import transaction, use_wal

BATCH = 256  # texts that are computed, then committed: what a crash can cost
_REQUESTS_BATCH = 8192  # the same, given at once to an embedder that makes its own requests and tells of each
_LEASE_SECONDS = 1800.0  # far longer than a batch or request takes; only a process that no longer runs lets one expire
_WAIT_SECONDS = 0.05
_UNIT = 1e-3  # how far the length of a vector may be from 1
_MOST_USED_SIZE = "SELECT length(vector), count(*) FROM vectors WHERE space = ? GROUP BY 1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spaces (number INTEGER PRIMARY KEY, embedder_id TEXT NOT NULL, kind TEXT NOT NULL,
    UNIQUE (embedder_id, kind));
CREATE TABLE IF NOT EXISTS vectors (space INTEGER NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL,
    tokens INTEGER NOT NULL, max_tokens INTEGER, created REAL, PRIMARY KEY (space, hash)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (space INTEGER NOT NULL, hash BLOB NOT NULL, owner TEXT NOT NULL,
    expires REAL NOT NULL, PRIMARY KEY (space, hash)) WITHOUT ROWID;
"""


_COLUMNS = {"max_tokens": "INTEGER", "created": "REAL"}  # that files of before receipts do not have


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a kept vector: how it was made, of how many tokens out of how many at most, and when.

    `max_tokens` and `created` (seconds since 1970) are None for vectors kept before there were receipts.
    """

    embedder_id: str
    kind: Kind
    dim: int
    tokens: int
    max_tokens: int | None
    created: float | None


@dataclass(frozen=True, slots=True)
class SpaceStats:
    """What is kept of one embedder and kind: vectors, the tokens paid for them, bytes, and when (None: unknown)."""

    embedder_id: str
    kind: Kind
    dim: int
    vectors: int
    tokens: int
    bytes: int
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class _Kept:
    vector: bytes
    tokens: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str
    tokens: int


class Ledger:
    """The file of vectors that were computed. Safe for several threads and processes.

    Raises `LedgerError` when the file cannot be opened or written.
    """

    def __init__(self, *, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            use_wal(self._db)
            self._db.execute("PRAGMA synchronous = FULL")  # what was paid for survives a power cut as well
            for statement in _SCHEMA.strip().split(";\n"):
                self._db.execute(statement)
        self._add_columns()

    def _add_columns(self) -> None:
        with self._writing() as db:
            there = {row[1] for row in db.execute("PRAGMA table_info(vectors)")}
            for name, kind in _COLUMNS.items():
                if name not in there:
                    db.execute(f"ALTER TABLE vectors ADD COLUMN {name} {kind}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            why = "it is not an SQLite file" if name == "SQLITE_NOTADB" else str(error)
            raise LedgerError(
                f"the ledger {self._path}: {why}; free the disk or the lock, or name another file with ANALECT_LEDGER"
            ) from error
        except OSError as error:
            raise LedgerError(f"the ledger {self._path}: {error.strerror}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors(), transaction(self._db):
            yield self._db

    def space(self, embedder_id: str, *, kind: Kind) -> int:
        """Return the number under which this embedder's vectors of this kind are kept."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO spaces (embedder_id, kind) VALUES (?, ?)", (embedder_id, kind))
            row = db.execute("SELECT number FROM spaces WHERE embedder_id = ? AND kind = ?", (embedder_id, kind))
            return int(row.fetchone()[0])

    def read(self, space: int, hashes: Sequence[bytes]) -> dict[bytes, _Kept]:
        """Return what is kept of those texts."""
        with self._lock, self._errors():
            return _read(self._db, space, hashes)

    def claim(self, space: int, hashes: Sequence[bytes]) -> tuple[dict[bytes, _Kept], list[bytes]]:
        """Return what is kept by now, and what is ours to compute; what is in neither is being computed elsewhere."""
        now = time.time()
        with self._writing() as db:
            kept = _read(db, space, hashes)
            ours = []
            for each in hashes:
                if each in kept:
                    continue
                row = db.execute(
                    "SELECT owner, expires FROM leases WHERE space = ? AND hash = ?", (space, each)
                ).fetchone()
                if row is None or row[1] < now or not _alive(row[0]):
                    lease = (space, each, self._owner, now + _LEASE_SECONDS)
                    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", lease)
                    ours.append(each)
            return kept, ours

    def keep(self, space: int, rows: dict[bytes, _Kept], *, done: Sequence[bytes], max_tokens: int) -> None:
        """Keep those vectors, end our leases on `done` and renew the others: all or none."""
        now = time.time()
        values = [(space, each, kept.vector, kept.tokens, max_tokens, now) for each, kept in rows.items()]
        with self._writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO vectors (space, hash, vector, tokens, max_tokens, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            self._end(db, space, done)
            db.execute("UPDATE leases SET expires = ? WHERE owner = ?", (now + _LEASE_SECONDS, self._owner))

    def release(self, space: int, hashes: Sequence[bytes]) -> None:
        """End our leases on those texts."""
        with self._writing() as db:
            self._end(db, space, hashes)

    def _end(self, db: sqlite3.Connection, space: int, hashes: Sequence[bytes]) -> None:
        ended = [(space, each, self._owner) for each in hashes]
        db.executemany("DELETE FROM leases WHERE space = ? AND hash = ? AND owner = ?", ended)

    def receipt(self, text: str, *, embedder_id: str, kind: Kind) -> Receipt | None:
        """Return what is known of a text's vector; None when there is none."""
        with self._lock, self._errors():
            row = self._db.execute(
                "SELECT length(vector) / 4, tokens, max_tokens, created FROM vectors JOIN spaces ON number = space "
                "WHERE embedder_id = ? AND kind = ? AND hash = ?",
                (embedder_id, kind, hash_of(text)),
            ).fetchone()
        return Receipt(embedder_id, kind, *row) if row else None

    def stats(self) -> list[SpaceStats]:
        """Return what is kept, by embedder and kind."""
        with self._lock, self._errors():
            rows = self._db.execute(
                "SELECT embedder_id, kind, max(length(vector)) / 4, count(*), sum(tokens), sum(length(vector)), "
                "min(created), max(created) FROM vectors JOIN spaces ON number = space "
                "GROUP BY space ORDER BY embedder_id, kind"
            ).fetchall()
        return [SpaceStats(*row) for row in rows]

    def verify(self) -> list[str]:
        """Return what is wrong, a line each: the file's structure, and vectors that cannot be right."""
        with self._lock, self._errors():
            found = [row[0] for row in self._db.execute("PRAGMA integrity_check") if row[0] != "ok"]
            found += [
                f"{embedder_id} ({kind}): the vector {digest.hex()[:16]} {problem}"
                for embedder_id, kind, _, digest, problem in self._damaged()
            ]
        return found

    def _damaged(self) -> Iterator[tuple[str, str, int, bytes, str]]:
        sizes = {
            number: max(self._db.execute(_MOST_USED_SIZE, (number,)), key=lambda row: (row[1], row[0]))[0]
            for (number,) in self._db.execute("SELECT DISTINCT space FROM vectors").fetchall()
        }
        rows = self._db.execute(
            "SELECT embedder_id, kind, space, hash, vector FROM vectors JOIN spaces ON number = space"
        )
        for embedder_id, kind, space, digest, blob in rows:
            if len(blob) != sizes[space]:
                yield embedder_id, kind, space, digest, f"has {len(blob) / 4:g} dimensions, not {sizes[space] // 4}"
                continue
            length = float(np.linalg.norm(np.frombuffer(blob, dtype="<f4").astype(np.float64)))
            if not abs(length - 1) < _UNIT:
                yield embedder_id, kind, space, digest, f"has the length {length:.4g}, not 1"

    def prune(self, *, embedder_id: str | None = None, before: float | None = None, damaged: bool = False) -> int:
        """Remove vectors of that embedder, made before then, or damaged (all that is given must hold); return how many.

        The file gives the space back. With nothing given, nothing is removed.
        """
        if embedder_id is None and before is None and not damaged:
            return 0
        with self._writing() as db:
            wrong = {(space, digest) for _, _, space, digest, _ in self._damaged()} if damaged else set()
            rows = db.execute(
                "SELECT space, hash FROM vectors JOIN spaces ON number = space "
                "WHERE (:id IS NULL OR embedder_id = :id) AND (:before IS NULL OR created < :before)",
                {"id": embedder_id, "before": before},
            ).fetchall()
            gone = [row for row in rows if not damaged or tuple(row) in wrong]
            db.executemany("DELETE FROM vectors WHERE space = ? AND hash = ?", gone)
        with self._lock, self._errors():
            self._db.execute("VACUUM")
        return len(gone)

    def count(self) -> tuple[int, int]:
        """Return the number of vectors kept, and the bytes of the file."""
        with self._lock, self._errors():
            (vectors,) = self._db.execute("SELECT count(*) FROM vectors").fetchone()
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = self._db.execute("PRAGMA page_size").fetchone()
        return int(vectors), int(pages) * int(page_bytes)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._lock:  # SQLite's own close does not wait for another thread's statement
            self._db.close()


def hash_of(text: str) -> bytes:
    """Return the hash that a text is kept under."""
    return hashlib.sha256(text.encode()).digest()


class LedgerEmbedder:
    """Wraps an embedder: texts in the ledger are read from it, the others are computed once and kept."""

    def __init__(self, embedder: Embedder, *, ledger: Ledger, on_progress: Callable[[int], None] | None = None) -> None:
        self._embedder = embedder
        self._ledger = ledger
        self._on_progress = on_progress
        self.id = embedder.id
        self.dim = embedder.dim
        self.max_tokens = embedder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text: int32 (n,)."""
        return self._embedder.count_tokens(texts)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        """Return one unit vector a text; `reused` counts those that were not computed here."""
        space = self._ledger.space(self.id, kind=kind)
        hashes = [hash_of(text) for text in texts]
        text_of = dict(zip(hashes, texts, strict=True))
        kept = self._ledger.read(space, list(text_of))
        failed: dict[bytes, _Failed] = {}
        computed = 0
        missing = sorted((each for each in text_of if each not in kept), key=lambda each: -len(text_of[each]))
        size = _REQUESTS_BATCH if isinstance(self._embedder, EmbedsInParts) else BATCH
        while missing:
            batch, rest = missing[:size], missing[size:]
            found, ours = self._ledger.claim(space, batch)
            made, broken = self._compute(space, {each: text_of[each] for each in ours}, kind=kind)
            kept |= found | made
            failed |= broken
            computed += len(made)
            missing = rest + [each for each in batch if each not in kept and each not in failed]
            if not found and not ours:  # all of this batch is being computed elsewhere
                time.sleep(_WAIT_SECONDS)
        return self._gather(hashes, kept=kept, failed=failed, computed=computed)

    def _compute(
        self, space: int, text_of: dict[bytes, str], *, kind: Kind
    ) -> tuple[dict[bytes, _Kept], dict[bytes, _Failed]]:
        """Embed those texts and keep their vectors; return them, and what could not be embedded."""
        if not text_of:
            return {}, {}
        hashes = list(text_of)
        made: dict[bytes, _Kept] = {}
        failed: dict[bytes, _Failed] = {}
        try:
            for rows, found in self._parts(list(text_of.values()), kind=kind):
                done = [hashes[row] for row in rows]
                part = _kept(done, found)
                # A cut text is cut by a policy of the moment: its vector is not kept as that of the whole text.
                whole = {each: row for each, row in part.items() if not row.cut}
                self._ledger.keep(space, whole, done=done, max_tokens=self.max_tokens)
                made |= part
                for index, reason in found.failures.items():
                    failed[done[index]] = _Failed(reason, int(found.tokens[index]))
                if self._on_progress:
                    self._on_progress(len(done))
        finally:
            self._ledger.release(space, hashes)
        return made, failed

    def _parts(self, texts: list[str], *, kind: Kind) -> Iterator[tuple[Sequence[int], Embeddings]]:
        """Yield rows and their embeddings as they come to be."""
        if isinstance(self._embedder, EmbedsInParts):
            yield from self._embedder.embed_parts(texts, kind=kind)
        else:
            yield range(len(texts)), self._embedder.embed(texts, kind=kind)

    def _gather(
        self, hashes: Sequence[bytes], *, kept: dict[bytes, _Kept], failed: dict[bytes, _Failed], computed: int
    ) -> Embeddings:
        vectors: Matrix = np.full((len(hashes), self.dim), np.nan, dtype=np.float32)
        tokens = np.zeros(len(hashes), dtype=np.int32)
        cut = np.zeros(len(hashes), dtype=np.bool_)
        failures = {}
        for index, each in enumerate(hashes):
            if each in failed:
                failures[index], tokens[index] = failed[each].reason, failed[each].tokens
            else:
                vectors[index] = np.frombuffer(kept[each].vector, dtype="<f4")
                tokens[index], cut[index] = kept[each].tokens, kept[each].cut
        return Embeddings(vectors, tokens, cut, failures, reused=len(hashes) - len(failures) - computed)


def _kept(hashes: Sequence[bytes], found: Embeddings) -> dict[bytes, _Kept]:
    """Return what there is to keep of embeddings."""
    return {
        each: _Kept(found.vectors[index].astype("<f4").tobytes(), int(found.tokens[index]), bool(found.cut[index]))
        for index, each in enumerate(hashes)
        if index not in found.failures
    }


def _read(db: sqlite3.Connection, space: int, hashes: Sequence[bytes]) -> dict[bytes, _Kept]:
    query = "SELECT vector, tokens FROM vectors WHERE space = ? AND hash = ?"
    rows = ((each, db.execute(query, (space, each)).fetchone()) for each in hashes)
    return {each: _Kept(*row) for each, row in rows if row}


def _alive(owner: str) -> bool:
    """Return whether the process that holds a lease may still run; one of another host counts as running."""
    host, pid, started = owner.rsplit("/", 2)
    return host != socket.gethostname() or _started(int(pid)) == started


def _started(pid: int) -> str:
    """Return when a process started, so that a new process under an old number is not taken for it; "" if none runs."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[19]  # field 22 of proc(5), in clock ticks since boot
    if os.name != "posix":
        return "running"  # no way to ask: its lease ends by time
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "running"
    return "running"
