"""What every test may lean on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from analect.embedders.local import LocalEmbedder
from analect.errors import ModelError

sys.path.insert(0, str(Path(__file__).parent))  # `from contracts.store import …` in any test

from remote import fake_key  # noqa: F401  # a fixture of every test that asks for it

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


@pytest.fixture(scope="session")
def int8_embedder(local_embedder: LocalEmbedder) -> LocalEmbedder:
    """The default model in int8, which a CPU with VNNI and without bf16 takes by itself."""
    return LocalEmbedder(model=str(local_embedder.folder), precision="int8")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANALECT_")]:
        monkeypatch.delenv(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="a skipped test is a failure: what CI asks for")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say every skip aloud, whatever the verbosity."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"SKIPPED {report.nodeid}: {report.longrepr[-1]}", yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--forbid-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
