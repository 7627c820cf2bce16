"""The real Azure OpenAI, by hand: `make live-azure`. Skips loudly without its variables."""

from __future__ import annotations

import os
from contextlib import closing

import numpy as np
import pytest

from analect.chat.openai import OpenAIChat
from analect.embedders.openai import OpenAIEmbedder
from analect.types import Finish, Message

VARIABLES = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_EMBEDDING_DEPLOYMENT", "AZURE_OPENAI_CHAT_DEPLOYMENT")


@pytest.fixture(autouse=True)
def _account() -> None:
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        pytest.skip(f"SKIPPED: the real service is not tried, set {', '.join(missing)}")


def test_embeddings() -> None:
    with closing(OpenAIEmbedder(deployment=os.environ[VARIABLES[1]], dimensions=256)) as embedder:
        assert all(ok for _, ok, _ in embedder.examine())
        found = embedder.embed(["I feel extremely chilly", "I am so cold", "the price of tin"], kind="document")
        cosines = found.vectors @ found.vectors.T
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert cosines[0, 1] > cosines[0, 2]


def test_chat() -> None:
    with closing(OpenAIChat(deployment=os.environ[VARIABLES[2]], max_tokens=20)) as chat:
        *pieces, last = chat.stream([Message("user", "Say the word garden and nothing else.")])
        assert "garden" in "".join(map(str, pieces)).lower()
        assert isinstance(last, Finish)
        assert last.usage
