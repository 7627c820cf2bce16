"""Merges the texts of concurrent callers into full batches of like lengths.

Whoever waits is served by self-clocked fair queueing (Golestani 1994): a text's turn is the clock at its arrival plus
the tokens that its own request has before it. So a thousand texts of one request do not hold up another's, and a short
request overtakes them. A request of few tokens has a lane of its own beside, with one thread that makes urgent runs:
what comes during a run is the next one, together, and the other threads help only when more waits than a run takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.errors import AnalectError, ConfigError, OverloadedError
from analect.padding import BATCH_TOKENS, padded_length
from analect.protocols import Counts, CrossEncodes, Embedder, EmbedsTokens
from analect.types import Embeddings, Kind, Matrix, Metadata, Vector

Overflow: TypeAlias = Literal["error", "truncate", "mean"]

_WINDOW = 12  # batches' worth of texts that a batch of like lengths is chosen from: with 4, twice as much is padding
_SHORT = 64  # tokens of a whole request that may take the lane of urgent runs
_AFTER_SHORT = 0.05  # seconds after a short request in which a core is kept for the next
_CROWD = 64  # short texts: more than one urgent run takes
_RESERVE = 1.1  # a queue that is full for others still takes this much in short requests


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts that were counted and can be enqueued. `encodings[j]` is (a window of) the text `rows[j]`."""

    kind: Kind
    encodings: list[Any]
    lengths: list[int]
    rows: list[int]
    tokens: NDArray[np.int32]
    cut: NDArray[np.bool_]
    averaged: tuple[int, ...] = ()
    failures: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """What has gone through a batcher so far, and what waits now. Seconds are sums."""

    texts: int = 0
    tokens: int = 0
    batches: int = 0
    padded_tokens: int = 0
    run_seconds: float = 0.0
    wait_seconds: float = 0.0
    waiting_texts: int = 0
    waiting_tokens: int = 0


class _Request:
    """One caller's texts on their way, and the future that it holds."""

    __slots__ = ("arrived", "failures", "future", "gone", "left", "prepared", "sums", "waiting_texts", "waiting_tokens")

    def __init__(self, prepared: Prepared, *, dim: int) -> None:
        self.prepared = prepared
        self.sums: Matrix = np.zeros((len(prepared.tokens), dim), dtype=np.float32)
        self.failures = dict(prepared.failures)
        self.left = self.waiting_texts = len(prepared.encodings)
        self.waiting_tokens = sum(prepared.lengths)
        self.arrived = time.perf_counter()
        self.gone = False  # the caller left, or a run of its texts failed
        self.future: Future[Embeddings] = Future()

    def keep(self, place: int, vector: Vector) -> None:
        """Keep the vector of one encoding."""
        row = self.prepared.rows[place]
        if row in self.prepared.averaged:
            self.sums[row] += vector * self.prepared.lengths[place]
        else:
            self.sums[row] = vector

    def embeddings(self) -> Embeddings:
        """Return what the future gives once every encoding has its vector."""
        rows = list(self.prepared.averaged)
        if rows:
            self.sums[rows] /= np.maximum(np.linalg.norm(self.sums[rows], axis=1, keepdims=True), 1e-12)
        if self.failures:
            self.sums[list(self.failures)] = np.nan
        return Embeddings(self.sums, self.prepared.tokens, self.prepared.cut, self.failures)


_Item: TypeAlias = tuple[float, int, int, _Request]  # turn, number of arrival, place in the request, the request


