"""The exact index: brute force over vectors in memory, the same hits as a float64 scan of everything.

One float32 product finds every row that could be among the k best, given what float32 can be wrong by; those are scored
again in float64. Scores are rounded to 6 decimals, so rows closer than that are ties, and ties go by chunk id.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analect.errors import InputError, RevisionExpired
from analect.filters import matches
from analect.protocols import Store
from analect.types import Condition, Filter, Hit, Matrix, Metadata, Revision, Vector

DECIMALS = 6  # of a score: what is closer is a tie
_SLACK = 10.0**-DECIMALS  # two rows this close may change places by rounding


@dataclass(slots=True)
class _Rows:
    """Parallel rows, only ever appended to: a view taken earlier stays true while more are added."""

    ids: list[str] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    vectors: Matrix = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    row_of: dict[str, int] = field(default_factory=dict)

    def append(self, ids: list[str], metadata: list[Metadata], *, vectors: Matrix) -> None:
        start = len(self.ids)
        if start + len(ids) > len(self.vectors):
            grown = np.empty((max(start + len(ids), 3 * len(self.vectors) // 2), vectors.shape[1]), dtype=np.float32)
            if start:
                grown[:start] = self.vectors[:start]
            self.vectors = grown
        self.vectors[start : start + len(ids)] = vectors
        self.ids.extend(ids)
        self.metadata.extend(metadata)
        self.row_of.update((chunk_id, start + place) for place, chunk_id in enumerate(ids))


class _View:
    """The rows of one revision, as they are for whoever searches now. Never changes but for its cache of filters."""

    def __init__(self, rows: _Rows, *, alive: NDArray[np.bool_], revision: Revision) -> None:
        self.rows = rows
        self.alive = alive
        self.revision = revision
        self.vectors = rows.vectors[: len(alive)]
        self._holding: dict[Condition, NDArray[np.bool_]] = {}

    @cached_property
    def error(self) -> float:
        """What a float32 dot product of two unit vectors can be wrong by (Higham 2002, section 3.1)."""
        return float(2 * self.vectors.shape[1] * np.finfo(np.float32).eps)

    def allowed(self, where: Filter) -> NDArray[np.int64]:
        """Return the numbers of the rows that are there and pass the filter."""
        mask = self.alive
        for condition in where:
            mask = mask & self._mask(condition)
        return np.flatnonzero(mask)

    def _mask(self, condition: Condition) -> NDArray[np.bool_]:
        if condition not in self._holding:
            one = (condition,)
            metadata = self.rows.metadata
            self._holding[condition] = np.fromiter(
                (matches(one, metadata[row]) for row in range(len(self.alive))), dtype=np.bool_, count=len(self.alive)
            )
        return self._holding[condition]

    def best(self, query: Vector, *, k: int, rows: NDArray[np.int64]) -> list[tuple[str, float]]:
        """Return (chunk id, score) of the k best of those rows."""
        vectors = self.vectors if len(rows) == len(self.vectors) else self.vectors[rows]
        rough = vectors @ query
        if k < len(rough):
            kth = np.partition(rough, len(rough) - k)[len(rough) - k]
            rows = rows[rough >= kth - 2 * self.error - _SLACK]
        scores = np.round(self.vectors[rows].astype(np.float64) @ query.astype(np.float64), DECIMALS)
        ids = self.rows.ids
        ranked = sorted(zip((-scores).tolist(), (ids[row] for row in rows), strict=True))
        return [(chunk_id, -score) for score, chunk_id in ranked[:k]]


class ExactIndex:
    """Searches the vectors of a store in memory. Follows the store by `changes`; several threads may search at once."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._view: _View | None = None

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
        rows = view.rows if view else _Rows()
        dead = set(np.flatnonzero(~view.alive).tolist()) if view else set()
        revision = view.revision if view else self._store.revision()
        for change in self._store.changes(since=view.revision if view else None):
            dead.update(rows.row_of.pop(chunk_id) for chunk_id in change.removed_ids if chunk_id in rows.row_of)
            if change.chunks:
                dead.update(rows.row_of[chunk.id] for chunk in change.chunks if chunk.id in rows.row_of)
                ids, metadata = [chunk.id for chunk in change.chunks], [chunk.metadata for chunk in change.chunks]
                rows.append(ids, metadata, vectors=change.vectors)
            revision = change.revision
        alive = np.ones(len(rows.ids), dtype=np.bool_)
        alive[list(dead)] = False
        if 2 * len(dead) > len(alive) > 0:
            rows = _compacted(rows, alive)
            alive = np.ones(len(rows.ids), dtype=np.bool_)
        return _View(rows, alive=alive, revision=revision)

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        """Return the k best hits of each query (n, dim), best first, ties by chunk id; filters act before the top k."""
        if k < 1:
            raise InputError(f"k is {k}: ask for at least 1 hit")
        self.refresh()
        view = self._view
        assert view is not None  # refresh made it
        rows = view.allowed(where)
        return [self._hits(view.best(query, k=k, rows=rows) if len(rows) else []) for query in queries]

    def _hits(self, found: list[tuple[str, float]]) -> list[Hit]:
        chunks = {chunk.id: chunk for chunk in self._store.get([chunk_id for chunk_id, _ in found])}
        # A chunk that another process deleted just now is left out.
        return [Hit(chunks[name], score, {"dense": score}) for name, score in found if name in chunks]


def _compacted(rows: _Rows, alive: NDArray[np.bool_]) -> _Rows:
    kept = np.flatnonzero(alive)
    fresh = _Rows()
    ids, metadata = [rows.ids[row] for row in kept], [rows.metadata[row] for row in kept]
    fresh.append(ids, metadata, vectors=rows.vectors[kept])
    return fresh
