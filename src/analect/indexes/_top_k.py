"""The nearest rows of a matrix: the kernel for exact search where there is no index, as for Spark's neighbours."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from analect.errors import InputError
from analect.indexes._rows import BLOCK_ROWS
from analect.indexes._scan import Block, CodeBlock, FloatBlock, candidates
from analect.types import Matrix, Vector

Metric: TypeAlias = Literal["dot", "cosine", "euclidean"]

_WORTH_CODING = 16  # queries from which making int8 codes of the items pays
_Best: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


def top_k(
    items: Matrix, queries: Matrix, *, k: int, metric: Metric = "dot"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest items of each query: row numbers int64 and scores float32, each (n_queries, k), best first.

    `items` (n, dim) and `queries` (n_queries, dim) are float32 of any length. The score is the dot product, the cosine
    (0 for a zero vector), or minus the Euclidean distance. The result is that of float64 brute force, ties by row
    number; memory beyond the arguments is bounded, whatever n is. With fewer than k items there are as many columns as
    items. Raises `InputError` for a k below 1, an unknown metric, or shapes that do not fit.
    """
    if k < 1:
        raise InputError(f"k is {k}: ask for at least 1 neighbour")
    if metric not in ("dot", "cosine", "euclidean"):
        raise InputError(f"the metric is {metric!r}: use dot, cosine or euclidean")
    if items.ndim != 2 or queries.ndim != 2 or items.shape[1] != queries.shape[1]:
        raise InputError(f"items {items.shape} and queries {queries.shape} must be two matrices of equal width")
    k = min(k, len(items))
    best: list[_Best] = [(np.empty(0, dtype=np.int64), np.empty(0))] * len(queries)
    asked = _queries(queries, metric=metric)
    for start in range(0, len(items), BLOCK_ROWS):
        part = np.ascontiguousarray(items[start : start + BLOCK_ROWS], dtype=np.float32)
        block = _block(part, metric=metric, many=len(queries) >= _WORTH_CODING)
        for number, found in enumerate(candidates(block, asked, k=k)):
            scores = _exact(part[found.rows], queries[number], metric=metric)
            best[number] = _merged(best[number], (found.rows + start, scores), k=k)
    rows = np.array([rows for rows, _ in best], dtype=np.int64).reshape(len(queries), k)
    return rows, np.array([scores for _, scores in best], dtype=np.float32).reshape(len(queries), k)


def _block(part: Matrix, *, metric: Metric, many: bool) -> Block:
    """Return what estimates a score that orders the items as the metric does."""
    if metric == "euclidean":
        # −‖x − q‖² / 2 = x·q − ‖x‖² / 2 − ‖q‖² / 2, and the last term is the same for every item.
        halves = -(part.astype(np.float64) ** 2).sum(axis=1, keepdims=True) / 2
        return FloatBlock(np.hstack([part, halves.astype(np.float32)]), start=0)
    rows = _unit(part) if metric == "cosine" else part
    return CodeBlock(rows, start=0) if many else FloatBlock(rows, start=0)


def _queries(queries: Matrix, *, metric: Metric) -> Matrix:
    if metric == "euclidean":
        return np.hstack([queries, np.ones((len(queries), 1), dtype=np.float32)]).astype(np.float32)
    return _unit(queries) if metric == "cosine" else np.ascontiguousarray(queries, dtype=np.float32)


def _unit(rows: Matrix) -> Matrix:
    exact = rows.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _exact(rows: Matrix, query: Vector, *, metric: Metric) -> NDArray[np.float64]:
    """Return the scores in float64."""
    exact, asked = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        distances: NDArray[np.float64] = np.linalg.norm(exact - asked, axis=1)
        return -distances
    dots: NDArray[np.float64] = exact @ asked
    if metric == "dot":
        return dots
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(asked)
    cosines: NDArray[np.float64] = dots / np.where(norms > 0, norms, 1.0)
    return cosines


def _merged(left: _Best, right: _Best, *, k: int) -> _Best:
    rows, scores = np.concatenate([left[0], right[0]]), np.concatenate([left[1], right[1]])
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
