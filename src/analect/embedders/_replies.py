"""What a reply of an embeddings service holds: one vector for each text, or an error, never a mix of both."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from analect.errors import ConfigError, RemoteError
from analect.governor import SPOILED
from analect.types import Matrix

_UNIT = 1e-6


def vectors_in(reply: Any, *, count: int, dim: int, deployment: str) -> Matrix:
    """Return the unit vectors of a reply in the order of the texts: (count, dim).

    Raises `RemoteError` for a reply that cannot be used, `ConfigError` for other dimensions than the settings have.
    """
    items = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(items, list) or sorted(_index(item) for item in items) != list(range(count)):
        seen = len(items) if isinstance(items, list) else "no"
        raise RemoteError(f"{deployment!r} answered with {seen} vectors for {count} texts", code=SPOILED)
    vectors = np.empty((count, dim), dtype=np.float32)
    for item in items:
        vector = _decoded(item.get("embedding"))
        if vector.shape != (dim,):
            message = f"{deployment!r} gives {vector.size} dimensions, not {dim}: correct 'dimensions'"
            raise ConfigError(message)
        vectors[item["index"]] = vector
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise RemoteError(f"{deployment!r} answered with a vector that is none (NaN or zero)", code=SPOILED)
    off = np.abs(lengths - 1) > _UNIT
    vectors[off] = (vectors[off] / lengths[off, None]).astype(np.float32)
    return vectors


def _index(item: Any) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else -1


def _decoded(embedding: Any) -> Matrix:
    """Return a vector from base64 of float32, as asked for, or from the numbers that some servers send all the same."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
        return np.asarray(embedding, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise RemoteError("the service answered with a vector that cannot be read", code=SPOILED) from error
