"""The memory store: everything in dictionaries, gone with the process. For tests, evaluation and small jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from analect.errors import ConflictError, EmbedderMismatchError, NotFoundError, RevisionExpired, StoreError
from analect.stores._checks import check_vectors
from analect.types import Change, Chunk, Document, Entry, Revision, Stored


class MemoryStore:
    """Keeps entries in this process. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._versions: dict[str, int] = {}
        self._chunks: dict[str, Chunk] = {}
        self._removed: list[tuple[int, str]] = []
        self._revision = 0
        self._space: tuple[str, int] | None = None

    def prepare(self, *, embedder_id: str, dim: int) -> None:
        """Bind the store to a vector space. Raises `EmbedderMismatchError` when it holds another one's vectors."""
        with self._lock:
            if self._chunks and self._space and self._space != (embedder_id, dim):
                raise EmbedderMismatchError(f"the store holds vectors of {self._space[0]}, not of {embedder_id}")
            self._space = (embedder_id, dim)

    def put(self, entries: Iterable[Entry]) -> Revision:
        """Replace those documents whole, all or none."""
        entries = list(entries)
        with self._lock:
            self._check(entries)
            self._revision += 1
            for entry in entries:
                self._remove(entry.document.id)
                self._entries[entry.document.id] = entry
                self._versions[entry.document.id] = self._revision
                self._chunks.update((chunk.id, chunk) for chunk in entry.chunks)
            return self.revision()

    def _check(self, entries: list[Entry]) -> None:
        if self._space is None:
            raise StoreError("the store has no vector space yet: call prepare(embedder_id=…, dim=…) first")
        for entry in entries:
            check_vectors(entry, dim=self._space[1])
        taken = [
            entry.document.id
            for entry in entries
            if (stored := self._entries.get(entry.document.id)) and stored.document.source != entry.document.source
        ]
        if taken:
            raise ConflictError(f"another source already has {', '.join(map(repr, taken))}", ids=tuple(taken))

    def _remove(self, document_id: str) -> None:
        entry = self._entries.pop(document_id, None)
        for chunk in entry.chunks if entry else ():
            del self._chunks[chunk.id]
            self._removed.append((self._revision, chunk.id))

    def delete(self, document_ids: Iterable[str]) -> Revision:
        """Remove those documents; ids that are not there are ignored."""
        with self._lock:
            self._revision += 1
            for document_id in document_ids:
                self._remove(document_id)
                self._versions.pop(document_id, None)
            return self.revision()

    def documents(self, *, source: str | None = None) -> Iterator[Stored]:
        """Yield what is there, ordered by id."""
        with self._lock:
            entries = sorted(self._entries.items())
            versions = dict(self._versions)
        for document_id, entry in entries:
            document = entry.document
            if source is None or document.source == source:
                yield Stored(
                    id=document_id,
                    source=document.source,
                    uri=document.uri,
                    fingerprint=entry.fingerprint,
                    version=str(versions[document_id]),
                )

    def get(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Return those chunks in the order asked for; ids that are not there are left out."""
        with self._lock:
            return [self._chunks[chunk_id] for chunk_id in chunk_ids if chunk_id in self._chunks]

    def read_document(self, document_id: str) -> Document:
        """Return the document as it was put. Raises `NotFoundError`."""
        with self._lock:
            if document_id not in self._entries:
                raise NotFoundError(f"no document {document_id!r} in this corpus")
            return self._entries[document_id].document

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        """Yield what came and went since a revision, in one step."""
        with self._lock:
            start = 0 if since is None else int(since)
            if start > self._revision:
                raise RevisionExpired(f"revision {since} is not one of this store: read everything again")
            removed = () if since is None else tuple(name for revision, name in self._removed if revision > start)
            entries = [self._entries[name] for name, version in self._versions.items() if version > start]
            now = self.revision()
        vectors = [entry.vectors for entry in entries if entry.chunks]
        if removed or vectors:
            chunks = tuple(chunk for entry in entries for chunk in entry.chunks)
            yield Change(
                revision=now,
                removed_ids=removed,
                chunk_ids=[chunk.id for chunk in chunks],
                metadata=[chunk.metadata for chunk in chunks],
                vectors=np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32),
                read_chunks=lambda: chunks,
            )

    def count(self) -> tuple[int, int]:
        """Return the number of documents and of chunks."""
        with self._lock:
            return len(self._entries), len(self._chunks)

    def revision(self) -> Revision:
        """Return the present revision."""
        return str(self._revision)

    def close(self) -> None:
        """Nothing to give back."""
