"""The exact index gives the hits of brute force, whatever the vectors."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.embedders.local import LocalEmbedder
from analect.errors import InputError
from analect.indexes._coalesce import Coalescer
from analect.indexes._scan import _FEW_QUERIES, CodeBlock, candidates
from analect.indexes._top_k import Metric
from analect.indexes.exact import ExactIndex, top_k
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
    "random": CHANCE.standard_normal((5000, 32)),
    "clustered": CLUSTERS[CHANCE.integers(0, 5, 5000)] + 1e-3 * CHANCE.standard_normal((5000, 32)),
    "duplicated": np.repeat(CHANCE.standard_normal((50, 32)), 100, axis=0),
    "nearly equal": np.ones((5000, 32)) + 1e-6 * CHANCE.standard_normal((5000, 32)),
    "one row": CHANCE.standard_normal((1, 32)),
    "one large component": np.eye(32)[CHANCE.integers(0, 32, 5000)] + 1e-4 * CHANCE.standard_normal((5000, 32)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 6000])
@pytest.mark.parametrize("form", ["codes", "streamed codes", "floats"])
def test_hits_are_those_of_brute_force(kind: str, k: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "floats":
        monkeypatch.setattr("analect.indexes._rows._CODED_ROWS", 10_000)
    if form == "streamed codes":
        monkeypatch.setattr("analect.indexes._rows._STREAMED_BYTES", 0)
    monkeypatch.setattr("analect.indexes._rows.BLOCK_ROWS", 2500)
    matrix = unit(KINDS[kind])
    queries = np.concatenate([unit(CHANCE.standard_normal((3, 32))), matrix[:2]])
    index = ExactIndex(store=store_of(matrix))
    expected = [brute_force(matrix, query, k=k) for query in queries]
    assert found(index, queries, k=k) == expected
    assert found(index, queries[:1], k=k) == expected[:1]  # a streamed block leaves it uncoded


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


def test_int8_codes_are_used_and_their_bound_holds() -> None:
    """The bound of a code block holds for vectors of any length, and is not so loose that everything is a candidate."""
    matrix = (CHANCE.standard_normal((5000, 64)) * CHANCE.lognormal(size=(5000, 1))).astype(np.float32)
    queries = CHANCE.standard_normal((20, 64)).astype(np.float32)
    block = CodeBlock(matrix, start=0)
    scores, doubt = block.scores(queries)
    exact = queries.astype(np.float64) @ matrix.astype(np.float64).T
    wrong = np.abs(scores - exact)
    each = doubt.of(np.arange(len(matrix)))
    assert (wrong <= each).all()
    assert each.max() <= doubt.worst
    unit_block = CodeBlock(unit(matrix), start=0)
    assert max(len(found.rows) for found in candidates(unit_block, unit(queries), k=10)) < 500


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    dim=st.sampled_from((16, 24, 64, 384)),  # of 24, not a multiple of 16, the engine codes no queries
    number=st.sampled_from((1, 3, 17)),
    streamed=st.booleans(),
    spread=st.floats(0, 6),
    size=st.sampled_from((1e-18, 1.0, 1e9)),
)
def test_the_bound_holds_for_any_query(
    seed: int, dim: int, number: int, streamed: bool, spread: float, size: float
) -> None:
    chance = np.random.default_rng(seed)
    matrix = chance.standard_normal((100, dim)) * chance.lognormal(sigma=spread, size=(1, dim))
    queries = chance.standard_normal((number, dim)) * chance.lognormal(sigma=spread, size=(number, dim)) * size
    rows, asked = unit(matrix), queries.astype(np.float32)
    block = CodeBlock(rows, start=0, streamed=streamed)
    scores, doubt = block.scores(asked)
    wrong = np.abs(scores - asked.astype(np.float64) @ rows.astype(np.float64).T)
    assert (wrong <= doubt.of(np.arange(100))).all()
    assert np.array_equal(scores, block.scores(asked)[0])  # no buffer of the engine's is given away


def test_an_engine_that_codes_queries_otherwise_must_leave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, query = unit(CHANCE.standard_normal((300, 64))), unit(CHANCE.standard_normal((1, 64)))
    coded = CodeBlock(matrix, start=0)
    monkeypatch.setattr("analect.indexes._scan._as_coded", lambda queries: np.round(queries, 2))
    left = CodeBlock(matrix, start=0)
    wrong = [float(np.abs(block.scores(query)[0] - query @ matrix.T).mean()) for block in (coded, left)]
    assert wrong[1] < 0.9 * wrong[0]  # what is left is the rows' own rounding


@pytest.mark.parametrize("number", [1, _FEW_QUERIES, _FEW_QUERIES + 1])
def test_the_bound_of_a_streamed_block_holds(number: int) -> None:
    matrix = (CHANCE.standard_normal((5000, 384)) * CHANCE.lognormal(size=(5000, 1))).astype(np.float32)
    queries = CHANCE.standard_normal((number, 384)).astype(np.float32)
    block = CodeBlock(matrix, start=0, streamed=True)
    scores, doubt = block.scores(queries)
    wrong = np.abs(scores - queries.astype(np.float64) @ matrix.astype(np.float64).T)
    assert (wrong <= doubt.of(np.arange(len(matrix)))).all()
    again, _ = block.scores(queries)
    assert np.array_equal(scores, again)  # no buffer of the engine's is given away
    coded, coded_doubt = CodeBlock(matrix, start=0).scores(queries)
    few = number <= _FEW_QUERIES
    assert np.array_equal(scores, coded) != few  # streamed, the query is not coded
    assert (doubt.worst < coded_doubt.worst) == few  # and the bound is closer


@pytest.mark.parametrize("streamed", [False, True])
def test_threads_share_a_block(streamed: bool) -> None:
    matrix = unit(CHANCE.standard_normal((4096, 64)))
    block = CodeBlock(matrix, start=0, streamed=streamed)
    queries = unit(CHANCE.standard_normal((64, 64)))
    expected = [block.scores(queries[[row]])[0] for row in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: block.scores(queries[[row]])[0], range(64)))
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_counters_tell_what_searches_cost() -> None:
    matrix = unit(CHANCE.standard_normal((5000, 64)).astype(np.float32))
    index = ExactIndex(store=store_of(matrix))
    assert index.counters()["rows"] == 0
    found(index, matrix[:3], k=10)
    counters = index.counters()
    assert (counters["rows"], counters["queries"], counters["scans"], counters["rows_scanned"]) == (5000, 3, 1, 5000)
    assert 30 <= int(str(counters["rows_rescored"])) < 1500
    assert counters["kernel"] == "int8"
    assert matrix.nbytes / 4 <= int(str(counters["scanned_bytes"])) < matrix.nbytes


def test_real_vectors(data: Path, local_embedder: LocalEmbedder) -> None:
    texts = [json.loads(line)["text"] for line in (data / "cranfield" / "corpus.jsonl").read_text().splitlines()]
    sentences = [s for text in texts for s in text.split(" . ") if 10 < len(s) < 400][:4000]
    vectors = local_embedder.embed(sentences, kind="document").vectors
    index = ExactIndex(store=store_of(vectors))
    queries = vectors[::400]
    assert found(index, queries, k=10) == [brute_force(vectors, query, k=10) for query in queries]


def test_a_compacted_index_holds_what_is_there() -> None:
    matrix = unit(CHANCE.standard_normal((6000, 32)))
    store = store_of(matrix)
    index = ExactIndex(store=store)
    found(index, matrix[:1], k=1)
    for start in range(0, 4000, 1000):
        store.delete([f"d{number:06}" for number in range(start, start + 1000)])
        best = [name for name in brute_force(matrix, matrix[5], k=6000) if name >= f"d{start + 1000:06}"]
        assert found(index, matrix[5:6], k=20) == [best[:20]]


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("metric", ["dot", "cosine", "euclidean"])
def test_top_k_is_brute_force(metric: Metric, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analect.indexes._top_k.BLOCK_ROWS", 700)
    items = (CHANCE.standard_normal((2000, 24)) * CHANCE.lognormal(size=(2000, 1))).astype(np.float32)
    items[100:300] = items[0]
    items[5] = 0
    queries = np.concatenate([items[:1], CHANCE.standard_normal((count, 24)).astype(np.float32)])
    rows, scores = top_k(items, queries, k=15, metric=metric)
    assert (rows.dtype, rows.shape, scores.dtype) == (np.int64, (count + 1, 15), np.float32)
    for number, query in enumerate(queries.astype(np.float64)):
        exact = items.astype(np.float64)
        every = -np.linalg.norm(exact - query, axis=1) if metric == "euclidean" else exact @ query
        if metric == "cosine":
            norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(query)
            every = every / np.where(norms > 0, norms, 1)
        order = np.lexsort((np.arange(2000), -every))[:15]
        assert np.allclose(every[rows[number]], every[order], rtol=0, atol=1e-12)
        assert np.allclose(scores[number], every[order], rtol=1e-6)


def test_top_k_of_few_items_and_of_none() -> None:
    rows, scores = top_k(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2], k=10)
    assert rows.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert scores.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert top_k(np.empty((0, 3), np.float32), np.ones((2, 3), np.float32), k=5)[0].shape == (2, 0)
    assert top_k(np.ones((2, 3), np.float32), np.empty((0, 3), np.float32), k=5)[0].shape == (0, 2)


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"k": 1, "metric": "hamming"}, {"k": 1, "items": np.ones((2, 4), np.float32)}]
)
def test_top_k_refuses_what_does_not_fit(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"items": np.ones((2, 3), np.float32), "queries": np.ones((2, 3), np.float32)} | wrong
    with pytest.raises(InputError):
        top_k(arguments.pop("items"), arguments.pop("queries"), **arguments)


def test_waiting_queries_share_a_pass() -> None:
    started, go_on = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def work(items: list[int]) -> list[int]:
        batches.append(items)
        started.set()
        assert go_on.wait(10)
        if 13 in items:
            raise ValueError("unlucky")
        return [item * 2 for item in items]

    together = Coalescer(work)
    results: dict[int, object] = {}

    def call(item: int) -> None:
        try:
            results[item] = together(item)
        except ValueError as error:
            results[item] = str(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(together._waiting) < 5:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join()
    assert results == {number: number * 2 for number in range(6)}
    assert [len(batch) for batch in batches] == [1, 5]
    call(13)
    call(3)
    assert (results[13], results[3]) == ("unlucky", 6)
