"""The scans under an exact search: what bounds the scores of all rows, and which rows could be among the k best.

A block of rows gives, for each query, every score roughly, and how wrong each may be. A row whose upper bound reaches
the k-th best lower bound is a candidate; every row of the exact top k is one. Candidates are then scored exactly, so
the result does not depend on how rough the scores are.

What is touched for every row is kept to a few passes: the k-th best rough score, less twice the doubt of the worst row,
parts off the few rows that are then looked at one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.engine import import_openvino
from analect.types import Matrix

_GROUP = 64  # rows whose maximum stands for them while the threshold is looked for
_SCORES = 1 << 20  # that one step holds at once: 4 MB
_CACHED_ROWS = 1 << 8  # rows that are coded at once: they and what is made of them stay in the nearest cache
_FEW_QUERIES = 2  # that a streamed block leaves as they are: with more, arithmetic takes longer than reading
_TRIED_ROWS = 1 << 6  # of a block, on which the engine's way of coding queries is tried
_EPSILON = float(np.finfo(np.float32).eps)

Result = TypeVar("Result")


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
        doubt: NDArray[np.float32] = self.slopes[rows] * np.float32(1.0001 * self.longest)
        doubt += np.float32(1.0001 * self.rest)
        return doubt


class Block(Protocol):
    """Rows `start` … `stop` of a matrix, in a form that can be scanned."""

    start: int
    stop: int
    nbytes: int
    """What one scan reads."""

    def scores(self, queries: Matrix) -> tuple[Matrix, Doubt]:
        """Return the dot products (n_queries, n_rows), roughly, and how rough they may be."""
        ...


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

    A one-layer model of OpenVINO multiplies codes and queries, and codes the queries on the way, one scale a query. A
    block that is `streamed` from memory is one of many that are scanned beside each other, on a thread each. There a
    query or two are left as they are: that reads a fifth faster.

    With a row x ≈ s·c and a query q ≈ t·d: |x·q − s·t·(c·d)| ≤ ‖x − s·c‖·‖q‖ + ‖s·c‖·‖q − t·d‖.
    """

    def __init__(self, vectors: Matrix, *, start: int, streamed: bool = False) -> None:
        self.start, self.stop = start, start + len(vectors)
        self._codes, self._scales, self._residuals = _coded(vectors)
        self._largest = float(self._residuals.max(initial=0.0))
        self._norm = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0))) * 1.01  # of codes too
        self._threads = 1 if streamed else cores()
        self._few = self._product(coding=False) if streamed else self._many
        self.nbytes = int(self._codes.nbytes + self._scales.nbytes)

    @cached_property
    def _many(self) -> _Product:
        product = self._product(coding=True)
        return product if product.is_as_foreseen() else self._product(coding=False)

    def _product(self, *, coding: bool) -> _Product:
        return _Product(self._codes, self._scales, threads=self._threads, coding=coding)

    def scores(self, queries: Matrix) -> tuple[Matrix, Doubt]:
        """Return s·t·(c·d) for each row and query."""
        product = self._few if len(queries) <= _FEW_QUERIES else self._many
        longest = _longest(queries)
        # The bound is of real numbers; the roundings of computing it and the products come on top.
        missing = _longest(_as_coded(queries) - queries) if product.coding else 0.0
        rest = self._norm * (missing + (rounding(queries.shape[1]) + 8 * _EPSILON) * longest)
        return product.scores(queries), Doubt(self._residuals, self._largest, longest, rest)


