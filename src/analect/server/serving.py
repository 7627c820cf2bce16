"""What every route is given: the models, the corpus, and threads to work on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import TypeVar

from analect.batcher import BatchedEmbedder, Batcher, Load
from analect.config import PartSettings, Settings, nearest
from analect.corpus import Corpus
from analect.errors import ConfigError
from analect.protocols import Embedder
from analect.registry import build_part
from analect.server.calls import ApiError, Call
from analect.server.metrics import Metrics
from analect.server.settings import ServerSettings

_T = TypeVar("_T")
_WORKING = 8  # threads for the corpus; so many calls, times _PATIENCE, may be at work or wait
_PATIENCE = 8
_ASKING = 32  # threads for answers, which mostly wait for a chat model: nobody's search shall wait for that


class Models:
    """The models that are served, by name: that of `[embedder]` first, then those of `[models]`."""

    def __init__(self, settings: Settings, *, limits: ServerSettings, embedder: Embedder | None = None) -> None:
        self._limits = limits
        self._batchers: dict[str, Batcher] = {}
        self._lock = threading.RLock()
        first: Embedder = embedder or build_part("embedder", settings.embedder)
        self.default = first.id.partition("@")[0]
        self._batchers[self.default] = self._batcher(first)
        self._settings = dict(settings.models)
        if self.default in self._settings:
            raise ConfigError(f"[models.{self.default}] is the model of [embedder] already: leave one of them out")
        self.names = (self.default, *self._settings)
        self._known = {name: name for name in self.names}
        for table, names in (("aliases", settings.aliases), ("deployments", settings.deployments)):
            for name, model in names.items():
                if model not in self.names:
                    raise ConfigError(f"[{table}] {name!r} means {model!r}, no model{nearest(model, self.names)}")
        self.aliases = {**self._known, **settings.aliases}
        self.deployments = {**self._known, **settings.deployments}
        for name, each in self._settings.items():
            load = each.options.get("load", "lazy")
            if load not in ("lazy", "start"):
                raise ConfigError(f"[models.{name}] load is {load!r}: write 'lazy' or 'start'")
            if load == "start":
                self.load(name)

    def _batcher(self, embedder: Embedder) -> Batcher:
        return Batcher(embedder, on_overflow=self._limits.on_overflow, queue_tokens=self._limits.queue_tokens)

    def loaded(self, name: str) -> Batcher | None:
        """Return the batcher of a model that is loaded."""
        return self._batchers.get(name)

    def load(self, name: str) -> Batcher:
        """Return the batcher of a model, loading it first where it is not: that may take seconds."""
        with self._lock:
            if name not in self._batchers:
                settings = self._settings[name]
                options = {key: value for key, value in settings.options.items() if key != "load"}
                if settings.use == "local":
                    options.setdefault("model", name)
                self._batchers[name] = self._batcher(build_part("embedder", PartSettings(settings.use, options)))
            return self._batchers[name]

    def loads(self) -> dict[str, Load]:
        """Return what has gone through each loaded model."""
        return {name: batcher.load() for name, batcher in sorted(self._batchers.items())}

    def warm(self) -> None:
        """Run every loaded model on queries of several lengths and on documents: a first run is a slow one."""
        for batcher in list(self._batchers.values()):
            batcher.submit(["warm " * 20] * 4, kind="document").result()
            for words in range(1, 60, 7):
                batcher.submit(["warm " * words], kind="query").result()

    def close(self) -> None:
        """End the batchers' threads."""
        for batcher in self._batchers.values():
            batcher.close()


class Aside:
    """Threads beside the event loop, and how many calls may be at work on them or wait for them: `most`."""

    def __init__(self, threads: int, *, most: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = most
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[Executor]:
        """Hold one call's place, and give the threads. Raises `ApiError` (429) when every place is taken."""
        if self._taken >= self._most:
            raise ApiError(429, "too many requests are waiting", headers={"retry-after": "1", "retry-after-ms": "1000"})
        self._taken += 1
        try:
            yield self._threads
        finally:
            self._taken -= 1

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


class Serving:
    """One server's state. `ready` once the model is warm; `draining` once it has been told to end."""

    def __init__(
        self, settings: Settings, *, limits: ServerSettings | None = None, embedder: Embedder | None = None
    ) -> None:
        self.settings = settings
        self.limits = limits or build_part("server", settings.server)
        self.models = Models(settings, limits=self.limits, embedder=embedder)
        self.metrics = Metrics()
        self.started = int(time.time())
        self.ready = False
        self.draining = False
        self._corpus: Corpus | None = None
        self._corpus_lock = threading.Lock()
        # One thread counts tokens of long requests, so that counting never takes both cores from what runs.
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="analect-count")
        self._working = Aside(_WORKING, most=_WORKING * _PATIENCE, name="analect-serve")
        self._asking = Aside(_ASKING, most=_ASKING * _PATIENCE, name="analect-ask")

    def warm(self) -> None:
        """Make ready: warm the models."""
        self.models.warm()
        self.ready = True

    async def counting(self, work: Callable[[], _T]) -> _T:
        """Run what counts tokens aside."""
        return await asyncio.get_running_loop().run_in_executor(self._counting, work)

    async def working(self, work: Callable[[], _T]) -> _T:
        """Run what takes long aside. Raises `ApiError` (429) when too much of it waits."""
        with self._working.place() as threads:
            return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def asking(self, call: Call, pieces: Iterator[_T]) -> AsyncGenerator[_T]:
        """Yield the pieces of an answer as they are made aside; `Call.each_of` says how it ends. Raises `ApiError`."""
        with self._asking.place() as threads:
            async with aclosing(call.each_of(pieces, threads=threads, seconds=self.limits.answer_seconds)) as made:
                async for piece in made:
                    yield piece

    def corpus(self, *, create: bool = False) -> Corpus:
        """Return the corpus, opened once. Raises `NotFoundError` when there is none and it is not to be made."""
        with self._corpus_lock:
            if self._corpus is None:
                embedder = BatchedEmbedder(self.models.load(self.models.default))
                self._corpus = Corpus.open(settings=self.settings, embedder=embedder, create=create)
            return self._corpus

    def model(self, name: str, *, names: Mapping[str, str]) -> str:
        """Return the model that a client's name means. Raises `ApiError` (404)."""
        found = names.get(name)
        if found is None:
            raise ApiError(
                404,
                f"The model {name[:200]!r} does not exist or you do not have access to it; "
                f"served here: {', '.join(self.models.names)}",
                param="model",
                code="model_not_found",
            )
        return found

    async def batcher(self, model: str) -> Batcher:
        """Return the model's batcher, loading it aside where it is not loaded yet."""
        batcher = self.models.loaded(model)
        return batcher if batcher is not None else await self.working(lambda: self.models.load(model))

    def close(self) -> None:
        """Close the corpus and end every thread."""
        self._counting.shutdown()
        self._working.close()
        self._asking.close()
        if self._corpus is not None:
            self._corpus.close()
        self.models.close()
