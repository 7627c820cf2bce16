"""Every embedder keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from analect.embedders.hashing import HashingEmbedder
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
