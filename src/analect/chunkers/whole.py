"""Keeps a document in one chunk while it fits: the rows of a table, reviews, abstracts."""

from __future__ import annotations

from collections.abc import Iterator

from analect.chunkers.blocks import Block
from analect.chunkers.costs import Costs, token_limit
from analect.chunkers.packing import make_chunk, pack
from analect.chunkers.prose import trimmed
from analect.protocols import Embedder
from analect.types import Chunk, Document

_VERSION = 1  # a change that moves any cut gets a new one: corpora are then chunked again


class WholeChunker:
    """One chunk a document while title and text fit the embedder; a longer text is cut as prose."""

    def __init__(self, *, embedder: Embedder, max_tokens: int | None = None) -> None:
        self._embedder = embedder
        self._limit = token_limit(embedder, max_tokens)
        self.id = f"whole/{self._limit}/{_VERSION}"

    def chunk(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks in order of their offsets; a blank document has none."""
        span = trimmed(document.text, 0, len(document.text))
        if span[0] == span[1]:
            return
        chunk = make_chunk(document, span, title=document.title)
        if self._embedder.count_tokens([chunk.embedded_text])[0] <= self._limit:
            yield chunk
        else:
            costs = Costs(self._embedder, limit=self._limit, title=document.title)
            yield from pack(document, [Block(*span)], costs=costs)
