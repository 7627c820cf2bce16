"""The scans under an exact search: what bounds the scores of all rows, and which rows could be among the k best.

A block of rows gives, for each query, an estimate of every score and a slack: the true score is within `slack` of the
estimate. A row whose estimate + slack reaches the k-th best estimate − slack is a candidate; every row of the exact top
k is one. Candidates are then scored exactly, so the result does not depend on how rough the estimates are.
"""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analect.types import Matrix

_GROUP = 64  # rows whose maximum stands for them while the threshold is looked for
_ESTIMATES = 1 << 21  # estimates that one step holds at once: 8 MB
_EPSILON = float(np.finfo(np.float32).eps)


class Block(Protocol):
    """Rows `start` … `stop` of a matrix, in a form that can be scanned."""

    start: int
    stop: int

    def estimate(self, queries: Matrix) -> tuple[Matrix, NDArray[np.float32]]:
        """Return estimates (n_queries, n_rows) of the dot products, and the slack of each query (n_queries,)."""
        ...


@cache
def numkong() -> ModuleType | None:
    """Return the library of packed int8 kernels, or None where it is not installed."""
    try:
        return importlib.import_module("numkong")
    except ModuleNotFoundError:
        return None


class FloatBlock:
    """Scans the float32 rows as they are."""

    def __init__(self, vectors: Matrix, *, start: int) -> None:
        self.start, self.stop = start, start + len(vectors)
        self._vectors = vectors
        self._norm = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0)))

    def estimate(self, queries: Matrix) -> tuple[Matrix, NDArray[np.float32]]:
        """Return float32 products; their slack is the rounding of a float32 dot product (Higham 2002, section 3.1)."""
        slack = rounding(queries.shape[1]) * self._norm * np.linalg.norm(queries, axis=1)
        return queries @ self._vectors.T, slack.astype(np.float32)


def rounding(dim: int) -> float:
    """Return what a float32 dot product of `dim` terms may be wrong by, relative to the product of the norms."""
    return 2.0 * dim * _EPSILON


class CodeBlock:
    """Scans int8 codes of the rows, one scale a row: a quarter of the bytes.

    With row x ≈ s·c and query q ≈ t·d (c, d int8): |x·q − s·t·(c·d)| ≤ ‖x − s·c‖·‖q‖ + ‖s·c‖·‖q − t·d‖.
    """

    def __init__(self, vectors: Matrix, *, start: int) -> None:
        library = numkong()
        assert library is not None
        self.start, self.stop = start, start + len(vectors)
        codes, self._scales = _quantized(vectors)
        rough = codes * self._scales[:, None]
        self._residual = float(np.sqrt(((vectors - rough) ** 2).sum(axis=1).max()))
        self._norm = float(np.sqrt((rough**2).sum(axis=1).max()))
        self._dots = library.dots_packed
        self._packed = library.dots_pack(codes)

    def estimate(self, queries: Matrix) -> tuple[Matrix, NDArray[np.float32]]:
        codes, scales = _quantized(queries)
        dots = np.asarray(self._dots(codes, self._packed))
        estimates = np.multiply(dots, self._scales, dtype=np.float32, casting="unsafe")
        estimates *= scales[:, None]
        missing = np.linalg.norm(queries - codes * scales[:, None], axis=1)
        norms = np.linalg.norm(queries, axis=1)
        # The bound is of real numbers; the roundings of computing it, and of the estimates, come on top.
        slack = 1.0001 * (self._residual * norms + self._norm * missing) + 8 * _EPSILON * self._norm * norms
        return estimates, slack.astype(np.float32)


def _quantized(rows: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 codes and one scale a row: a row is about scale · codes."""
    scales = np.maximum(np.abs(rows).max(axis=1, initial=0.0), np.float32(1e-30)) / np.float32(127)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Scan:
    """Blocks that together are a matrix, and the threads that share them."""

    blocks: tuple[Block, ...]
    pool: ThreadPoolExecutor | None = None

    def candidates(
        self, queries: Matrix, *, k: int, margin: float, allowed: NDArray[np.bool_] | None = None
    ) -> list[NDArray[np.int64]]:
        """Return for each query the numbers of all rows that are at most `margin` worse than the k-th best, or better.

        `allowed` (n_rows,) leaves rows out.
        """

        def step(block: Block) -> list[_Found]:
            part = None if allowed is None else allowed[block.start : block.stop]
            return _found(block, queries, k=k, margin=margin, allowed=part)

        map_blocks = map if self.pool is None or len(self.blocks) < 2 else self.pool.map
        found = list(map_blocks(step, self.blocks))
        return [_joined([each[query] for each in found], k=k, margin=margin) for query in range(len(queries))]


def candidates(block: Block, queries: Matrix, *, k: int) -> list[NDArray[np.int64]]:
    """Return for each query the numbers of all rows of one block that may be among its k best."""
    return [each.rows for each in _found(block, queries, k=k, margin=0.0, allowed=None)]


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows that may be among the k best, their estimates, and the slack of these."""

    rows: NDArray[np.int64]
    estimates: NDArray[np.float32]
    slack: float


def _found(block: Block, queries: Matrix, *, k: int, margin: float, allowed: NDArray[np.bool_] | None) -> list[_Found]:
    found = []
    step = max(1, _ESTIMATES // max(1, block.stop - block.start))
    for first in range(0, len(queries), step):
        estimates, slack = block.estimate(queries[first : first + step])
        if allowed is not None:
            estimates[:, ~allowed] = -np.inf
        thresholds = _kth(estimates, k=k) - 2 * slack - np.float32(margin)
        for row, threshold in enumerate(np.maximum(thresholds, np.finfo(np.float32).min)):
            rows = np.flatnonzero(estimates[row] >= threshold)
            found.append(_Found(rows + block.start, estimates[row, rows], float(slack[row])))
    return found


def _kth(estimates: Matrix, *, k: int) -> NDArray[np.float32]:
    """Return for each query a value that at least k estimates reach: the k-th best, or a little less (-inf if none)."""
    columns = estimates.shape[1]
    groups = columns // _GROUP
    if k <= groups:  # the k-th best of disjoint groups' maxima costs a tenth of the k-th best of all
        estimates = estimates[:, : groups * _GROUP].reshape(len(estimates), _GROUP, groups).max(axis=1)
        columns = groups
    if k > columns:
        return np.full(len(estimates), -np.inf, dtype=np.float32)
    return np.partition(estimates, columns - k, axis=1)[:, columns - k]


def _joined(found: list[_Found], *, k: int, margin: float) -> NDArray[np.int64]:
    """Return the rows of all blocks that may still be among the k best of the whole."""
    if len(found) == 1:
        return found[0].rows
    rows = np.concatenate([each.rows for each in found])
    if len(rows) <= k:
        return rows
    worst = np.concatenate([each.estimates - np.float32(each.slack) for each in found])
    best = np.concatenate([each.estimates + np.float32(each.slack) for each in found])
    threshold = np.partition(worst, len(worst) - k)[len(worst) - k] - np.float32(margin)
    kept: NDArray[np.int64] = rows[best >= threshold]
    return kept
