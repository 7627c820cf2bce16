"""The exact index: the hits of brute force, at the price of reading a quarter of the bytes.

int8 codes are scanned with a proven bound on what they hide (`_scan.py`); every row that could be among the k best is
then scored from its float32 vector, the closest in float64. Scores are rounded to 6 decimals: rows closer than that are
ties, and ties go by chunk id.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.errors import InputError, RevisionExpired
from analect.indexes._coalesce import Coalescer
from analect.indexes._rows import Rows
from analect.indexes._scan import Candidates, CodeBlock, Scan, rounding
from analect.indexes._top_k import top_k
from analect.protocols import Store
from analect.types import Filter, Hit, Matrix, Metadata, Revision, Vector

__all__ = ["ExactIndex", "top_k"]

DECIMALS = 6  # of a score: what is closer is a tie
_SLACK = 10.0**-DECIMALS  # two rows this close may change places by rounding
_FEW = 16  # a filter that lets less than one in this many rows through is scored row by row
_FILTERS = 64  # filters whose rows are kept for the next query
_STEP = 1 << 14  # rows that are held in float64 at once


class _View:
    """The rows of one revision, as they are for whoever searches now. Never changes but for its cache of filters."""

    def __init__(
        self,
        rows: Rows,
        *,
        dead: set[int],
        revision: Revision,
        pool: ThreadPoolExecutor,
        spend: Callable[..., None],
    ) -> None:
        self.rows = rows
        self._spend = spend
        self.dead = dead
        self.revision = revision
        self.size = len(rows.ids)
        self._alive = np.ones(self.size, dtype=np.bool_)
        self._alive[list(dead)] = False
        self._vectors = rows.vectors[: self.size]
        self._scan = Scan(tuple(rows.blocks), pool=pool if rows.streamed else None)
        self._holding: dict[Filter, NDArray[np.int64]] = {}

    def holding(self, where: Filter) -> NDArray[np.int64]:
        """Return the numbers of the rows that are there and pass the filter, in order."""
        if where not in self._holding:
            rows = np.flatnonzero(self._alive)
            for condition in where:
                rows = np.intersect1d(rows, self.rows.holding(condition), assume_unique=True)
            if len(self._holding) >= _FILTERS:
                self._holding = {}
            self._holding[where] = rows
        return self._holding[where]

    def best(self, queries: Matrix, *, k: int, where: Filter) -> list[list[tuple[str, float]]]:
        """Return for each query (chunk id, score) of the k best rows that pass, best first."""
        allowed = self._alive if self.dead else None
        if where:
            rows = self.holding(where)
            if _FEW * len(rows) < self.size:
                return [self._ranked(query, rows=rows, k=k) for query in queries]
            allowed = np.zeros(self.size, dtype=np.bool_)
            allowed[rows] = True
        found = self._scan.candidates(queries, k=k, margin=_SLACK, allowed=allowed)
        self._spend(scans=1, rows_scanned=self.size)
        return [
            self._ranked(query, rows=self._parted(query, found=each, k=k), k=k)
            for query, each in zip(queries, found, strict=True)
        ]

    def _parted(self, query: Vector, *, found: Candidates, k: int) -> NDArray[np.int64]:
        """Return the rows left when some that look best are scored: known scores part off more than estimated ones."""
        some = 2 * k
        if len(found.rows) <= 2 * some:
            return found.rows
        first = found.rows[np.argpartition(found.upper, len(found.rows) - some)[len(found.rows) - some :]]
        kth = np.partition(self._vectors[first] @ query, some - k)[some - k]
        rows: NDArray[np.int64] = found.rows[found.upper >= kth - self._rounded_by(query) - _SLACK]
        return rows

    def _ranked(self, query: Vector, *, rows: NDArray[np.int64], k: int) -> list[tuple[str, float]]:
        self._spend(rows_rescored=len(rows))
        ids = self.rows.ids
        rows, scores = self._scored(query, rows=rows, k=k)
        ranked = sorted(zip((-scores).tolist(), [ids[row] for row in rows.tolist()], strict=True))
        return [(chunk_id, -score) for score, chunk_id in ranked[:k]]

    def _scored(
        self, query: Vector, *, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return those of `rows` that may be among the k best, and their scores: float64, rounded to `DECIMALS`."""
        if k < len(rows):
            rough = np.concatenate([self._vectors[rows[i : i + _STEP]] @ query for i in range(0, len(rows), _STEP)])
            kth = np.partition(rough, len(rough) - k)[len(rough) - k]
            rows = rows[rough >= kth - 2 * self._rounded_by(query) - _SLACK]
        exact = query.astype(np.float64)
        scores = [self._vectors[rows[i : i + _STEP]].astype(np.float64) @ exact for i in range(0, len(rows), _STEP)]
        whole: NDArray[np.float64] = np.concatenate(scores or [np.empty(0)])
        return rows, np.round(whole, DECIMALS)

    def _rounded_by(self, query: Vector) -> float:
        """Return what the float32 score of a row may be wrong by."""
        return rounding(len(query)) * self.rows.norm * math.sqrt(query @ query)


