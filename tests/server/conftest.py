"""Servers on free ports of this machine, each stopped with its test."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving_tests import Server

from analect.config import Settings
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.protocols import Embedder
from analect.server.app import make_app
from analect.server.listening import make_server
from analect.server.serving import Serving
from analect.server.settings import ServerSettings


@contextmanager
def running(folder: Path, *, embedder: Embedder, limits: ServerSettings, **given: Any) -> Iterator[Server]:
    keys, hosts = given.pop("keys", ()), given.pop("hosts", None)
    settings = Settings(corpus=folder / "corpus.db", ledger=folder / "ledger.db", **given)
    log = io.StringIO()
    serving = Serving(settings, limits=limits, embedder=embedder)
    serving.warm()
    server = make_server(make_app(serving, keys=keys, hosts=hosts, log=log), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}", port=port, serving=serving, server=server, log=log)
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Server]]:
    """Start a server: `serve(embedder=…, limits=…, keys=…, hosts=…, aliases=…)`."""
    running_ones = []

    def start(*, embedder: Embedder | None = None, limits: ServerSettings | None = None, **given: Any) -> Server:
        context = running(tmp_path, embedder=embedder or HashingEmbedder(), limits=limits or ServerSettings(), **given)
        running_ones.append(context)
        return context.__enter__()

    yield start
    for context in running_ones:
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def hashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the embedder without a model."""
    with running(tmp_path_factory.mktemp("hashing"), embedder=HashingEmbedder(), limits=ServerSettings()) as server:
        yield server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, local_embedder: LocalEmbedder) -> Iterator[Server]:
    """A server of the default model, under its Azure deployment's name and an alias too."""
    names = {
        "deployments": {"my-embeddings": "all-MiniLM-L6-v2"},
        "aliases": {"text-embedding-3-small": "all-MiniLM-L6-v2"},
    }
    with running(tmp_path_factory.mktemp("local"), embedder=local_embedder, limits=ServerSettings(), **names) as server:
        yield server
