"""Hybrid retrieval: dense and lexical ranks fused by reciprocal rank.

Cormack, Clarke & Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods":
score(chunk) = Σ over rankings of 1 / (60 + rank), rank from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from analect.protocols import Retriever
from analect.types import Filter, Hit

_CONSTANT = 60  # the paper's
_DEPTH = 100  # ranks of each side that are fused, at least: what both sides rank lower decides nothing


class HybridRetriever:
    """Fuses two retrievers, so that a chunk both find comes before one that only one finds."""

    def __init__(self, *, dense: Retriever, lexical: Retriever) -> None:
        self._retrievers = (dense, lexical)

    def retrieve(self, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
        """Return at most k hits, best first; `scores` keeps what each side gave."""
        depth = max(k, _DEPTH)
        return fuse([each.retrieve(query, k=depth, where=where) for each in self._retrievers])[:k]


def fuse(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Return the hits of all rankings by reciprocal rank, best first, ties by chunk id."""
    fused: dict[str, Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            before = fused.get(hit.chunk.id, Hit(hit.chunk, 0.0))
            score = before.score + 1 / (_CONSTANT + rank)
            fused[hit.chunk.id] = Hit(hit.chunk, score, {**before.scores, **hit.scores})
    return sorted(fused.values(), key=lambda hit: (-hit.score, hit.chunk.id))
