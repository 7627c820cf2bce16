"""The batcher: vectors are those of the embedder in any company, and nobody waits for others longer than is fair."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analect.batcher import BatchedEmbedder, Batcher
from analect.cores import cores
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.errors import AnalectError, ConfigError, OverloadedError
from analect.protocols import Embedder
from analect.types import Embeddings, Kind
from contracts.embedder import EmbedderContract, texts

WAIT = 20


class Gated(HashingEmbedder):
    """Runs only when it is let, and remembers which texts ran together."""

    def __init__(self) -> None:
        super().__init__()
        self._gate = threading.Condition()
        self._let = 0  # this many runs, in the order of their start
        self.started = threading.Semaphore(0)
        self.runs: list[list[str]] = []

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        with self._gate:
            number = len(self.runs)
            self.runs.append(list(texts))
            self.started.release()
            assert self._gate.wait_for(lambda: number < self._let, timeout=WAIT)
        return super().embed(texts, kind=kind)

    def let(self, runs: int) -> None:
        with self._gate:
            self._let += runs
            self._gate.notify_all()

    def open(self) -> None:
        self.let(10_000)


@pytest.fixture
def gated() -> Iterator[tuple[Gated, Batcher]]:
    embedder = Gated()
    batcher = Batcher(embedder, queue_tokens=4000)
    yield embedder, batcher
    embedder.open()
    batcher.close()


@pytest.fixture(scope="module")
def local(local_embedder: LocalEmbedder) -> Iterator[Batcher]:
    batcher = Batcher(local_embedder)
    yield batcher
    batcher.close()


def occupy(embedder: Gated, batcher: Batcher) -> list[Future[Embeddings]]:
    """Give every thread of the batcher a text, the urgent one last, and wait until all are held at the gate."""
    held = []
    for text in (*(f"held {number} " + "word " * 100 for number in range(cores())), "held"):
        held.append(batcher.submit([text], kind="query"))
        assert embedder.started.acquire(timeout=WAIT)
    return held


class TestBatchedEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Iterator[Embedder]:
        batcher = Batcher(HashingEmbedder())
        yield BatchedEmbedder(batcher)
        batcher.close()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), seed=st.integers(0, 999))
def test_vectors_do_not_depend_on_who_else_asks(local: Batcher, sizes: list[int], seed: int) -> None:
    requests = [texts(size, seed=seed + number, longest=60) for number, size in enumerate(sizes)]
    with ThreadPoolExecutor(len(sizes)) as callers:
        found = list(callers.map(lambda each: local.submit(each, kind="document").result(WAIT), requests))
    for asked, got in zip(requests, found, strict=True):
        alone = local.embedder.embed(asked, kind="document")
        assert np.all(np.sum(alone.vectors * got.vectors, axis=1) >= 0.9999)
        assert got.tokens.tolist() == alone.tokens.tolist()


def test_waiting_requests_share_a_batch(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    waiting = [batcher.submit([f"query {number}"], kind="query") for number in range(12)]
    embedder.open()
    assert all(future.result(WAIT).failures == {} for future in waiting)
    assert any(len(run) > 1 and all(text.startswith("query") for text in run) for run in embedder.runs)


def test_few_short_requests_are_left_to_one_thread_and_a_crowd_is_not(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    waiting = [batcher.submit(["first"], kind="query")]
    assert embedder.started.acquire(timeout=WAIT)
    waiting += [batcher.submit([f"few {number}"], kind="query") for number in range(40)]
    assert not embedder.started.acquire(timeout=0.3)
    waiting += [batcher.submit([f"crowd {number}"], kind="query") for number in range(40)]
    assert embedder.started.acquire(timeout=WAIT)
    embedder.open()
    assert all(future.result(WAIT).failures == {} for future in waiting)


def test_a_short_request_overtakes_a_long_one(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    long = batcher.submit(["long " + "word " * 100 for _ in range(30)], kind="document")
    short = batcher.submit(["one question"], kind="query")
    embedder.let(cores() + 1)  # those that are held; what runs next is held again
    while ["one question"] not in embedder.runs:
        assert embedder.started.acquire(timeout=WAIT)
    assert sum(text.startswith("long") for run in embedder.runs for text in run) < 30
    embedder.open()
    long.result(WAIT), short.result(WAIT)


def test_a_huge_request_is_interleaved_with_others(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    huge = batcher.submit(["huge " + "word " * 100 for _ in range(30)], kind="document")
    other = batcher.submit(["other " + "word " * 100 for _ in range(3)], kind="document")
    embedder.open()
    huge.result(WAIT), other.result(WAIT)
    first_of_other = next(n for n, run in enumerate(embedder.runs) if any(text.startswith("other") for text in run))
    last_of_huge = max(n for n, run in enumerate(embedder.runs) if any(text.startswith("huge") for text in run))
    assert first_of_other < last_of_huge


def test_a_full_queue_refuses_and_says_when_to_come_back(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    batcher.submit(["word " * 200 for _ in range(19)], kind="document")
    with pytest.raises(OverloadedError, match="3,838 tokens are waiting") as caught:
        batcher.submit(["word " * 200], kind="document")
    assert 1 <= caught.value.retry_after <= 60
    assert batcher.submit(["a short one still fits"], kind="query") is not None


def test_a_request_over_the_bound_is_taken_when_nothing_waits() -> None:
    batcher = Batcher(HashingEmbedder(), queue_tokens=10)
    assert batcher.submit(["word " * 100], kind="document").result(WAIT).failures == {}
    batcher.close()


def test_a_caller_that_leaves_frees_its_place(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    leaving = batcher.submit(["leaving " + "word " * 100 for _ in range(30)], kind="document")
    staying = batcher.submit(["staying " + "word " * 100 for _ in range(3)], kind="document")
    before = batcher.load()
    assert leaving.cancel()
    assert (before.waiting_texts, batcher.load().waiting_texts) == (33, 3)
    assert batcher.load().waiting_tokens == before.waiting_tokens - 30 * 103
    embedder.open()
    assert staying.result(WAIT).failures == {}
    with pytest.raises(CancelledError):
        leaving.result()
    assert not any(text.startswith("leaving") for run in embedder.runs for text in run)
    assert batcher.load().waiting_tokens == 0


def test_documents_of_the_corpus_wait_for_room(gated: tuple[Gated, Batcher]) -> None:
    embedder, batcher = gated
    occupy(embedder, batcher)
    batcher.submit(["word " * 200 for _ in range(19)], kind="document")
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(BatchedEmbedder(batcher).embed, ["late " + "word " * 200] * 2, kind="document")
        assert not waiting.done()
        embedder.open()
        assert waiting.result(WAIT).failures == {}


def test_what_the_engine_raises_reaches_those_callers_and_nobody_else() -> None:
    class Breaks(HashingEmbedder):
        def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
            if any("broken" in text for text in texts):
                raise AnalectError("the engine stopped")
            return super().embed(texts, kind=kind)

    batcher = Batcher(Breaks())
    with pytest.raises(AnalectError, match="the engine stopped"):
        batcher.submit(["broken " + "word " * 90 for _ in range(20)], kind="document").result(WAIT)
    assert batcher.submit(["fine"], kind="query").result(WAIT).failures == {}
    assert batcher.load().waiting_tokens == 0
    batcher.close()


def test_too_long_a_text_is_cut_or_averaged_by_policy(local_embedder: LocalEmbedder) -> None:
    start, end = "river garden window " * 84, "bicycle orange seven " * 84
    halves = local_embedder.embed([start, end], kind="document").vectors
    cutting = Batcher(local_embedder, on_overflow="truncate")
    cut = cutting.submit(["fine", start + end], kind="document").result(WAIT)
    assert cut.cut.tolist() == [False, True]
    assert cut.tokens[1] > local_embedder.max_tokens
    assert float(cut.vectors[1] @ halves[0]) > 0.999
    averaging = Batcher(local_embedder, on_overflow="mean")
    prepared = averaging.prepare([start + end, "fine"], kind="document")
    mean = averaging.enqueue(prepared).result(WAIT)
    assert prepared.averaged == (0,)
    assert not mean.cut.any()
    assert np.linalg.norm(mean.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert min(float(mean.vectors[0] @ half) for half in halves) > 0.6
    cutting.close(), averaging.close()


def test_a_policy_that_needs_tokens_is_refused_without_them() -> None:
    with pytest.raises(ConfigError, match="needs an embedder that gives its tokens"):
        Batcher(HashingEmbedder(), on_overflow="truncate")
    with pytest.raises(ConfigError, match="'cut': write"):
        Batcher(HashingEmbedder(), on_overflow="cut")


def test_after_closing_what_waited_is_done_and_nothing_is_taken() -> None:
    batcher = Batcher(HashingEmbedder())
    futures = [batcher.submit(texts(50), kind="document") for _ in range(5)]
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(AnalectError, match="closed"):
        batcher.submit(["late"], kind="query")