class Batcher:
    """Embeds for many callers at once. Safe for several threads; its own threads start with the first text.

    `on_overflow` says what becomes of a text over the model's limit: "error" makes it a failure, "truncate" cuts it and
    marks it in `cut`, "mean" embeds it in windows and gives their mean, weighted by tokens. Raises `ConfigError` for a
    policy other than "error" where the embedder does not give its tokens.
    """

    def __init__(self, embedder: Embedder, *, on_overflow: Overflow = "error", queue_tokens: int = 400_000) -> None:
        if on_overflow not in get_args(Overflow):
            raise ConfigError(f"on_overflow is {on_overflow!r}: write 'error', 'truncate' or 'mean'")
        self._engine = embedder if isinstance(embedder, EmbedsTokens) else None  # asking a protocol takes 20 us
        if on_overflow != "error" and self._engine is None:
            raise ConfigError(
                f"on_overflow = {on_overflow!r} needs an embedder that gives its tokens, {embedder.id} not"
            )
        self.embedder = embedder
        self._on_overflow = on_overflow
        self._limit = queue_tokens
        self._lock = threading.Lock()
        self._urgent = threading.Condition(self._lock)
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._short: list[_Item] = []
        self._long: list[_Item] = []
        self._clock = 0.0
        self._numbers = count()
        self._urgent_idle = False
        self._last_short = float("-inf")
        self._running = 0
        self._waiting_texts = self._waiting_tokens = self._gone = 0
        self._rate = 20_000.0  # tokens a second, as last seen
        self._done = Load()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def prepare(self, texts: Sequence[str], *, kind: Kind) -> Prepared:
        """Return the texts counted, and cut by the policy; what can have no vector is under `failures`."""
        if self._engine:
            encodings: list[Any] = self._engine.encode(texts, kind=kind)
            tokens = np.fromiter(map(len, encodings), dtype=np.int32, count=len(texts))
        else:
            encodings, tokens = list(texts), self.embedder.count_tokens(texts)
        limit = self.embedder.max_tokens
        long = tokens > limit
        failures = {index: "the text is empty" for index, text in enumerate(texts) if not text.strip()}
        if self._on_overflow == "error":
            for index in map(int, np.flatnonzero(long)):
                failures.setdefault(index, f"the text has {tokens[index]} tokens, the model takes {limit}")
        if not failures and not long.any():
            return Prepared(kind, encodings, tokens.tolist(), list(range(len(texts))), tokens, cut=long)
        pieces = [
            (row, window)
            for row in range(len(texts))
            if row not in failures
            for window in (self._windows(encodings[row]) if long[row] else (encodings[row],))
        ]
        return Prepared(
            kind,
            encodings=[piece for _, piece in pieces],
            lengths=[len(piece) if long[row] else int(tokens[row]) for row, piece in pieces],
            rows=[row for row, _ in pieces],
            tokens=tokens,
            cut=long & (self._on_overflow == "truncate"),
            averaged=tuple(map(int, np.flatnonzero(long))) if self._on_overflow == "mean" else (),
            failures=failures,
        )

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Return over-long ids as windows within the limit, each between the special tokens; only one to truncate."""
        first, *inner, last = ids
        size = self.embedder.max_tokens - 2
        starts = range(0, len(inner), size) if self._on_overflow == "mean" else (0,)
        return [[first, *inner[start : start + size], last] for start in starts]

    def submit(self, texts: Sequence[str], *, kind: Kind) -> Future[Embeddings]:
        """Return the future of the texts' embeddings; cancelling it frees their place. Raises `OverloadedError`."""
        return self.enqueue(self.prepare(texts, kind=kind))

    def enqueue(self, prepared: Prepared, *, wait: bool = False) -> Future[Embeddings]:
        """Return the future of what was prepared. When the queue is full it waits, or raises `OverloadedError`."""
        request = _Request(prepared, dim=self.embedder.dim)
        if not prepared.encodings:
            request.future.set_result(request.embeddings())
            return request.future
        short = request.waiting_tokens <= _SHORT
        with self._lock:
            while not self._fits(request.waiting_tokens, short=short):
                if not wait:
                    raise self._overloaded()
                self._room.wait()
            self._start_threads()
            self._push(request, heap=self._short if short else self._long)
            self._wake(len(prepared.encodings), short=short)
        request.future.add_done_callback(lambda future: self._forget(request) if future.cancelled() else None)
        return request.future

    def _fits(self, tokens: int, *, short: bool) -> bool:
        if self._closed:
            raise AnalectError("the batcher is closed")
        limit = self._limit * (_RESERVE if short else 1)
        return not self._waiting_tokens or self._waiting_tokens + tokens <= limit

    def _overloaded(self) -> OverloadedError:
        seconds = max(self._waiting_tokens / self._rate, 1.0)
        return OverloadedError(
            f"{self._waiting_tokens:,} tokens are waiting for the model, and {self._limit:,} may; "
            f"come back in {seconds:.0f} seconds, or raise queue_tokens",
            retry_after=min(seconds, 60.0),
        )

    def _push(self, request: _Request, *, heap: list[_Item]) -> None:
        lengths = request.prepared.lengths
        turn = self._clock
        for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            turn += lengths[place]
            heappush(heap, (turn, next(self._numbers), place, request))
        self._waiting_texts += request.waiting_texts
        self._waiting_tokens += request.waiting_tokens

    def _wake(self, texts: int, *, short: bool) -> None:
        if short:
            self._last_short = time.perf_counter()
        if short and self._urgent_idle:
            self._urgent_idle = False
            self._urgent.notify()
        elif not short or self._crowded():
            self._work.notify(texts)

    def _forget(self, request: _Request) -> None:
        """Free the place of a caller that went away; its items are passed over when their turn comes."""
        with self._lock:
            self._drop(request)

    def _drop(self, request: _Request) -> None:
        if request.gone:
            return
        request.gone = True
        self._waiting_tokens -= request.waiting_tokens
        self._waiting_texts -= request.waiting_texts
        self._gone += request.waiting_texts
        if self._gone > (len(self._short) + len(self._long)) // 2:
            for heap in (self._short, self._long):
                heap[:] = [item for item in heap if not item[3].gone]
                heapify(heap)
            self._gone = 0
        self._room.notify_all()

    def _start_threads(self) -> None:
        if self._threads:
            return
        for number in range(cores() + 1):
            work = self._serve_urgent if number == 0 else self._serve
            self._threads.append(threading.Thread(target=work, name=f"analect-batch-{number}", daemon=True))
            self._threads[-1].start()

    def _serve_urgent(self) -> None:
        while True:
            with self._lock:
                while not (batch := self._take(self._short)):
                    if self._closed:
                        return
                    self._urgent_idle = True
                    self._urgent.wait()
                    self._urgent_idle = False
            self._run(batch, urgent=True)

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not (batch := self._take(self._next_heap())):
                    if self._closed and not self._long:
                        return
                    self._work.wait(_AFTER_SHORT if self._long else None)
                self._running += 1
            self._run(batch, urgent=False)
            with self._lock:
                self._running -= 1

    def _next_heap(self) -> list[_Item]:
        """Return the heap whose turn it is; while short requests keep coming, one core is left to them."""
        lately = time.perf_counter() - self._last_short < _AFTER_SHORT
        heaps = [self._short] if self._crowded() else []
        if self._long and not (lately and self._running >= max(cores() - 1, 1)):
            heaps.append(self._long)
        return min(heaps, key=lambda heap: heap[0][0], default=[])

    def _crowded(self) -> bool:
        return len(self._short) > _CROWD

    def _take(self, heap: list[_Item]) -> list[_Item]:
        """Take the text whose turn it is, and the waiting ones nearest to it in length, as many as a batch may have."""
        window: list[_Item] = []
        tokens = 0
        while heap and tokens < _WINDOW * BATCH_TOKENS:
            item = heappop(heap)
            if item[3].gone:
                self._gone = max(self._gone - 1, 0)
            else:
                window.append(item)
                tokens += _length(item)
        if not window:
            return []
        self._clock = max(self._clock, window[0][0])
        batch, rest = _nearest_lengths(window)
        for item in rest:
            heappush(heap, item)
        now = time.perf_counter()
        for item in batch:
            item[3].waiting_tokens -= _length(item)
            item[3].waiting_texts -= 1
        self._waiting_tokens -= sum(map(_length, batch))
        self._waiting_texts -= len(batch)
        self._done = _plus(self._done, wait_seconds=sum(now - item[3].arrived for item in batch))
        self._room.notify_all()
        return batch

    def _run(self, batch: list[_Item], *, urgent: bool) -> None:
        began = time.perf_counter()
        try:
            vectors, failures = self._vectors(batch, urgent=urgent)
        except Exception as error:  # noqa: BLE001  # whatever the engine raises is the callers', not this thread's
            self._fail({item[3] for item in batch}, error)
            return
        seconds = time.perf_counter() - began
        done = []
        with self._lock:
            self._count(batch, seconds=seconds, streams=1 if urgent else cores())
            for index, (_, _, place, request) in enumerate(batch):
                if index in failures:
                    request.failures[request.prepared.rows[place]] = failures[index]
                else:
                    request.keep(place, vectors[index])
                request.left -= 1
                if request.left == 0 and not request.gone:
                    done.append(request)
        for request in done:
            if request.future.set_running_or_notify_cancel():
                request.future.set_result(request.embeddings())

    def _vectors(self, batch: list[_Item], *, urgent: bool) -> tuple[Matrix, dict[int, str]]:
        work = [item[3].prepared.encodings[item[2]] for item in batch]
        if self._engine:
            return self._engine.embed_encoded(work, urgent=urgent), {}
        engine = self.embedder
        vectors: Matrix = np.empty((len(work), engine.dim), dtype=np.float32)
        failures = {}
        kinds = [item[3].prepared.kind for item in batch]
        for kind in set(kinds):
            places = [place for place, each in enumerate(kinds) if each == kind]
            found = engine.embed([work[place] for place in places], kind=kind)
            vectors[places] = found.vectors
            failures.update({places[index]: reason for index, reason in found.failures.items()})
        return vectors, failures

    def _count(self, batch: list[_Item], *, seconds: float, streams: int) -> None:
        lengths = list(map(_length, batch))
        tokens, padded = sum(lengths), len(lengths) * padded_length(max(lengths))
        self._rate += 0.1 * (tokens / seconds * streams - self._rate)
        self._done = _plus(
            self._done, texts=len(batch), tokens=tokens, batches=1, padded_tokens=padded, run_seconds=seconds
        )

    def _fail(self, requests: set[_Request], error: Exception) -> None:
        with self._lock:
            first = [request for request in requests if not request.gone]
            for request in first:
                self._drop(request)
        for request in first:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)

    def load(self) -> Load:
        """Return what has gone through, and what waits."""
        with self._lock:
            return _plus(self._done, waiting_texts=self._waiting_texts, waiting_tokens=self._waiting_tokens)

    def close(self) -> None:
        """End the threads once what waits is done. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            for condition in (self._urgent, self._work, self._room):
                condition.notify_all()
        for thread in self._threads:
            thread.join()


class BatchedEmbedder:
    """An embedder whose texts go through a batcher, among those of other callers; documents wait for room."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.id = batcher.embedder.id
        self.dim = batcher.embedder.dim
        self.max_tokens = batcher.embedder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text: int32 (n,)."""
        return self._batcher.embedder.count_tokens(texts)

    def counters(self) -> Metadata:
        """Return what the embedder itself counts, where it does."""
        engine = self._batcher.embedder
        return engine.counters() if isinstance(engine, Counts) else {}

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        """Return one unit vector a text. Raises `OverloadedError` for queries that find the queue full."""
        prepared = self._batcher.prepare(texts, kind=kind)
        return self._batcher.enqueue(prepared, wait=kind == "document").result()

    def cross_encode(self, question: str, texts: Sequence[tuple[str, str]]) -> Vector | None:
        """Return how surely each of the texts answers, in log odds, where the embedder itself can tell."""
        engine = self._batcher.embedder
        return engine.cross_encode(question, texts) if isinstance(engine, CrossEncodes) else None


def _length(item: _Item) -> int:
    return item[3].prepared.lengths[item[2]]


def _plus(load: Load, **more: float) -> Load:
    return replace(load, **{name: getattr(load, name) + value for name, value in more.items()})


def _nearest_lengths(window: list[_Item]) -> tuple[list[_Item], list[_Item]]:
    """Return the first item and those nearest to it in length, within a batch's padded tokens; and the others."""
    if len(window) == 1:
        return window, []
    ordered = sorted(window, key=_length)
    start = end = ordered.index(window[0])
    while True:
        longer = _length(ordered[end + 1]) if end + 1 < len(ordered) else None
        shorter = _length(ordered[start - 1]) if start else None
        width, number = padded_length(_length(ordered[end])), end - start + 2
        if shorter is not None and (longer is None or _length(window[0]) - shorter < longer - _length(window[0])):
            if number * width > BATCH_TOKENS:
                break
            start -= 1
        elif longer is not None and number * padded_length(longer) <= BATCH_TOKENS:
            end += 1
        elif shorter is not None and number * width <= BATCH_TOKENS:
            start -= 1
        else:
            break
    return ordered[start : end + 1], ordered[:start] + ordered[end + 1 :]
