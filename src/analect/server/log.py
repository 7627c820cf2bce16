"""The server's log: one JSON line an event, written aside.

Whoever should read it may be slow, or gone. Neither may hold up an answer: lines wait in memory for a thread that
writes them, more than a number of them are left out, and the log says how many were.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from io import UnsupportedOperation
from typing import Any, TextIO

import orjson

_GATHERED = 0.05  # seconds: one write for the lines of a while costs the requests less than one for each
_MOST = 10_000  # lines that wait, some 2 MB
_LAST_WORDS = 1.0  # seconds that an end waits for what is left to be written


class Log:
    """Writes lines to a stream from a thread of its own, which ends with `close`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = False
        self._left_out = 0  # by `write`
        self._unwritten = 0  # by the thread, as what follows
        self._told = 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one line; never waits and never fails."""
        if len(self._lines) >= _MOST:
            self._left_out += 1
            return
        self._lines.append(orjson.dumps(record) + b"\n")
        if self._thread is None:
            self._start()
        if not self._some.is_set():
            self._some.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="analect-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._ending:
            self._some.wait()
            if not self._ending:
                time.sleep(_GATHERED)
            self._some.clear()
            self._write_all()
        self._write_all()  # what came in the meantime

    def _write_all(self) -> None:
        lines = []
        missing = self._left_out + self._unwritten - self._told
        if missing:
            lines.append(orjson.dumps({"lines_lost": missing}) + b"\n")
        while self._lines:
            lines.append(self._lines.popleft())
        try:
            self._put(b"".join(lines))
        except (OSError, ValueError):  # whoever read it is gone, the disk is full, the stream is closed
            self._unwritten += len(lines) - bool(missing)
        else:
            self._told += missing

    def _put(self, text: bytes) -> None:
        """Write past the stream's own buffer: its lock, held by a write that never ends, would stop the exit."""
        try:
            number = self._stream.fileno()
        except UnsupportedOperation:  # it is in memory
            self._stream.write(text.decode())
            return
        while text:
            try:
                text = text[os.write(number, text) :]
            except BlockingIOError:  # somebody who shares it made it so
                time.sleep(_GATHERED)

    def close(self) -> None:
        """Write what is left, as far as that is possible at once."""
        self._ending = True
        self._some.set()
        if self._thread is not None:
            self._thread.join(_LAST_WORDS)


class LogHandler(logging.Handler):
    """Puts what libraries log among the other lines: who, where and which error. Their words may hold a text."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        kind = record.exc_info[0] if record.exc_info else None
        told = {"logger": record.name, "level": record.levelname, "at": [f"{record.filename}:{record.lineno}"]}
        self._log.write({**told, "error": kind.__name__} if kind else told)
