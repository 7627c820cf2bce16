"""What every store promises. Each rule has a mutant in `tests/mutants/` that it must kill.

To hold a store of your own to it:

```python
class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MyStore(...)          # empty, not prepared
        yield store
        store.close()
```
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analect.errors import ConflictError, EmbedderMismatchError, NotFoundError, RevisionExpired, StoreError
from analect.indexes.exact import ExactIndex
from analect.indexes.lexical import LexicalIndex
from analect.protocols import SearchesText, SearchesVectors, Store
from analect.types import Chunk, Condition, Document, Entry, Filter, Hit, Matrix, Metadata, PageSpan, Revision

DIM = 8
SPACE = "model-a/8"


def entry(
    name: str,
    *texts: str,
    source: str = "s",
    metadata: Metadata | None = None,
    fingerprint: str = "f1",
    seed: int = 0,
) -> Entry:
    """Return an entry whose document is its chunks' texts, one a line, with vectors made from name and seed."""
    document = Document(name, "\n".join(texts), source, f"/x/{name}", f"Title {name}", metadata or {})
    chunks, start = [], 0
    for text in texts:
        span = (start, start + len(text))
        chunk_id = f"{name}#{crc32(repr((text, seed)).encode()):08x}"
        chunks.append(Chunk(chunk_id, name, text, *span, document.uri, document.title, (), None, document.metadata))
        start = span[1] + 1
    return Entry(
        document, fingerprint, tuple(chunks), vectors(len(texts), seed=crc32(repr((name, texts, seed)).encode()))
    )


