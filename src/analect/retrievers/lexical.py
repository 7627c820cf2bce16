"""Lexical retrieval: the chunks that share the query's words, by BM25."""

from __future__ import annotations

from analect.protocols import SearchesText
from analect.types import Filter, Hit


class LexicalRetriever:
    """Ranks by BM25."""

    def __init__(self, *, searcher: SearchesText) -> None:
        self._searcher = searcher

    def retrieve(self, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
        """Return at most k hits, best first; none when no chunk has a word of the query."""
        return self._searcher.search_text(query, k=k, where=where)
