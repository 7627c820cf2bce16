"""The ledger: what was embedded once is never computed again.

A vector is kept under the hash of its text, the embedder's id and the kind of text, in a file of its own that outlives
the corpus. It is committed batch by batch, before anything downstream happens: a crash costs at most the batch under
way. Processes share the file: whoever computes a text holds a lease on it, so another that needs it waits for the
vector. The lease of a process that died is void at once on the same host, and after `_LEASE_SECONDS` elsewhere.
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
from analect.protocols import Embedder
from analect.types import Embeddings, Kind, Matrix
from analect.wal import use_wal

BATCH = 256  # texts that are computed, then committed: what a crash can cost
_LEASE_SECONDS = 600.0  # far longer than a batch takes; only a process that no longer runs lets one expire
_WAIT_SECONDS = 0.05
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spaces (number INTEGER PRIMARY KEY, embedder_id TEXT NOT NULL, kind TEXT NOT NULL,
    UNIQUE (embedder_id, kind));
CREATE TABLE IF NOT EXISTS vectors (space INTEGER NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL,
    tokens INTEGER NOT NULL, PRIMARY KEY (space, hash)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (space INTEGER NOT NULL, hash BLOB NOT NULL, owner TEXT NOT NULL,
    expires REAL NOT NULL, PRIMARY KEY (space, hash)) WITHOUT ROWID;
"""


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
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

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

    def write(self, space: int, rows: dict[bytes, _Kept]) -> None:
        """Keep those vectors, all or none."""
        values = [(space, each, kept.vector, kept.tokens) for each, kept in rows.items()]
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?)", values)

    def release(self, space: int, hashes: Sequence[bytes]) -> None:
        """End our leases on those texts."""
        with self._writing() as db:
            ended = [(space, each, self._owner) for each in hashes]
            db.executemany("DELETE FROM leases WHERE space = ? AND hash = ? AND owner = ?", ended)

    def count(self) -> tuple[int, int]:
        """Return the number of vectors kept, and the bytes of the file."""
        with self._lock, self._errors():
            (vectors,) = self._db.execute("SELECT count(*) FROM vectors").fetchone()
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = self._db.execute("PRAGMA page_size").fetchone()
        return int(vectors), int(pages) * int(page_bytes)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._db.close()


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
        hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
        text_of = dict(zip(hashes, texts, strict=True))
        kept = self._ledger.read(space, list(text_of))
        failed: dict[bytes, _Failed] = {}
        computed = 0
        missing = sorted((each for each in text_of if each not in kept), key=lambda each: -len(text_of[each]))
        while missing:
            batch, rest = missing[:BATCH], missing[BATCH:]
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
            found = self._embedder.embed(list(text_of.values()), kind=kind)
            for index, each in enumerate(hashes):
                if index in found.failures:
                    failed[each] = _Failed(found.failures[index], int(found.tokens[index]))
                else:
                    vector = found.vectors[index].astype("<f4").tobytes()
                    made[each] = _Kept(vector, int(found.tokens[index]), bool(found.cut[index]))
            # A cut text is cut by a policy of the moment: its vector is not kept as that of the whole text.
            self._ledger.write(space, {each: row for each, row in made.items() if not row.cut})
        finally:
            self._ledger.release(space, hashes)
        if self._on_progress:
            self._on_progress(len(hashes))
        return made, failed

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
