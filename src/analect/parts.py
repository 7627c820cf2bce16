"""The parts that the settings name, each built when it is first needed and then kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

from analect.adding import Adding
from analect.config import PartSettings, Settings
from analect.errors import InputError
from analect.ledger import Ledger
from analect.protocols import (
    Answerer,
    Chunker,
    Counts,
    Embedder,
    Retriever,
    SearchesText,
    SearchesVectors,
    Source,
    Store,
)
from analect.registry import build_part, load_part, reader_for
from analect.types import AddProgress, Metadata, Mode

_FUSED: tuple[Mode, ...] = ("dense", "lexical")


class Parts:
    """Builds and keeps the parts of one corpus. Opening it opens the store and binds it to the embedder's space."""

    def __init__(
        self, settings: Settings, *, file: Path, embedder: Embedder | None = None, store: Store | None = None
    ) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._retrievers: dict[str, Retriever] = {}
        self._built: list[Any] = []  # what is to be closed with the corpus, where it has something to close
        self.embedder: Embedder = embedder or self._build("embedder", settings.embedder)
        self.store: Store = store or build_part("store", settings.store, path=file)
        try:
            self.store.prepare(embedder_id=self.embedder.id, dim=self.embedder.dim)
        except BaseException:
            self.store.close()
            raise

    def _build(self, family: str, settings: PartSettings, **given: Any) -> Any:
        """Return a part that may have connections, and remember to close it."""
        part = build_part(family, settings, quota=self.settings.quota, **given)
        self._built.append(part)
        return part

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the settings."""
        return Ledger(path=self.settings.ledger)

    @cached_property
    def answerer(self) -> Answerer:
        """The answerer of the settings."""
        return cast(Answerer, self._build("chat", self.settings.chat, embedder=self.embedder))

    def source(
        self, what: str | os.PathLike[str] | Source, *, text: str | None, id: str | None, name: str | None
    ) -> Source:
        """Return the source of a path or URL; a source is returned as it is."""
        if isinstance(what, Source):
            return what
        files = load_part("source", "files")
        return cast(Source, files(os.fspath(what), name=name, text=text, id=id, reader_for=reader_for))

    def adding(self, on_progress: Callable[[AddProgress], None] | None) -> Adding:
        """Return what carries out one `add`."""
        return Adding(
            store=self.store,
            embedder=self.embedder,
            ledger=self.ledger,
            chunker=self._chunker(self.settings.chunker),
            record_chunker=self._chunker(PartSettings("whole", self.settings.chunker.options)),
            on_progress=on_progress,
        )

    def _chunker(self, settings: PartSettings) -> Chunker:
        return cast(Chunker, build_part("chunker", settings, embedder=self.embedder))

    def retriever(self, mode: Mode | None) -> Retriever:
        """Return the retriever of that mode (None: that of the settings). Raises `InputError` for an unknown mode."""
        if mode is not None and mode not in get_args(Mode):
            raise InputError(f"the mode is {mode!r}: use one of {', '.join(get_args(Mode))}")
        settings = self.settings.retriever if mode is None else PartSettings(mode)
        with self._lock:
            if settings.use not in self._retrievers:
                self._retrievers[settings.use] = self._build_retriever(settings)
            return self._retrievers[settings.use]

    def _build_retriever(self, settings: PartSettings) -> Retriever:
        if settings.use == "dense":
            searcher: Any = self._vector_searcher
        elif settings.use == "lexical":
            searcher = self._text_searcher
        else:
            given = {mode: self.retriever(mode) for mode in _FUSED}
            return cast(Retriever, build_part("retriever", settings, **given))
        return cast(Retriever, build_part("retriever", settings, embedder=self.embedder, searcher=searcher))

    @cached_property
    def _vector_searcher(self) -> SearchesVectors:
        """The store, where it finds the nearest chunks for itself, else an index over it."""
        store = self.store
        return store if isinstance(store, SearchesVectors) else load_part("index", "exact")(store=store)

    @cached_property
    def _text_searcher(self) -> SearchesText:
        """The store, where it ranks words for itself, else an index over it."""
        store = self.store
        return store if isinstance(store, SearchesText) else load_part("index", "lexical")(store=store)

    def counters(self) -> dict[str, Metadata]:
        """Return the counters of the embedder and of the index, as far as these are there and count."""
        parts = {"embedder": self.embedder, "index": self.__dict__.get("_vector_searcher")}
        return {name: part.counters() for name, part in parts.items() if isinstance(part, Counts)}

    def close(self) -> None:
        """Close the store, the ledger and the connections of the parts built here."""
        self.store.close()
        for part in self._built:
            getattr(part, "close", lambda: None)()
        if "ledger" in self.__dict__:
            self.ledger.close()
