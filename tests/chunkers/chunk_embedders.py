"""Embedders that only count: a real WordPiece tokenizer, and two whose counts do not add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analect.types import Embeddings, Kind


class CountingEmbedder:
    """An embedder that only counts; `calls` is how often it was asked to."""

    id = "counting"
    dim = 1
    max_tokens = 256

    def __init__(self) -> None:
        self.calls = 0

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        self.calls += 1
        return np.array([self.count(text) for text in texts], dtype=np.int32)

    def count(self, text: str) -> int:
        """A third of the bytes, rounded up: two texts cost more apart than together."""
        return -(-len(text.encode()) // 3)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        raise AssertionError("a chunker embeds nothing")


class SuperadditiveEmbedder(CountingEmbedder):
    """Counts every 40 bytes one token more: texts cost less apart than together, so sums are too low."""

    id = "superadditive"

    def count(self, text: str) -> int:
        size = len(text.encode())
        return 2 + size // 3 + size // 40


class WordPieceEmbedder(CountingEmbedder):
    """Counts with the tokenizer of all-MiniLM-L6-v2; a word of more than 100 characters is one token to it."""

    id = "wordpiece"

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        self.calls += 1
        return np.array([len(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(list(texts))], np.int32)
