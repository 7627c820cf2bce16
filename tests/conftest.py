"""What every test may lean on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from analect.embedders.local import LocalEmbedder
from analect.errors import ModelError

sys.path.insert(0, str(Path(__file__).parent))  # `from contracts.store import …` in any test

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """Real data beside the checkout; a test that needs it says loudly that it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"SKIPPED: real data is not at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def local_embedder() -> LocalEmbedder:
    """The default model; a test that needs it says loudly that it is absent."""
    try:
        return LocalEmbedder()
    except ModelError as error:
        pytest.skip(f"SKIPPED: {error}")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANALECT_")]:
        monkeypatch.delenv(name)