class _Product:
    """scale · code · query for all rows of a block; `coding` lets the engine make int8 codes of the queries."""

    def __init__(self, codes: NDArray[np.int8], scales: NDArray[np.float32], *, threads: int, coding: bool) -> None:
        self.coding = coding
        openvino = import_openvino()
        constant, op = openvino.op.Constant, openvino.opset13
        queries = op.parameter([-1, codes.shape[1]], np.float32)
        self._kept = codes, scales[:, None]  # the model does not own them
        rows = op.multiply(op.convert(constant(codes, shared_memory=True), "f32"), constant(self._kept[1]))
        model = openvino.Model([op.matmul(queries, rows, False, True)], [queries])
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(codes.shape[1] if coding else 0),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        self._tensor = openvino.Tensor
        self._queries: Matrix = np.empty((0, codes.shape[1]), dtype=np.float32)
        self._lock = threading.Lock()

    def is_as_foreseen(self) -> bool:
        """Tell, by one query, whether queries are coded as `_as_coded` says, or left as they are.

        How they are coded is up to the engine, and could change with it or with the processor.
        """
        codes, scales = (part[:_TRIED_ROWS] for part in self._kept)
        query = np.linspace(-1, 1, codes.shape[1], dtype=np.float32)[None, :] ** 3
        found = self.scores(query)[0, : len(codes)]
        rows = codes.astype(np.float64) * scales
        allowed = rounding(codes.shape[1]) * np.linalg.norm(rows, axis=1) * _longest(query)
        return any((np.abs(found - rows @ each[0]) <= allowed).all() for each in (_as_coded(query), query))

    def scores(self, queries: Matrix) -> Matrix:
        """Return float32 (n_queries, n_rows)."""
        with self._lock:  # one request is one set of buffers
            if len(queries) != len(self._queries):  # handing over another costs 20 us, a tenth of a short scan
                self._queries = np.empty(queries.shape, dtype=np.float32)
                self._request.set_input_tensor(self._tensor(self._queries, shared_memory=True))
            self._queries[:] = queries
            self._request.infer()
            return np.array(self._request.get_output_tensor().data, dtype=np.float32)


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


def _as_coded(queries: Matrix) -> Matrix:
    """Return what int8 codes with one scale a query make of the queries."""
    largest = np.abs(queries).max(axis=1, initial=1e-30)[:, None]
    coded: Matrix = np.rint(queries * (127 / largest))
    coded *= largest / 127
    return coded


@dataclass(frozen=True, slots=True)
class Candidates:
    """The numbers of rows that may be among the k best, and a score that each does not exceed."""

    rows: NDArray[np.int64]
    upper: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scan:
    """Blocks that together are a matrix, and the threads that share them; without, each takes all cores in turn."""

    blocks: tuple[Block, ...]
    pool: ThreadPoolExecutor | None = None

    def candidates(
        self, queries: Matrix, *, k: int, margin: float, allowed: NDArray[np.bool_] | None = None
    ) -> list[Candidates]:
        """Return for each query all rows at most `margin` worse than the k-th best, or better, and some others.

        `allowed` (n_rows,) leaves rows out.
        """

        def step(block: Block) -> list[Candidates]:
            part = None if allowed is None else allowed[block.start : block.stop]
            return candidates(block, queries, k=k, margin=margin, allowed=part)

        if len(self.blocks) == 1:
            return step(self.blocks[0])
        found = self.of_each(step)
        return [_joined([each[query] for each in found]) for query in range(len(queries))]

    def of_each(self, step: Callable[[Block], Result]) -> list[Result]:
        """Return what `step` makes of each block, in order."""
        return list(map(step, self.blocks) if self.pool is None else self.pool.map(step, self.blocks))


def candidates(
    block: Block, queries: Matrix, *, k: int, margin: float = 0.0, allowed: NDArray[np.bool_] | None = None
) -> list[Candidates]:
    """Return for each query all rows of one block that are at most `margin` worse than its k-th best, and others."""
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
        upper = scores.ravel()[places] + doubt.of(rows)
        rows += block.start
        bounds = np.searchsorted(owners, np.arange(len(scores) + 1)).tolist()
        found += [Candidates(rows[a:b], upper[a:b]) for a, b in pairwise(bounds)]
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


def _joined(found: list[Candidates]) -> Candidates:
    return Candidates(np.concatenate([each.rows for each in found]), np.concatenate([each.upper for each in found]))
