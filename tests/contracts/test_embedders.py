"""Every embedder keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analect.embedders.hashing import HashingEmbedder
from analect.embedders.openai import OpenAIEmbedder
from analect.fakes.azure_openai import AzureOpenAI
from analect.ledger import Ledger, LedgerEmbedder
from analect.protocols import Embedder
from contracts.embedder import EmbedderContract


class TestHashingEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashingEmbedder()


class TestLedgerEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, tmp_path: Path) -> Iterator[Embedder]:
        ledger = Ledger(path=tmp_path / "ledger.db")
        yield LedgerEmbedder(HashingEmbedder(), ledger=ledger)
        ledger.close()


class TestLocalEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, local_embedder: Embedder) -> Embedder:
        return local_embedder


class TestLocalEmbedderInInt8(EmbedderContract):
    @pytest.fixture
    def embedder(self, int8_embedder: Embedder) -> Embedder:
        return int8_embedder


class TestOpenAIEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedder]:
        monkeypatch.setenv("OPENAI_API_KEY", "fake-key")
        with AzureOpenAI() as fake, closing(OpenAIEmbedder(endpoint=f"{fake.url}/v1", dimensions=512)) as embedder:
            yield embedder
