"""Servers on free ports of this machine, each stopped with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_tests import Server, running

from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.protocols import Embedder
from analect.server.settings import ServerSettings


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