def vectors(count: int, *, seed: int) -> Matrix:
    """Return `count` unit vectors: float32 (count, DIM)."""
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def search_text(store: Store, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
    """Search by words, in the store or in an index over it."""
    searcher = store if isinstance(store, SearchesText) else LexicalIndex(store=store)
    return searcher.search_text(query, k=k, where=where)


def search_vectors(store: Store, queries: Matrix, *, k: int = 10, where: Filter = ()) -> list[list[Hit]]:
    """Search by vectors, in the store or in an index over it."""
    searcher = store if isinstance(store, SearchesVectors) else ExactIndex(store=store)
    return searcher.search_vectors(queries, k=k, where=where)


def follow(store: Store, state: dict[str, bytes], since: Revision | None) -> Revision:
    """Apply the changes since a revision to a copy of the store's chunk ids and vectors."""
    revision = since or store.revision()
    for change in store.changes(since=since):
        for name in change.removed_ids:
            state.pop(name, None)
        state.update((chunk.id, row.tobytes()) for chunk, row in zip(change.chunks, change.vectors, strict=True))
        revision = change.revision
    return revision


def ids(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk.id for chunk in chunks]


class StoreContract:
    """The rules. `store` must be empty and not prepared."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        raise NotImplementedError("give the contract a store")

    @pytest.fixture(autouse=True)
    def _prepared(self, store: Store) -> None:
        store.prepare(embedder_id=SPACE, dim=DIM)

    def test_starts_empty(self, store: Store) -> None:
        assert store.count() == (0, 0)
        assert list(store.documents()) == []
        assert not [change for change in store.changes() if change.chunks or change.removed_ids]

    def test_gives_back_what_was_put(self, store: Store) -> None:
        metadata = {"n": 7, "x": 1.5, "yes": True, "code": "007", "tags": ("a", "ü"), "none": None}
        given_entry = entry("ä/1.md", "Grüße 👋🏽 e\u0301", "second", metadata=metadata)
        document = replace(given_entry.document, pages=(PageSpan(1, 0, 4), PageSpan(2, 4, 9)), record=True)
        chunks = tuple(replace(chunk, headings=("One", "Two | 2"), page=2) for chunk in given_entry.chunks)
        store.put([replace(given_entry, document=document, chunks=chunks)])
        assert store.read_document("ä/1.md") == document
        assert store.get(ids(chunks)) == list(chunks)
        kept = store.read_document("ä/1.md").metadata
        assert {name: type(value) for name, value in kept.items()} == {n: type(v) for n, v in metadata.items()}

    def test_keeps_vectors_bit_for_bit(self, store: Store) -> None:
        one = entry("a", "x", "y", "z")
        store.put([one])
        state: dict[str, bytes] = {}
        follow(store, state, None)
        assert state == {chunk.id: row.tobytes() for chunk, row in zip(one.chunks, one.vectors, strict=True)}

    def test_put_replaces_a_document_whole(self, store: Store) -> None:
        old, new = entry("a", "old one", "old two"), entry("a", "new", fingerprint="f2", seed=1)
        store.put([old, entry("b", "other")])
        store.put([new])
        assert store.get(ids(old.chunks)) == []
        assert store.get(ids(new.chunks)) == list(new.chunks)
        assert store.read_document("a").text == "new"
        assert store.count() == (2, 2)

    def test_put_twice_is_put_once(self, store: Store) -> None:
        for _ in range(2):
            store.put([entry("a", "x", "y"), entry("b", "z")])
        assert store.count() == (2, 3)
        assert len(search_text(store, "x y z")) == 3

    def test_put_is_all_or_none(self, store: Store) -> None:
        store.put([entry("a", "old")])
        before = store.revision()
        broken = entry("b", "x")
        for bad in (
            np.full((1, DIM), np.nan, np.float32),
            np.ones((1, DIM + 1), np.float32),
            np.ones((2, DIM), np.float32),
        ):
            with pytest.raises(StoreError):
                store.put([entry("a", "new", seed=1), replace(broken, vectors=bad)])
            assert store.read_document("a").text == "old"
            assert store.count() == (1, 1)
            assert store.revision() == before

    def test_put_refuses_an_id_of_another_source(self, store: Store) -> None:
        store.put([entry("a", "mine", source="one")])
        with pytest.raises(ConflictError) as raised:
            store.put([entry("b", "new", source="two"), entry("a", "theirs", source="two", seed=1)])
        assert raised.value.ids == ("a",)
        assert store.read_document("a").text == "mine"
        assert store.count() == (1, 1)

    def test_delete_removes_documents_and_their_chunks(self, store: Store) -> None:
        gone, kept = entry("a", "apple"), entry("b", "apple too")
        store.put([gone, kept])
        store.delete(["a"])
        assert store.count() == (1, 1)
        assert store.get(ids(gone.chunks) + ids(kept.chunks)) == list(kept.chunks)
        assert [stored.id for stored in store.documents()] == ["b"]
        with pytest.raises(NotFoundError):
            store.read_document("a")

    def test_delete_ignores_ids_that_are_not_there(self, store: Store) -> None:
        store.put([entry("a", "x")])
        store.delete(["nothing", "a", "a"])
        assert store.count() == (0, 0)

    def test_get_keeps_the_order_and_leaves_out_what_is_not_there(self, store: Store) -> None:
        one = entry("a", "x", "y", "z")
        store.put([one])
        first, second, third = ids(one.chunks)
        assert ids(store.get([third, "nothing", first, second])) == [third, first, second]

    def test_documents_are_listed_by_id_and_by_source(self, store: Store) -> None:
        store.put(
            [entry("b", "x", source="s1"), entry("a", "y", source="s2", fingerprint="fa"), entry("c", "z", source="s1")]
        )
        assert [(each.id, each.source, each.uri) for each in store.documents()] == [
            ("a", "s2", "/x/a"),
            ("b", "s1", "/x/b"),
            ("c", "s1", "/x/c"),
        ]
        assert [each.id for each in store.documents(source="s1")] == ["b", "c"]
        assert next(store.documents()).fingerprint == "fa"

    def test_a_replaced_document_has_another_version(self, store: Store) -> None:
        store.put([entry("a", "x"), entry("b", "y")])
        before = {each.id: each.version for each in store.documents()}
        store.put([entry("a", "x2", seed=1)])
        after = {each.id: each.version for each in store.documents()}
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]

    def test_revision_moves_with_every_change_and_only_then(self, store: Store) -> None:
        seen = [store.revision()]
        for change in (lambda: store.put([entry("a", "x")]), lambda: store.delete(["a"])):
            assert change() == store.revision()
            seen.append(store.revision())
        list(store.documents()), store.count()
        assert store.revision() == seen[-1]
        assert len(set(seen)) == 3

    # Each run of the rule is a store's own; that several classes run it is the point.
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        steps=st.lists(
            st.tuples(st.sampled_from(["put", "delete", "look"]), st.sampled_from("abc"), st.integers(0, 3)),
            max_size=12,
        )
    )
    def test_changes_followed_give_the_store(self, store: Store, steps: list[tuple[str, str, int]]) -> None:
        store.delete([stored.id for stored in store.documents()])
        followed: dict[str, bytes] = {}
        revision = follow(store, followed, None)
        for what, name, number in steps:
            if what == "put":
                store.put([entry(name, *(f"text {number} {row}" for row in range(number + 1)), seed=number)])
            elif what == "delete":
                store.delete([name])
            else:
                revision = follow(store, followed, revision)
        follow(store, followed, revision)
        whole: dict[str, bytes] = {}
        follow(store, whole, None)
        assert followed == whole
        assert len(whole) == store.count()[1]

    def test_changes_since_a_revision_are_only_those(self, store: Store) -> None:
        store.put([entry("a", "x"), entry("b", "y")])
        since = store.revision()
        new = entry("c", "z")
        store.put([new])
        changes = list(store.changes(since=since))
        assert [chunk.id for change in changes for chunk in change.chunks] == ids(new.chunks)
        assert not any(change.removed_ids for change in changes)
        assert changes[-1].revision == store.revision()
        assert list(store.changes(since=store.revision())) == []

    def test_a_revision_of_the_future_is_refused(self, store: Store) -> None:
        store.put([entry("a", "x")])
        head, _, number = store.revision().rpartition("-")
        future = f"{head}-{int(number) + 5}" if head else str(int(number) + 5)
        with pytest.raises(RevisionExpired):
            list(store.changes(since=future))

    def test_vectors_of_another_model_are_refused(self, store: Store) -> None:
        store.put([entry("a", "x")])
        store.prepare(embedder_id=SPACE, dim=DIM)
        with pytest.raises(EmbedderMismatchError):
            store.prepare(embedder_id="model-b/8", dim=DIM)
        assert store.count() == (1, 1)

    def test_an_empty_store_takes_another_model(self, store: Store) -> None:
        store.prepare(embedder_id="model-b/4", dim=4)
        with pytest.raises(StoreError):
            store.put([entry("a", "x")])
        assert store.count() == (0, 0)

    def test_words_are_found_best_first(self, store: Store) -> None:
        store.put([entry("a", "a saddle for long rides"), entry("b", "a bell"), entry("c", "saddle saddle")])
        hits = search_text(store, "the saddles?")
        assert {hit.chunk.document_id for hit in hits} == {"a", "c"}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.score > 0 and hit.scores["lexical"] == hit.score for hit in hits)
        assert search_text(store, "👋") == []

    def test_words_of_what_is_gone_are_not_found(self, store: Store) -> None:
        store.put([entry("a", "apple"), entry("b", "apple pie")])
        store.put([entry("a", "banana", seed=1)])
        store.delete(["b"])
        assert search_text(store, "apple") == []
        assert len(search_text(store, "banana")) == 1

    def test_equal_words_rank_by_chunk_id(self, store: Store) -> None:
        store.put([replace(entry(name, "same words"), fingerprint=name) for name in "cab"])
        hits = search_text(store, "same words", k=2)
        assert (
            ids([hit.chunk for hit in hits]) == sorted(ids([hit.chunk for hit in search_text(store, "same words")]))[:2]
        )

    def test_filters_act_before_the_top_k(self, store: Store) -> None:
        many = [entry(f"d{n:02}", "apple apple apple", metadata={"colour": "red", "n": n}) for n in range(20)]
        few = [
            entry(f"e{n}", "one apple among many other words", metadata={"colour": "green", "n": n}) for n in range(2)
        ]
        store.put([*many, *few])
        where = (Condition("colour", "=", "green"),)
        assert {hit.chunk.document_id for hit in search_text(store, "apple", k=2, where=where)} == {"e0", "e1"}
        (hits,) = search_vectors(store, many[0].vectors, k=2, where=where)
        assert {hit.chunk.document_id for hit in hits} == {"e0", "e1"}
        both = (*where, Condition("n", ">=", "1"))
        assert [hit.chunk.document_id for hit in search_text(store, "apple", where=both)] == ["e1"]
        assert search_text(store, "apple", where=(Condition("missing", "!=", "x"),)) == []

    def test_nearest_are_those_of_brute_force(self, store: Store) -> None:
        entries = [entry(f"d{n}", f"text {n}", f"more {n}") for n in range(30)]
        store.put(entries)
        store.delete(["d3", "d4"])
        chunks = [chunk for each in entries if each.document.id not in ("d3", "d4") for chunk in each.chunks]
        matrix = np.concatenate([each.vectors for each in entries if each.document.id not in ("d3", "d4")])
        queries = vectors(5, seed=42)
        for query, hits in zip(queries, search_vectors(store, queries, k=7), strict=True):
            scores = matrix.astype(np.float64) @ query.astype(np.float64)
            expected = sorted(range(len(chunks)), key=lambda row: (-round(scores[row], 6), chunks[row].id))[:7]
            assert ids([hit.chunk for hit in hits]) == [chunks[row].id for row in expected]
            assert [hit.score for hit in hits] == pytest.approx([scores[row] for row in expected], abs=1e-6)

    def test_readers_see_whole_steps_beside_a_writer(self, store: Store) -> None:
        problems: list[object] = []
        done = threading.Event()

        def read() -> None:
            try:
                while not done.is_set():
                    state: dict[str, bytes] = {}
                    follow(store, state, None)
                    names = {name.partition("#")[0] for name in state}
                    if names not in (set(), {"a", "b"}):
                        problems.append(names)
            except Exception as error:
                problems.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(30):
            store.put([entry("a", f"x{number}", seed=number), entry("b", f"y{number}", seed=number)])
            if number % 3 == 0:
                store.delete(["a", "b"])
        done.set()
        for reader in readers:
            reader.join()
        assert problems == []

    def test_closes_twice(self, store: Store) -> None:
        store.put([entry("a", "x")])
        store.close()
        store.close()
