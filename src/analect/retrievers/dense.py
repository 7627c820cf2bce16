"""Dense retrieval: the query's vector, and the nearest chunks to it."""

from __future__ import annotations

from analect.embedding import embed_all
from analect.protocols import Embedder, SearchesVectors
from analect.types import Filter, Hit


class DenseRetriever:
    """Ranks by cosine of query and chunk. Raises `EmbeddingError` when the query cannot be embedded."""

    def __init__(self, *, embedder: Embedder, searcher: SearchesVectors) -> None:
        self._embedder = embedder
        self._searcher = searcher

    def retrieve(self, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
        """Return at most k hits, best first."""
        vectors = embed_all(self._embedder, [query], kind="query")
        return self._searcher.search_vectors(vectors, k=k, where=where)[0]
