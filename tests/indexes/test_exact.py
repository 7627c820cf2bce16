"""The exact index gives the hits of brute force, whatever the vectors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.errors import InputError
from analect.indexes.exact import ExactIndex
from analect.stores.memory import MemoryStore
from analect.types import Chunk, Condition, Document, Entry, Matrix


def store_of(matrix: Matrix, *, groups: int = 3) -> MemoryStore:
    store = MemoryStore()
    store.prepare(embedder_id="m", dim=matrix.shape[1])
    store.put(entries_of(matrix, groups=groups))
    return store


def entries_of(matrix: Matrix, *, groups: int = 3, first: int = 0) -> list[Entry]:
    entries = []
    for number, row in enumerate(matrix, start=first):
        name = f"d{number:06}"
        document = Document(name, "x", "s", name, metadata={"group": number % groups})
        chunk = Chunk(f"{name}#0", name, "x", 0, 1, name, metadata=document.metadata)
        entries.append(Entry(document, "f", (chunk,), row[None, :]))
    return entries


def unit(matrix: np.ndarray) -> Matrix:
    matrix = np.asarray(matrix, dtype=np.float32)
    return np.ascontiguousarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9))


def brute_force(matrix: Matrix, query: np.ndarray, *, k: int) -> list[str]:
    scores = np.round(matrix.astype(np.float64) @ query.astype(np.float64), 6)
    return [f"d{row:06}#0" for row in sorted(range(len(matrix)), key=lambda row: (-scores[row], row))[:k]]


def found(index: ExactIndex, queries: Matrix, *, k: int) -> list[list[str]]:
    return [[hit.chunk.id for hit in hits] for hits in index.search_vectors(queries, k=k)]


CHANCE = np.random.default_rng(5)
CLUSTERS = CHANCE.standard_normal((5, 32))
KINDS = {
    "random": CHANCE.standard_normal((2000, 32)),
    "clustered": CLUSTERS[CHANCE.integers(0, 5, 2000)] + 1e-3 * CHANCE.standard_normal((2000, 32)),
    "duplicated": np.repeat(CHANCE.standard_normal((20, 32)), 100, axis=0),
    "nearly equal": np.ones((2000, 32)) + 1e-6 * CHANCE.standard_normal((2000, 32)),
    "one row": CHANCE.standard_normal((1, 32)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_hits_are_those_of_brute_force(kind: str, k: int) -> None:
    matrix = unit(KINDS[kind])
    queries = np.concatenate([unit(CHANCE.standard_normal((3, 32))), matrix[:2]])
    index = ExactIndex(store=store_of(matrix))
    assert found(index, queries, k=k) == [brute_force(matrix, query, k=k) for query in queries]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=40),
    query=st.lists(st.integers(-3, 3), min_size=4, max_size=4),
    k=st.integers(1, 50),
)
def test_hits_are_those_of_brute_force_on_any_data(rows: list[list[int]], query: list[int], k: int) -> None:
    matrix = unit(np.array(rows))
    index = ExactIndex(store=store_of(matrix))
    queries = unit(np.array([query]))
    assert found(index, queries, k=k) == [brute_force(matrix, queries[0], k=k)]


def test_it_follows_the_store() -> None:
    matrix = unit(CHANCE.standard_normal((300, 32)))
    store = store_of(matrix[:200])
    index = ExactIndex(store=store)
    assert len(found(index, matrix[:1], k=1000)[0]) == 200
    store.put(entries_of(matrix[200:], first=200))
    assert found(index, matrix[250:251], k=1) == [["d000250#0"]]
    store.delete([f"d{number:06}" for number in range(180)])
    assert found(index, matrix[:1], k=1000) == [
        [name for name in brute_force(matrix, matrix[0], k=300) if name >= "d000180"]
    ]
    index.refresh(force=True)
    assert len(found(index, matrix[:1], k=1000)[0]) == 120


def test_filters_are_those_of_brute_force() -> None:
    matrix = unit(CHANCE.standard_normal((500, 32)))
    index = ExactIndex(store=store_of(matrix, groups=50))
    (hits,) = index.search_vectors(matrix[:1], k=20, where=(Condition("group", "=", "7"),))
    expected = [name for name in brute_force(matrix, matrix[0], k=500) if int(name[1:7]) % 50 == 7]
    assert [hit.chunk.id for hit in hits] == expected
    assert index.search_vectors(matrix[:1], k=20, where=(Condition("group", "=", "999"),)) == [[]]


def test_an_empty_store_has_no_hits() -> None:
    store = MemoryStore()
    store.prepare(embedder_id="m", dim=4)
    assert ExactIndex(store=store).search_vectors(unit(np.ones((2, 4))), k=3) == [[], []]


def test_k_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="k is 0"):
        ExactIndex(store=store_of(unit(np.ones((2, 4))))).search_vectors(unit(np.ones((1, 4))), k=0)


def test_threads_search_while_the_store_changes() -> None:
    matrix = unit(CHANCE.standard_normal((400, 32)))
    store = store_of(matrix[:100])
    index = ExactIndex(store=store)
    problems: list[object] = []

    def search() -> None:
        for number in range(60):
            try:
                row = number % 100
                if found(index, matrix[row : row + 1], k=1) != [[f"d{row:06}#0"]]:
                    problems.append(row)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(100, 400, 10):
        store.put(entries_of(matrix[start : start + 10], first=start))
    for thread in threads:
        thread.join()
    assert problems == []
    assert found(index, matrix[399:], k=1) == [["d000399#0"]]
