"""`analect add` through a paid service, killed again and again: in the end all is there, and next to nothing twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analect.fakes._limits import tokens_of
from analect.fakes.azure_openai import AzureOpenAI
from contents import contents
from reviews import TEMPLATE, write_reviews

pytestmark = pytest.mark.usefixtures("fake_key")

REVIEWS, KILLS = 5000, 30
IN_FLIGHT, TPM = 3, 48_000  # a fortieth of it goes in a request, so that there are many
LARGEST = TPM // 40 + 100
SETTINGS = """
[embedder]
use = "openai"
endpoint = "{url}/v1"
dimensions = 16
in_flight = {in_flight}
{quota}
"""


def settle(folder: Path, fake: AzureOpenAI, *, quota: str) -> None:
    """Write the settings of a folder; what was used of the quota is forgotten, as if a minute had passed."""
    (folder / "analect.toml").write_text(SETTINGS.format(url=fake.url, in_flight=IN_FLIGHT, quota=quota))
    for name in ("quota.db", "quota.db-wal", "quota.db-shm"):
        (folder / ".analect" / name).unlink(missing_ok=True)


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "analect", *args]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANALECT_")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environ, **pipes)


def add(folder: Path) -> subprocess.Popen[str]:
    return start(folder, "add", "reviews.csv", "--text", TEMPLATE, "--id", "Id", "--json")


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return dict(json.loads(out))


def first_request_after(process: subprocess.Popen[str], fake: AzureOpenAI) -> float:
    """Return the seconds from now until a program has sent something."""
    began = time.monotonic()
    while not fake.stats()["requests"] and process.poll() is None:
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.slow
def test_thirty_kills_and_a_rerun(tmp_path: Path) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
        texts = write_reviews(folder / "reviews.csv", count=REVIEWS)
    with AzureOpenAI(latency_ms=20) as fake:
        settle(quiet, fake, quota="")
        process = add(quiet)
        begins = first_request_after(process, fake)
        assert finished(process)["added"] == REVIEWS
        assert fake.stats()["tokens"] == sum(map(tokens_of, texts))
    chance, requests = random.Random(5), []
    with AzureOpenAI(latency_ms=300) as fake:
        for _ in range(KILLS):
            settle(killed, fake, quota=f"tpm = {TPM}")
            requests.append(fake.stats()["requests"])  # with what the last kill left on its way
            process = add(killed)
            time.sleep(chance.uniform(0.6 * begins, begins + 0.8))
            process.kill()
            process.communicate()
        time.sleep(0.5)
        requests.append(fake.stats()["requests"])
        settle(killed, fake, quota="")
        report = finished(add(killed))
        stats = fake.stats()
        again = finished(add(killed))
        assert fake.stats()["requests"] == stats["requests"]
    in_the_middle = sum(before < after for before, after in pairwise(requests))
    assert in_the_middle >= 5
    assert (report["documents"], report["failed"]) == (REVIEWS, [])
    assert (again["unchanged"], again["failed"]) == (REVIEWS, [])
    got = contents(killed / ".analect" / "corpus.db")
    assert len(got) == REVIEWS
    assert got == contents(quiet / ".analect" / "corpus.db")
    twice = stats["tokens"] - sum(map(tokens_of, texts))
    assert twice == stats["repeated_tokens"]
    assert twice <= in_the_middle * IN_FLIGHT * LARGEST
    assert "all is well" in start(killed, "ledger", "verify").communicate(timeout=60)[0]
