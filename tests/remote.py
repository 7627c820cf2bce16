"""What tests of remote parts share: a fake service, and embedders that use it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from analect.embedders.openai import OpenAIEmbedder
from analect.fakes.azure_openai import AzureOpenAI
from analect.governor import Governor

MODEL = "text-embedding-3-small"


def embedder_at(fake: AzureOpenAI, **settings: Any) -> OpenAIEmbedder:
    """Return an embedder that uses the fake's OpenAI route; the environment must have the key."""
    return OpenAIEmbedder(**{"endpoint": f"{fake.url}/v1", "dimensions": 64, **settings})


def quicken(embedder: OpenAIEmbedder, *, minute: float, haste: float = 1, path: Path | None = None) -> OpenAIEmbedder:
    """Give an embedder a governor with the quota minute of the fake, and one that waits `haste` times less."""
    connection = embedder._connection
    for deployment in embedder._deployments.values():
        door = connection.door(deployment)
        settings = {**connection._paced, "path": path}
        connection._governors[door.id] = Governor(
            door.id, minute=minute, sleep=lambda seconds: time.sleep(seconds / haste), **settings
        )
    return embedder


@pytest.fixture
def fake_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "fake-key")
