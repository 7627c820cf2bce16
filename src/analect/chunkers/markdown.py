"""Cuts Markdown at its headings, then between its blocks, and inside a block only when it does not fit."""

from __future__ import annotations

from collections.abc import Iterator

from analect.chunkers.blocks import scan
from analect.chunkers.costs import Costs, token_limit
from analect.chunkers.packing import pack
from analect.protocols import Embedder
from analect.types import Chunk, Document

_VERSION = 1  # a change that moves any cut gets a new one: corpora are then chunked again


class MarkdownChunker:
    """Chunks that fit the embedder with their title and headings.

    A heading starts a chunk, and stays with what follows. Small sections in a row share a chunk until it has a quarter
    of the limit; its `headings` are then those that hold for all of it. Tables and code fences stay whole while they
    fit; each further chunk of a longer table has the header row as its last heading.

    Title and headings get at most half of the limit. Above that, and where a code fence or a table row would else not
    fit, outer headings are left out first, and the title last.
    """

    def __init__(self, *, embedder: Embedder, max_tokens: int | None = None) -> None:
        self._embedder = embedder
        self._limit = token_limit(embedder, max_tokens)
        self.id = f"markdown/{self._limit}/{_VERSION}"

    def chunk(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks in order of their offsets; a blank document has none."""
        costs = Costs(self._embedder, limit=self._limit, title=document.title)
        return pack(document, scan(document.text), costs=costs)
