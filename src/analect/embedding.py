"""Texts to vectors where every text must have one."""

from __future__ import annotations

from collections.abc import Sequence

from analect.errors import EmbeddingError
from analect.protocols import Embedder
from analect.types import Kind, Matrix


def embed_all(embedder: Embedder, texts: Sequence[str], *, kind: Kind) -> Matrix:
    """Return one unit vector a text, (n, dim) float32. Raises `EmbeddingError` naming the first that has none."""
    embeddings = embedder.embed(texts, kind=kind)
    for index, reason in embeddings.failures.items():
        which = f"the {kind}" if len(texts) == 1 else f"{kind} {index + 1} of {len(texts)}"
        raise EmbeddingError(f"{which} cannot be embedded: {reason}")
    return embeddings.vectors