@dataclass(frozen=True, slots=True)
class _Request:
    query: Vector
    k: int
    where: Filter


class ExactIndex:
    """Searches the vectors of a store in memory. Follows the store by `changes`; several threads may search at once.

    Queries that arrive while a scan is under way share the next one.
    """

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._view: _View | None = None
        self._together = Coalescer(self._answer)
        self._spent: Counter[str] = Counter()
        self._spent_lock = threading.Lock()

    def counters(self) -> Metadata:
        """Return the `rows` and how they are scanned, and what the `queries` so far have cost in this process.

        `scanned_bytes` is what one scan reads; `rows_rescored` were read in float32, because the scan left them open.
        """
        with self._spent_lock:
            names = ("queries", "scans", "rows_scanned", "rows_rescored")
            spent: Metadata = {name: self._spent[name] for name in names}
        blocks = self._view.rows.blocks if self._view else []
        kernel = "int8" if any(isinstance(block, CodeBlock) for block in blocks) else "float32"
        size = {"rows": self._view.size - len(self._view.dead) if self._view else 0}
        return {"kernel": kernel, **size, "scanned_bytes": sum(block.nbytes for block in blocks), **spent}

    def _spend(self, **counts: int) -> None:
        with self._spent_lock:
            self._spent.update(counts)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), thread_name_prefix="analect-scan")

    def refresh(self, *, force: bool = False) -> None:
        """Take in what changed in the store; `force` reads everything again."""
        with self._lock:
            if force:
                self._view = None
            if self._view is None or self._view.revision != self._store.revision():
                try:
                    self._view = self._follow(self._view)
                except RevisionExpired:
                    self._view = self._follow(None)

    def _follow(self, view: _View | None) -> _View:
        rows = view.rows if view else Rows(self._pool)
        expected = 0 if view else self._store.count()[1]
        dead = set(view.dead) if view else set()
        revision = view.revision if view else self._store.revision()
        for change in self._store.changes(since=view.revision if view else None):
            dead.update(rows.row_of.pop(chunk_id) for chunk_id in change.removed_ids if chunk_id in rows.row_of)
            if change.chunk_ids:
                dead.update(rows.row_of[chunk_id] for chunk_id in rows.row_of.keys() & change.chunk_ids)
                rows.append(change.chunk_ids, change.metadata, vectors=change.vectors, expected=expected)
            revision = change.revision
        if 2 * len(dead) > len(rows.ids):
            rows, dead = rows.without(dead), set()
        rows.build_blocks()
        return _View(rows, dead=dead, revision=revision, pool=self._pool, spend=self._spend)

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        """Return the k best hits of each query (n, dim), best first, ties by chunk id; filters act before the top k."""
        if k < 1:
            raise InputError(f"k is {k}: ask for at least 1 hit")
        self.refresh()
        if len(queries) == 1:
            return [self._hits(self._together(_Request(queries[0], k, where)))]
        return [self._hits(found) for found in self._best(queries, k=k, where=where)]

    def _best(self, queries: Matrix, *, k: int, where: Filter) -> list[list[tuple[str, float]]]:
        view = self._view
        assert view is not None  # refresh made it
        self._spend(queries=len(queries))
        return view.best(queries, k=k, where=where) if view.size else [[] for _ in queries]

    def _answer(self, requests: list[_Request]) -> list[list[tuple[str, float]]]:
        """Answer single queries together: those with one filter share a scan."""
        answers: list[list[tuple[str, float]]] = [[] for _ in requests]
        for where in dict.fromkeys(request.where for request in requests):
            places = [place for place, request in enumerate(requests) if request.where == where]
            queries = np.stack([requests[place].query for place in places])
            found = self._best(queries, k=max(requests[place].k for place in places), where=where)
            for place, best in zip(places, found, strict=True):
                answers[place] = best[: requests[place].k]
        return answers

    def _hits(self, found: list[tuple[str, float]]) -> list[Hit]:
        chunks = {chunk.id: chunk for chunk in self._store.get([chunk_id for chunk_id, _ in found])}
        # A chunk that another process deleted just now is left out.
        return [Hit(chunks[name], score, {"dense": score}) for name, score in found if name in chunks]
