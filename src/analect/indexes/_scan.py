"""The scans under an exact search: what bounds the scores of all rows, and which rows could be among the k best.

A block of rows gives, for each query, every score roughly, and how wrong each may be. A row whose upper bound reaches
the k-th best lower bound is a candidate; every row of the exact top k is one. Candidates are then scored exactly, so
the result does not depend on how rough the scores are.

What is touched for every row is kept to a few passes: the k-th best rough score, less twice the doubt of the worst row,
parts off the few rows that are then looked at one by one.
"""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analect.engine import import_openvino
from analect.types import Matrix

_GROUP = 64  # rows whose maximum stands for them while the threshold is looked for
_SCORES = 1 << 21  # that one step holds at once: 8 MB
_CACHED_ROWS = 1 << 8  # rows that are coded at once: they and what is made of them stay in the nearest cache
_FEW_QUERIES = 8  # that a streamed block scores at once: with more, integer arithmetic wins over reading less
_STREAM_SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # the query stays float32: the bound counts on it
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Doubt:
    """How wrong the scores of a block's rows may be, either way: slope · longest + rest, each row with its slope."""

    slopes: NDArray[np.float32]
    largest: float  # slope
    longest: float  # query, by its norm
    rest: float

    @property
    def worst(self) -> np.float32:
        """The doubt of the row with the largest slope."""
        return np.float32(1.0002 * (self.largest * self.longest + self.rest))

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the doubt of each of those rows."""
        return (1.0001 * (self.slopes[rows] * np.float32(self.longest) + np.float32(self.rest))).astype(np.float32)


class Block(Protocol):
    """Rows `start` … `stop` of a matrix, in a form that can be scanned."""

    start: int
    stop: int
    nbytes: int
    """What one scan reads."""

    def scores(self, queries: Matrix) -> tuple[Matrix, Doubt]:
        """Return the dot products (n_queries, n_rows), roughly, and how rough they may be.

        They may be written over by the next call on this thread.
        """
        ...


@cache
def numkong() -> ModuleType | None:
    """Return the library of packed int8 kernels, or None where it is not installed."""
    try:
        return importlib.import_module("numkong")
    except ModuleNotFoundError:
        return None


def rounding(dim: int) -> float:
    """Return what a float32 dot product of `dim` terms may be wrong by, relative to the product of the norms.

    Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1, four times over.
    """
    return 2.0 * dim * _EPSILON


class FloatBlock:
    """Scans the float32 rows as they are."""

    def __init__(self, vectors: Matrix, *, start: int) -> None:
        self.start, self.stop = start, start + len(vectors)
        self._vectors = vectors
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        self._slopes = (rounding(vectors.shape[1]) * norms).astype(np.float32)
        self._largest = float(self._slopes.max(initial=0.0))
        self.nbytes = int(vectors.nbytes)

    def scores(self, queries: Matrix) -> tuple[Matrix, Doubt]:
        """Return float32 products; the doubt is their rounding."""
        return queries @ self._vectors.T, Doubt(self._slopes, self._largest, _longest(queries), 0.0)


class CodeBlock:
    """Scans int8 codes of the rows, one scale a row: a quarter of the bytes.

    Many queries share a pass of numkong's packed kernels. With `streamed`, few queries are scored by OpenVINO, which
    reads codes from memory half as fast again (its kernels are made for language models, a vector at a time), and takes
    the query as it is: for blocks that together are larger than the processor's cache.

    With a row x ≈ s·c and a query q ≈ t·d: |x·q − s·t·(c·d)| ≤ ‖x − s·c‖·‖q‖ + ‖s·c‖·‖q − t·d‖.
    """

    def __init__(self, vectors: Matrix, *, start: int, streamed: bool = False) -> None:
        library = numkong()
        assert library is not None
        self.start, self.stop = start, start + len(vectors)
        codes, self._scales, self._residuals = _coded(vectors)
        self._largest = float(self._residuals.max(initial=0.0))
        self._norm = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0))) * 1.01  # of codes too
        self._dots, self._pack = library.dots_packed, library.dots_pack
        self._stream = _Stream(codes, self._scales) if streamed else None
        self._codes = codes
        self._packed = None if streamed else self._pack(codes)  # streamed: for the first large batch
        self._lock = threading.Lock()
        self.nbytes = int(codes.nbytes + self._scales.nbytes)

    def _packed_codes(self) -> Any:
        with self._lock:
            if self._packed is None:
                self._packed = self._pack(self._codes)
            return self._packed

    def scores(self, queries: Matrix) -> tuple[Matrix, Doubt]:
        """Return s·t·(c·d) for each row and query."""
        if self._stream is not None and len(queries) <= _FEW_QUERIES:
            longest = _longest(queries)
            rest = (rounding(queries.shape[1]) + 8 * _EPSILON) * self._norm * longest
            return self._stream.scores(queries), Doubt(self._residuals, self._largest, longest, rest)
        codes, scale, missing = _coded_alike(queries)
        dots = np.asarray(self._dots(codes, self._packed_codes()))
        # Told to stay in float32: numpy would go through float64, at twice the bytes.
        scores: Matrix = np.multiply(
            dots, self._scales * scale, out=_scratch(*dots.shape), dtype=np.float32, casting="unsafe"
        )
        longest = _longest(queries)
        # The bound is of real numbers; the roundings of computing it and the products come on top.
        rest = self._norm * (missing + 8 * _EPSILON * longest)
        return scores, Doubt(self._residuals, self._largest, longest, rest)


_kept = threading.local()


def _scratch(rows: int, columns: int) -> Matrix:
    """Return a matrix to write to, in memory that this thread uses again: to take 8 MB from the system and give them
    back costs as much as to scan."""
    flat = getattr(_kept, "scores", None)
    if flat is None or flat.size < rows * columns:
        flat = _kept.scores = np.empty(rows * columns, dtype=np.float32)
    scores: Matrix = flat[: rows * columns].reshape(rows, columns)
    return scores


class _Stream:
    """scale · code · query for all rows of a block, by a one-layer model on one thread; for few queries at a time."""

    def __init__(self, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        openvino = import_openvino()
        constant, op = openvino.op.Constant, openvino.opset13
        queries = op.parameter([-1, codes.shape[1]], np.float32)
        self._kept = codes, scales[:, None]  # the model does not own them
        rows = op.multiply(op.convert(constant(codes, shared_memory=True), "f32"), constant(self._kept[1]))
        model = openvino.Model([op.matmul(queries, rows, False, True)], [queries])
        self._request = openvino.Core().compile_model(model, "CPU", _STREAM_SETTINGS).create_infer_request()
        self._lock = threading.Lock()

    def scores(self, queries: Matrix) -> Matrix:
        """Return float32 (n_queries, n_rows), not rounded but as float32 sums are."""
        with self._lock:  # one request is one set of buffers
            found = self._request.infer({0: np.ascontiguousarray(queries)}, share_outputs=True)[0]
            return np.array(found, dtype=np.float32)


def _longest(queries: Matrix) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", queries, queries).max(initial=0.0)))


def _coded(rows: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return int8 codes, one scale a row, and the norm of what scale · code leaves of each row."""
    codes = np.empty(rows.shape, dtype=np.int8)
    scales = np.empty(len(rows), dtype=np.float32)
    residuals = np.empty(len(rows), dtype=np.float32)
    for first in range(0, len(rows), _CACHED_ROWS):
        part = rows[first : first + _CACHED_ROWS]
        largest = np.maximum(part.max(axis=1, initial=0.0), -part.min(axis=1, initial=0.0))
        scale = np.maximum(largest, np.float32(1e-30)) / np.float32(127)
        rounded = np.rint(part * (1 / scale)[:, None])
        place = slice(first, first + len(part))
        codes[place], scales[place] = rounded, scale
        rounded *= scale[:, None]
        rounded -= part
        residuals[place] = np.sqrt(np.einsum("ij,ij->i", rounded, rounded))
    return codes, scales, residuals


