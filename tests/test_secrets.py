"""No key, token or text in any log record, exception text or stderr, whatever goes wrong and whatever is logged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analect.fakes.azure_openai import AzureOpenAI
from analect.fakes.entra import Entra

KEY, TEXT = "marker-of-a-key-0123456789", "marker of a text that nobody else may read"
QUESTION = "marker of a question: which words does the second page have"
SETTINGS = """
[embedder]
use = "openai"
endpoint = "{url}"
dimensions = 16
timeout = 2
{more}

[chat]
use = "openai"
endpoint = "{url}"
timeout = 2
"""
# The command line with everything logged that anybody logs, and tracebacks: once for each spec of faults.
PROGRAM = """
import logging, os, sys, urllib.request
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s %(args)r")
from analect.cli import main
url, args, *specs = sys.argv[1:]
for number, spec in enumerate(specs):
    os.environ["ANALECT_LEDGER"], corpus = f"ledger{number}.db", f"corpus{number}.db"
    if "ask" in args.split():
        main(["--corpus", corpus, "add", "docs"])
    urllib.request.urlopen(urllib.request.Request(f"{url}/_fake/faults", data=spec.encode())).close()
    print("\\n<<<", spec, main(["--corpus", corpus, *args.split(maxsplit=1)]), ">>>")
"""


def run(folder: Path, url: str, args: str, *specs: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ANALECT_", "AZURE_"))}
    environ |= {"OPENAI_LOG": "debug", "ANALECT_DEBUG": "1", "AZURE_LOG_LEVEL": "debug"}
    command = [sys.executable, "-c", PROGRAM, url, args, *specs]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)


def settle(folder: Path, url: str, *, more: str = "") -> None:
    (folder / "analect.toml").write_text(SETTINGS.format(url=url, more=more))
    (folder / "docs").mkdir(exist_ok=True)
    for name in ("first", "second"):
        (folder / "docs" / f"{name}.md").write_text(f"# The {name} page\n\nIt has words: {TEXT}, of the {name} page.\n")


def check(done: subprocess.CompletedProcess[str], expected: dict[str, int], *, shown: bool = False) -> None:
    """Check what was printed; `shown`: stdout may show texts, which were asked for."""
    codes = dict(re.findall(r"^<<< (\S*) (\d) >>>$", done.stdout, re.MULTILINE))
    assert codes == {spec: str(code) for spec, code in expected.items()}, done.stderr
    assert "DEBUG" in done.stderr  # everything was logged
    for where in (done.stderr,) if shown else (done.stderr, done.stdout):
        for marker in (KEY, "marker of a", "fake-entra-"):
            assert marker not in where, where[max(where.find(marker) - 300, 0) :][:700]


@pytest.mark.slow
def test_adding_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    expected = {
        "": 0,
        "poison=marker": 1,
        "echo*99": 2,
        "shuffle,echo": 0,
        "401*99": 2,
        "404*99": 2,
        "500,503": 0,
        "reset,truncate": 0,
        "429=ms:10": 0,
        "timeout=3": 0,
        "nan*9": 2,
        "count*9": 2,
    }
    with AzureOpenAI(key=KEY) as fake:
        settle(tmp_path, f"{fake.url}/v1")
        done = run(tmp_path, fake.url, "add docs", *expected)
        check(done, expected)
    assert "refused by the content management policy" in done.stderr  # what the service says is told,
    assert "refused: " in done.stderr  # but for what it repeats
    assert "[token]" in done.stderr


def test_asking_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    expected = {"": 0, "shuffle,echo": 2, "shuffle,reset": 2, "shuffle,401*9": 2, "shuffle,filter": 0}
    with AzureOpenAI(key=KEY) as fake:
        settle(tmp_path, f"{fake.url}/v1")
        done = run(tmp_path, fake.url, f"ask {QUESTION}", *expected)
        check(done, expected, shown=True)
    assert "[text]" in done.stderr


def test_tokens_of_entra_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    expected = {"": 0, "echo*99": 2, "401*99": 2, "expire": 0}
    deployments = {"mine": "text-embedding-3-small"}
    with Entra() as entra, AzureOpenAI(key=KEY, entra=entra, deployments=deployments) as fake:
        for name, value in entra.environment.items():
            monkeypatch.setenv(name, value)
        settle(tmp_path, fake.url, more='deployment = "mine"')
        done = run(tmp_path, fake.url, "add docs", *expected)
        check(done, expected)
        assert entra.issued > len(expected)
        assert entra.secret not in done.stderr + done.stdout
