"""Whether analect can work here: each check says what it saw and, when that is not right, what to do."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analect.config import FILE, Settings, load_settings
from analect.errors import AnalectError
from analect.fts import TOKENIZER
from analect.models import KNOWN, PAIR, TOLERANCE
from analect.protocols import Embedder, Examines, Store
from analect.registry import build_part

_FREE = 200_000_000  # bytes: some 50,000 chunks with their vectors
_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `detail` is what was seen, `fix` what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str


class _Wrong(AnalectError):
    """What was seen is not right."""


class _NotTried(AnalectError):
    """What it needs is not there."""


class _Examination:
    """Each method looks at one thing, returns what it saw, and raises an `AnalectError` when that is not right."""

    def __init__(self, *, config: Path | None, corpus: Path | None) -> None:
        self._config = config
        self._corpus = corpus
        self._settings = replace(Settings(), corpus=corpus or Settings().corpus)  # until they have been read
        self._embedder: Embedder | None = None

    def python(self) -> str:
        """Check that Python is new enough."""
        if sys.version_info < _PYTHON:
            raise _Wrong(f"{platform.python_version()}, older than 3.11")
        return f"{platform.python_version()} at {sys.executable}"

    def sqlite(self) -> str:
        """Check that SQLite has full text search, with the tokenizer that analect uses."""
        try:
            with closing(sqlite3.connect(":memory:")) as db:
                db.execute(f"CREATE VIRTUAL TABLE words USING fts5 (text, tokenize='{TOKENIZER}')")
        except sqlite3.Error as error:
            raise _Wrong(f"{sqlite3.sqlite_version}, without FTS5: {error}") from error
        return f"{sqlite3.sqlite_version} with FTS5"

    def settings(self) -> str:
        """Check that the settings can be read; the checks that follow go by them."""
        read = load_settings(self._config)
        self._settings = replace(read, corpus=self._corpus or read.corpus)
        file = self._config or Path(FILE)
        return f"from {file}" if file.exists() else f"the defaults: there is no {FILE} here"

    def model(self) -> str:
        """Check that the embedder of the settings can be built: its files are there, or its library is."""
        self._embedder = build_part("embedder", self._settings.embedder, quota=self._settings.quota)
        folder = getattr(self._embedder, "folder", None)
        return f"{self._embedder.id} in {folder}" if folder else self._embedder.id

    def service(self) -> Iterator[Check]:
        """Yield the checks of the service that the embedder uses."""
        for check in _examined(self._embedder, name="service", fix="correct the [embedder] section or the environment"):
            yield check
            if not check.ok:
                self._embedder = None  # what asks it next would only fail again, and slowly

    def chat(self) -> Iterator[Check]:
        """Yield the checks of the service that answers."""
        fix = "correct the [chat] section or the environment"
        if self._settings.chat.use == Settings().chat.use:  # needs no service, and the embedder was looked at
            return
        try:
            answerer = build_part("chat", self._settings.chat, quota=self._settings.quota, embedder=self._embedder)
        except Exception as error:  # noqa: BLE001  # as below
            yield Check("chat", False, _said(error), fix)
            return
        yield from _examined(answerer, name="chat", fix=fix)

    def vectors(self) -> str:
        """Check that vectors have unit length, and that a known model gives the known cosine of two sentences."""
        if self._embedder is None:
            raise _NotTried("not tried: the model or its service is not there")
        vectors = self._embedder.embed(PAIR, kind="query").vectors.astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-4):
            raise _Wrong(f"the vectors of two sentences have the lengths {lengths[0]:.4f} and {lengths[1]:.4f}, not 1")
        cosine = float(vectors[0] @ vectors[1])
        seen = f"'{PAIR[0]}' and '{PAIR[1]}' have the cosine {cosine:.4f}"
        known = next((each for each in KNOWN.values() if f"@{each.sha256[:12]}/" in self._embedder.id), None)
        if known is None:
            return f"{seen}; nothing is known to compare it with"
        expected = f"{seen}, expected {known.cosine} ± {TOLERANCE}"
        if abs(cosine - known.cosine) > TOLERANCE:
            raise _Wrong(expected)
        return expected

    def corpus(self) -> str:
        """Check that the corpus opens, and was made with this embedder; one that is not there is right too."""
        file = self._settings.corpus
        if self._settings.store.use == "sqlite" and not file.exists():
            return f"none yet at {file}"
        store: Store = build_part("store", self._settings.store, path=file)
        with closing(store):
            documents, chunks = store.count()
            if self._embedder and chunks:  # an empty store would be bound to it: a doctor only looks
                store.prepare(embedder_id=self._embedder.id, dim=self._embedder.dim)
        return f"{documents:,} documents, {chunks:,} chunks in {file}"

    def ledger(self) -> str:
        """Check that the ledger's folder can be written to, by writing to it."""
        # Permission bits do not tell: there are read-only disks, quotas, and users whom no bit stops.
        folder = _existing(self._settings.ledger.parent)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0")
        except OSError as error:
            raise _Wrong(f"{folder} cannot be written: {error.strerror}") from error
        return f"{folder} can be written"

    def disk(self) -> str:
        """Check that there is room beside the ledger."""
        folder = _existing(self._settings.ledger.parent)
        free = shutil.disk_usage(folder).free
        if free <= _FREE:
            raise _Wrong(f"{free / 1e6:,.0f} MB free at {folder}, more than {_FREE / 1e6:,.0f} are needed")
        return f"{free / 1e6:,.0f} MB free at {folder}"


def _examined(part: object, *, name: str, fix: str) -> Iterator[Check]:
    """Yield the checks of the service of a part, where it has one."""
    if isinstance(part, Examines):
        for what, ok, detail in part.examine():
            yield Check(f"{name} {what}", ok, detail, "" if ok else fix)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, AnalectError) else f"{type(error).__name__}: {error}"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


_CHECKS = (
    ("python", _Examination.python, "install Python 3.11 or newer"),
    ("sqlite", _Examination.sqlite, "use a Python whose SQLite has FTS5, such as that of python.org or uv"),
    ("settings", _Examination.settings, "correct what is named above"),
    ("model", _Examination.model, "give the model in one of the ways named above, or correct the setting"),
    ("vectors", _Examination.vectors, "fetch the model again, and reinstall openvino and tokenizers"),
    ("corpus", _Examination.corpus, "name another file with --corpus, or use the embedder that it was made with"),
    ("ledger", _Examination.ledger, "allow writing there, or name another file with ANALECT_LEDGER"),
    ("disk", _Examination.disk, "free some space, or name files on another disk"),
)


def examine(*, config: Path | None = None, corpus: Path | None = None) -> Iterator[Check]:
    """Yield every check, one after the other; what fails is yielded too, never raised."""
    examination = _Examination(config=config, corpus=corpus)
    for name, look, fix in _CHECKS:
        try:
            yield Check(name, True, look(examination), "")
        except _NotTried as error:
            yield Check(name, False, str(error), "correct what is named above")
        except Exception as error:  # noqa: BLE001  # a doctor that dies of what it finds is of no use
            yield Check(name, False, _said(error), fix)
        if name == "model":
            yield from examination.service()
            yield from examination.chat()