def _coded_alike(queries: Matrix) -> tuple[NDArray[np.int8], np.float32, float]:
    """Return int8 codes with one scale for all, and the norm of the most that scale · code leaves of any of them.

    A scale for each would cost a pass over all scores, and the bound counts on the worst query in any case.
    """
    scale = np.float32(max(float(np.abs(queries).max(initial=0.0)), 1e-30) / 127)
    rounded = np.rint(queries * (1 / scale))
    codes = rounded.astype(np.int8)
    rounded *= scale
    rounded -= queries
    return codes, scale, _longest(rounded)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The numbers of rows that may be among the k best, and a score that each does not exceed."""

    rows: NDArray[np.int64]
    upper: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scan:
    """Blocks that together are a matrix, and the threads that share them."""

    blocks: tuple[Block, ...]
    pool: ThreadPoolExecutor | None = None

    def candidates(
        self, queries: Matrix, *, k: int, margin: float, allowed: NDArray[np.bool_] | None = None
    ) -> list[Candidates]:
        """Return for each query all rows at most `margin` worse than the k-th best, or better, and some others.

        `allowed` (n_rows,) leaves rows out.
        """

        def step(block: Block) -> list[_Found]:
            part = None if allowed is None else allowed[block.start : block.stop]
            return _found(block, queries, k=k, margin=margin, allowed=part)

        map_blocks = map if self.pool is None or len(self.blocks) < 2 else self.pool.map
        found = list(map_blocks(step, self.blocks))
        return [_joined([each[query] for each in found], k=k, margin=margin) for query in range(len(queries))]


def candidates(block: Block, queries: Matrix, *, k: int) -> list[Candidates]:
    """Return for each query all rows of one block that may be among its k best."""
    return [_joined([each], k=k, margin=0.0) for each in _found(block, queries, k=k, margin=0.0, allowed=None)]


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows that may be among the k best, and the bounds of their scores."""

    rows: NDArray[np.int64]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]


