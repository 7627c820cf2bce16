"""Pytest fixtures of the fakes: `pytest_plugins = ["analect.fakes.fixtures"]` in a `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analect.fakes.azure_openai import AzureOpenAI


@pytest.fixture
def azure_openai() -> Iterator[AzureOpenAI]:
    """A fake OpenAI and Azure OpenAI without limits or faults; its key is `fake-key`, its address `url`."""
    with AzureOpenAI() as fake:
        yield fake
