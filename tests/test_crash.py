"""Killed at any moment and run again: nothing lost, next to nothing paid twice, the same corpus in the end."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analect.ledger import BATCH
from contents import contents

ADD = """
import hashlib, os, sys
from analect import Corpus
from analect.config import PartSettings, Settings
from analect.embedders.{module} import {name}

class Counting({name}):
    def embed(self, texts, *, kind):
        log = os.open(sys.argv[3], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(log, "".join(hashlib.sha256(text.encode()).hexdigest() + "\\n" for text in texts).encode())
        os.close(log)
        return super().embed(texts, kind=kind)

settings = Settings(corpus=__import__("pathlib").Path(sys.argv[1]), ledger=__import__("pathlib").Path(sys.argv[2]))
with Corpus.open(settings=settings, embedder=Counting()) as corpus:
    report = corpus.add(sys.argv[4], text="Title: {{Summary}}; Content: {{Text}}", id="Id")
    print(report.documents, report.chunks, report.unchanged)
"""


def start(folder: Path, table: Path, *, name: str) -> subprocess.Popen[str]:
    module = {"HashingEmbedder": "hashing", "LocalEmbedder": "local"}[name]
    arguments = [str(folder / "corpus.db"), str(folder / "ledger.db"), str(folder / "log"), str(table)]
    return subprocess.Popen(
        [sys.executable, "-c", ADD.format(module=module, name=name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HashingEmbedder", "LocalEmbedder"])
def test_ten_kills_and_a_rerun(data: Path, tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    if name == "LocalEmbedder":
        request.getfixturevalue("local_embedder")
    table = data / "fine_food_reviews_1k.csv"
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    quiet.mkdir()
    killed.mkdir()
    began = time.monotonic()
    whole = start(quiet, table, name=name)
    out, err = whole.communicate(timeout=300)
    lasted = time.monotonic() - began
    assert whole.returncode == 0, err
    assert out.split()[0] == "1000"
    chance = random.Random(11)
    kills = 10
    for _ in range(kills):
        process = start(killed, table, name=name)
        time.sleep(chance.uniform(0.2, 1.0) * lasted)
        process.kill()
        process.communicate()
    last = start(killed, table, name=name)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    expected, got = contents(quiet / "corpus.db"), contents(killed / "corpus.db")
    assert {name: row[:2] for name, row in got.items()} == {name: row[:2] for name, row in expected.items()}
    if name == "HashingEmbedder":
        assert got == expected
    else:  # a batch cut short by a kill gives its texts other company
        import numpy as np

        cosines = [np.frombuffer(got[key][2], "<f4") @ np.frombuffer(expected[key][2], "<f4") for key in expected]
        assert min(cosines) >= 0.9999
    log = (killed / "log").read_text().split()
    assert len(log) - len(set(log)) <= kills * BATCH
    assert set(log) == set((quiet / "log").read_text().split())
    assert all(len(line) == len(hashlib.sha256().hexdigest()) for line in log)
