"""An embedder without a model: words hashed into a vector. For tests and dry runs; it knows no meaning, only words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analect.types import Embeddings, Kind, Vector

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Gives texts that share words near vectors, and different texts different ones (Weinberger et al. 2009)."""

    def __init__(self, *, dim: int = 256, max_tokens: int = 256) -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self.id = f"hashing/{dim}"

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return words + 2 of each text, as a model with two special tokens would: int32 (n,)."""
        return np.array([len(_WORD.findall(text)) + 2 for text in texts], dtype=np.int32)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:  # noqa: ARG002  # one space for both kinds
        """Return one unit vector a text; an empty or over-long text is a failure."""
        tokens = self.count_tokens(texts)
        failures = {}
        vectors = np.full((len(texts), self.dim), np.nan, dtype=np.float32)
        for index, text in enumerate(texts):
            if not text.strip():
                failures[index] = "the text is empty"
            elif tokens[index] > self.max_tokens:
                failures[index] = f"the text has {tokens[index]} tokens, the model takes {self.max_tokens}"
            else:
                vectors[index] = self._vector(text)
        return Embeddings(vectors, tokens, cut=np.zeros(len(texts), dtype=np.bool_), failures=failures)

    def _vector(self, text: str) -> Vector:
        vector = np.zeros(self.dim, dtype=np.float32)
        for word in _WORD.findall(text.lower()):
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            vector[int.from_bytes(digest[:4], "little") % self.dim] += 1.0 if digest[4] & 1 else -1.0
        # A trace of the whole text tells apart texts of the same words, and those without any.
        whole = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        vector[int.from_bytes(whole[:4], "little") % self.dim] += 0.01
        unit: Vector = vector / np.linalg.norm(vector)
        return unit
