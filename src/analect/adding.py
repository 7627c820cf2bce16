"""One `add`: what sources hold becomes what the store holds, and nothing is embedded that need not be.

Documents are taken in groups of about `_GROUP` chunks: chunked, embedded through the ledger, put in one transaction.
What cannot be read, chunked or embedded is reported, and the version that the store has of it stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from analect.encoding import check_text
from analect.errors import ConflictError, ReadError
from analect.ledger import Ledger, LedgerEmbedder
from analect.protocols import Chunker, Embedder, Source, Store
from analect.types import AddProgress, AddReport, Chunk, Document, Entry, ReadFailure, Stored

_GROUP = 1024  # chunks: enough for batches of like lengths, little enough to hold in memory


@dataclass(frozen=True, slots=True)
class _Pending:
    document: Document
    fingerprint: str
    chunks: tuple[Chunk, ...]


class Adding:
    """Carries one `add` from its sources to the store and counts what happens."""

    def __init__(
        self,
        *,
        store: Store,
        embedder: Embedder,
        ledger: Ledger,
        chunker: Chunker,
        record_chunker: Chunker,
        on_progress: Callable[[AddProgress], None] | None = None,
    ) -> None:
        self._store = store
        self._embedder = LedgerEmbedder(embedder, ledger=ledger, on_progress=self._computed)
        self._chunker = chunker
        self._record_chunker = record_chunker
        self._on_progress = on_progress
        self._stored = {each.id: each for each in store.documents()}
        self._origin: dict[str, str] = {}  # id → uri of every document seen
        self._pending: list[_Pending] = []
        self._pending_chunks = 0
        self._failed: list[ReadFailure] = []
        self._total = 0
        self._embedded = 0
        self._report = AddReport(0, 0, 0, 0, 0, 0, 0, 0, ())

    def run(self, sources: Iterable[Source]) -> AddReport:
        """Take in every source, remove what vanished from it, and return what was done."""
        sources = list(sources)
        self._total = sum(source.total() for source in sources)
        for source in sources:
            self._take_in(source)
        return replace(self._report, failed=tuple(self._failed))

    def _take_in(self, source: Source) -> None:
        failures = len(self._failed)
        for item in source.read():
            if isinstance(item, ReadFailure):
                self._failed.append(item)
            else:
                self._count(documents=1)
                self._take(item)
            self._tell()
        self._flush()
        self._remove_vanished(source, {failure.uri for failure in self._failed[failures:]})

    def _take(self, document: Document) -> None:
        problem = self._problem(document)
        if problem:
            self._fail(document, problem)
            return
        self._origin[document.id] = document.uri
        chunker = self._record_chunker if document.record else self._chunker
        fingerprint = fingerprint_of(document, chunker_id=chunker.id, embedder_id=self._embedder.id)
        before = self._stored.get(document.id)
        if before and before.fingerprint == fingerprint:
            self._count(unchanged=1)
            return
        chunks = tuple(chunker.chunk(document))
        if not chunks:
            self._fail(document, "there is no text in it")
            return
        self._pending.append(_Pending(document, fingerprint, chunks))
        self._pending_chunks += len(chunks)
        if self._pending_chunks >= _GROUP:
            self._flush()

    def _problem(self, document: Document) -> str | None:
        """Return why the document cannot be taken, in one line."""
        if document.id in self._origin:
            return f"its id {document.id!r} was already read from {self._origin[document.id]}"
        before = self._stored.get(document.id)
        if before and before.source != document.source:
            return (
                f"its id {document.id!r} belongs to the source {before.source!r}: add it under that name (--source), "
                "give it another id, or delete that document first"
            )
        try:
            for text in (document.id, document.text, document.title or ""):
                check_text(text)
        except ReadError as error:
            return str(error)
        return None

    def _fail(self, document: Document, error: str) -> None:
        self._failed.append(ReadFailure(document.source, document.uri, error))

    def _flush(self) -> None:
        """Embed and put what is pending."""
        pending, self._pending, self._pending_chunks = self._pending, [], 0
        if not pending:
            return
        texts = [chunk.embedded_text for each in pending for chunk in each.chunks]
        embeddings = self._embedder.embed(texts, kind="document")
        entries, start, reused = [], 0, embeddings.reused
        for each in pending:
            rows = range(start, start + len(each.chunks))
            start = rows.stop
            failed = next((row for row in rows if row in embeddings.failures), None)
            if failed is not None:
                self._fail(each.document, f"it cannot be embedded: {embeddings.failures[failed]}")
                continue
            vectors = np.ascontiguousarray(embeddings.vectors[rows.start : rows.stop])
            entries.append(Entry(each.document, each.fingerprint, each.chunks, vectors))
        self._count(reused=reused, embedded=len(texts) - len(embeddings.failures) - reused)
        self._put(entries)

    def _put(self, entries: list[Entry]) -> None:
        try:
            self._store.put(entries)
        except ConflictError as error:  # somebody else added them since this add began
            for entry in entries:
                if entry.document.id in error.ids:
                    self._fail(entry.document, f"its id {entry.document.id!r} was just added by another source")
            entries = [entry for entry in entries if entry.document.id not in error.ids]
            self._store.put(entries)
        for entry in entries:
            new = entry.document.id not in self._stored
            self._count(added=int(new), replaced=int(not new), chunks=len(entry.chunks))

    def _remove_vanished(self, source: Source, failed: set[str]) -> None:
        """Delete what this source gave before and no longer has; what merely could not be read stays."""
        roots = set(source.roots)
        gone = [
            stored.id
            for stored in self._stored.values()
            if stored.source == source.name
            and stored.id not in self._origin
            and _is_under(stored, roots)
            and not _is_under(stored, failed)
        ]
        if gone:
            self._store.delete(gone)
            self._count(deleted=len(gone))

    def _count(self, **more: int) -> None:
        changed = {name: getattr(self._report, name) + number for name, number in more.items()}
        self._report = replace(self._report, **changed)

    def _computed(self, texts: int) -> None:
        self._embedded += texts
        self._tell()

    def _tell(self) -> None:
        if self._on_progress:
            self._on_progress(AddProgress(self._report.documents, self._total, self._embedded))


def _is_under(stored: Stored, uris: set[str]) -> bool:
    """Return whether a document is one of those uris, or inside one: a file of a folder, a record of a file."""
    uri = stored.uri
    places = [place for place, sign in enumerate(uri) if sign in "/#"]
    return uri in uris or any(uri[:place] in uris or uri[: place + 1] in uris for place in places)


def fingerprint_of(document: Document, *, chunker_id: str, embedder_id: str) -> str:
    """Return 32 hexadecimal digits that change with anything that decides what the store keeps of a document."""
    pages = [(page.number, page.start, page.end) for page in document.pages]
    parts = [document.text, document.title, document.uri, sorted(document.metadata.items()), pages]
    canonical = json.dumps([*parts, chunker_id, embedder_id], ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
