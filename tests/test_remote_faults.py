"""Faults, kills and shared quotas: in the end every text has one vector, and next to nothing is paid twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from analect import Corpus
from analect.config import PartSettings, Settings
from analect.fakes._quota import Limits
from analect.fakes._vectors import vectors_of
from analect.fakes.azure_openai import AzureOpenAI
from analect.ledger import Ledger, hash_of
from analect.stores.sqlite import SqliteStore

pytestmark = pytest.mark.usefixtures("fake_key")

TEMPLATE = "Title: {Summary}; Content: {Text}"

WORKER = """
import sys, time
from contextlib import closing
from pathlib import Path
from analect.embedders.openai import OpenAIEmbedder
from analect.governor import Governor
from analect.ledger import Ledger, LedgerEmbedder

url, folder, first, count, minute, in_flight = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
embedder = OpenAIEmbedder(endpoint=url + "/v1", dimensions=16, in_flight=in_flight)
door = embedder._connection.door("text-embedding-3-small")
governor = Governor(door.id, path=folder / "quota.db", minute=minute)
embedder._connection._governors[door.id] = governor
texts = [f"text {n} " + "garden " * (10 + n % 40) for n in range(first, first + count)]
ledger = Ledger(path=folder / "ledger.db")
print("ready", flush=True)
found = LedgerEmbedder(embedder, ledger=ledger).embed(texts, kind="document")
print(len(found.vectors), len(found.failures), found.reused, flush=True)
embedder.close()
ledger.close()
"""


def texts(first: int, count: int) -> list[str]:
    return [f"text {n} " + "garden " * (10 + n % 40) for n in range(first, first + count)]


def worker(fake: AzureOpenAI, folder: Path, *more: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, fake.url, str(folder), *map(str, more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def settings(fake: AzureOpenAI, folder: Path, **more: int) -> Settings:
    embedder = PartSettings("openai", {"endpoint": f"{fake.url}/v1", "dimensions": 64, **more})
    return Settings(corpus=folder / "c.db", ledger=folder / "l.db", embedder=embedder)


def test_a_third_of_faults_ends_complete(data: Path, tmp_path: Path) -> None:
    faults = "poison=zzzz,30%429+500+503+reset+truncate+shuffle+count+nan"
    # A quota makes requests small, so that there are many for faults to hit; at full speed all of it is one.
    with AzureOpenAI(faults=faults, limits=Limits(tpm=400_000, rpm=60_000)) as fake:
        with Corpus.open(settings=settings(fake, tmp_path, tpm=400_000)) as corpus:
            report = corpus.add(data / "fine_food_reviews_1k.csv", text=TEMPLATE, id="Id")
        stats = fake.stats()
    assert (report.documents, report.added, report.failed) == (1000, 1000, ())
    store = SqliteStore(path=tmp_path / "c.db")
    for change in store.changes():
        expected = vectors_of([chunk.embedded_text for chunk in change.chunks], dim=64, by="hashing")
        assert np.abs(change.vectors - expected).max() < 1e-6
    assert store.count()[0] == 1000
    store.close()
    assert stats["faults"] >= 3


def test_a_poisoned_document_is_listed_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n}.md").write_text(f"page {n} of " + ("poison" if n == 17 else "bread"))
    with AzureOpenAI(faults="poison=poison") as fake, Corpus.open(settings=settings(fake, tmp_path)) as corpus:
        report = corpus.add(folder)
        assert (report.added, len(report.failed)) == (29, 1)
        assert report.failed[0].uri.endswith("17.md")
        assert "content management policy" in report.failed[0].error
        again = corpus.add(folder)
        assert (again.unchanged, len(again.failed)) == (29, 1)
        assert fake.stats()["texts"] == 29 + 1


def test_what_was_paid_before_an_outage_is_kept(tmp_path: Path) -> None:
    with AzureOpenAI(faults="shuffle*3,401*40") as fake:
        broken = worker(fake, tmp_path, 0, 12_000, 60, 2)
        _, err = broken.communicate(timeout=60)
        assert "answered 401" in err
        paid = fake.stats()["texts"]
        ledger = Ledger(path=tmp_path / "ledger.db")
        assert ledger.count()[0] == paid > 2048
        ledger.close()


def kept_tokens(ledger: Ledger, *, first: int) -> int:
    """Return the tokens of what the worker of those texts has in the ledger."""
    space = ledger.space("text-embedding-3-small/16", kind="document")
    rows = ledger.read(space, [hash_of(text) for text in texts(first, 8_000)])
    return sum(row.tokens for row in rows.values())


def is_kept(ledger: Ledger, text: str) -> bool:
    return ledger.receipt(text, embedder_id="text-embedding-3-small/16", kind="document") is not None


@pytest.mark.slow
def test_two_processes_share_a_quota(tmp_path: Path) -> None:
    minute, firsts = 4, (0, 8_000)
    ledger = Ledger(path=tmp_path / "ledger.db")
    with AzureOpenAI(limits=Limits(tpm=60_000, rpm=6_000, minute=minute), latency_ms=20) as fake:
        both = [worker(fake, tmp_path, first, 8_000, minute, 4) for first in firsts]
        longest = [max(texts(first, 8_000), key=len) for first in firsts]  # what each pays for first
        deadline = time.monotonic() + 60
        while not all(is_kept(ledger, text) for text in longest) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1.2 * minute)  # what one of them took at once, before the limit was known, is past
        before, begun = [kept_tokens(ledger, first=first) for first in firsts], len(fake.stats()["windows"])
        time.sleep(3.5 * minute)
        ended = [process.poll() for process in both]
        for process in both:
            process.kill()
        said = [process.communicate() for process in both]
        stats = fake.stats()
    assert ended == [None, None], said
    shares = np.array([kept_tokens(ledger, first=first) for first in firsts], dtype=float) - before
    ledger.close()
    print("SHARES", shares, stats["windows"], stats["refused"])
    assert (shares / shares.sum()).min() >= 0.35
    whole = stats["windows"][begun : begun + 2]
    assert sum(window["tokens"] for window in whole) >= 0.9 * 60_000 * 2
    assert stats["refused"] <= max(0.01 * stats["requests"], 3)


def test_two_processes_that_need_the_same_texts_pay_once(tmp_path: Path) -> None:
    with AzureOpenAI(latency_ms=100) as fake:
        both = [worker(fake, tmp_path, 0, 3_000, 60, 4) for _ in range(2)]
        outputs = [process.communicate(timeout=60) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert (fake.stats()["texts"], fake.stats()["duplicates"]) == (3_000, 0)
    assert sum(int(out.split()[3]) for out, _ in outputs) == 3_000


def test_a_request_above_the_quota_is_made_smaller(tmp_path: Path) -> None:
    with AzureOpenAI(limits=Limits(tpm=8_000, rpm=6_000, minute=2)) as fake:
        done = worker(fake, tmp_path, 0, 400, 2, 4)  # some 22,000 tokens, in one request as long as no limit is known
        out, err = done.communicate(timeout=60)
        assert out.split()[1:3] == ["400", "0"], err
        assert fake.stats()["duplicates"] == 0
