"""Deterministic unit vectors that depend on the text: near for texts of the same words, or by the local model."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np

from analect.types import Matrix

_WORD = re.compile(r"\w+")


@lru_cache(maxsize=100_000)
def _place(word: str, dim: int) -> tuple[int, float]:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little") % dim, 1.0 if digest[4] & 1 else -1.0


def _hashed(text: str, dim: int) -> Matrix:
    vector = np.zeros(dim, dtype=np.float32)
    for word in _WORD.findall(text.lower()):
        place, sign = _place(word, dim)
        vector[place] += sign
    vector[_place(text, dim)[0]] += 0.1  # tells apart texts of the same words, and those without any
    unit: Matrix = vector / np.linalg.norm(vector)
    return unit


@cache
def _local_model() -> Any:
    from analect.embedders.local import LocalEmbedder  # noqa: PLC0415  # heavy, and only for who asks for it

    return LocalEmbedder(on_overflow="truncate")


@cache
def _projection(rows: int, columns: int) -> Matrix:
    random = np.random.default_rng(0)
    return random.standard_normal((rows, columns)).astype(np.float32)


def vectors_of(inputs: Sequence[str | list[int]], *, dim: int, by: Literal["hashing", "local"]) -> Matrix:
    """Return one unit vector an input: (n, dim). Token arrays are hashed as their numbers."""
    texts = [each if isinstance(each, str) else " ".join(map(str, each)) for each in inputs]
    if by == "hashing":
        return np.stack([_hashed(text, dim) for text in texts])
    found = _local_model().embed([text if text.strip() else "-" for text in texts], kind="document").vectors
    projected = found @ _projection(found.shape[1], dim)
    unit: Matrix = (projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float32)
    return unit


def encoded(vector: Matrix, *, as_base64: bool) -> str | list[float]:
    """Return a vector as the wire has it: base64 of little-endian float32, or numbers."""
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(each) for each in vector]
