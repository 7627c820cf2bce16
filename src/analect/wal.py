"""SQLite's write-ahead log, switched on by whoever comes first."""

from __future__ import annotations

import sqlite3
import time

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
