"""How every SQLite file of analect is written: with a write-ahead log, one transaction at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 60.0  # as long as any other statement waits for a lock
_PAUSE = 0.01


def use_wal(db: sqlite3.Connection) -> None:
    """Put the file in write-ahead mode, waiting for another process that is opening it.

    The switch itself does not wait for a lock, whatever the connection's timeout is: two processes that open a new file
    at once would fail without this. Raises `sqlite3.OperationalError` as the switch does.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            locked = (getattr(error, "sqlite_errorname", "") or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not locked or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing: taken at once, so that nobody else writes between what is read here and what is written."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk rolls back by itself
            db.execute("ROLLBACK")
        raise