def _found(block: Block, queries: Matrix, *, k: int, margin: float, allowed: NDArray[np.bool_] | None) -> list[_Found]:
    found = []
    step = max(1, _SCORES // max(1, block.stop - block.start))
    for first in range(0, len(queries), step):
        scores, doubt = block.scores(queries[first : first + step])
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        # k rows are at least this good; rows that are not allowed stay below any threshold.
        thresholds = np.maximum(_kth(scores, k=k) - 2 * doubt.worst - np.float32(margin), np.finfo(np.float32).min)
        # Of all queries at once: what is done for each holds up the other threads.
        places = np.flatnonzero(scores >= thresholds[:, None])
        owners, rows = np.divmod(places, scores.shape[1])
        rough, wrong = scores.ravel()[places], doubt.of(rows)
        bounds = np.searchsorted(owners, np.arange(len(scores) + 1)).tolist()
        rows, lower, upper = rows + block.start, rough - wrong, rough + wrong
        found += [_Found(rows[a:b], lower[a:b], upper[a:b]) for a, b in pairwise(bounds)]
    return found


def _kth(scores: Matrix, *, k: int) -> NDArray[np.float32]:
    """Return for each query a value that at least k scores reach: the k-th best, or a little less (-inf if none)."""
    columns = scores.shape[1]
    groups = columns // _GROUP
    if k <= groups:  # the k-th best of disjoint groups' maxima costs a tenth of the k-th best of all
        scores = scores[:, : groups * _GROUP].reshape(len(scores), _GROUP, groups).max(axis=1)
        columns = groups
    if k > columns:
        return np.full(len(scores), -np.inf, dtype=np.float32)
    kth: NDArray[np.float32] = np.partition(scores, columns - k, axis=1)[:, columns - k]
    return kth


def _joined(found: list[_Found], *, k: int, margin: float) -> Candidates:
    """Return the rows of all blocks that may still be among the k best of the whole."""
    rows = np.concatenate([each.rows for each in found])
    upper = np.concatenate([each.upper for each in found])
    if len(rows) <= k:
        return Candidates(rows, upper)
    lower = np.concatenate([each.lower for each in found])
    kept = upper >= np.partition(lower, len(lower) - k)[len(lower) - k] - np.float32(margin)
    return Candidates(rows[kept], upper[kept])
