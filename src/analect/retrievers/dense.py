"""Dense retrieval: the query's vector, and the nearest chunks to it."""

from __future__ import annotations

from analect.errors import EmbeddingError
from analect.protocols import Embedder, SearchesVectors
from analect.types import Filter, Hit


class DenseRetriever:
    """Ranks by cosine of query and chunk. Raises `EmbeddingError` when the query cannot be embedded."""

    def __init__(self, *, embedder: Embedder, searcher: SearchesVectors) -> None:
        self._embedder = embedder
        self._searcher = searcher

    def retrieve(self, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
        """Return at most k hits, best first."""
        embeddings = self._embedder.embed([query], kind="query")
        if embeddings.failures:
            raise EmbeddingError(f"the query cannot be embedded: {embeddings.failures[0]}")
        return self._searcher.search_vectors(embeddings.vectors, k=k, where=where)[0]
