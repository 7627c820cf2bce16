"""The ledger: pay once, whoever asks and whatever happens in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from analect.embedders.hashing import HashingEmbedder
from analect.errors import LedgerError
from analect.ledger import BATCH, Ledger, LedgerEmbedder, Receipt, hash_of
from analect.types import Embeddings, Kind


class Counting(HashingEmbedder):
    """Remembers every text that it computes."""

    def __init__(self, *, pause: float = 0.0) -> None:
        super().__init__()
        self.computed: list[str] = []
        self.pause = pause

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        self.computed += texts
        time.sleep(self.pause)
        return super().embed(texts, kind=kind)


TEXTS = [f"text number {n}" for n in range(700)]


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    first = Counting()
    paid = LedgerEmbedder(first, ledger=ledger).embed([*TEXTS, TEXTS[0]], kind="document")
    assert sorted(first.computed) == sorted(TEXTS)
    assert paid.reused == 1
    ledger.close()
    again, ledger = Counting(), Ledger(path=tmp_path / "l.db")
    read = LedgerEmbedder(again, ledger=ledger).embed([*TEXTS, TEXTS[0]], kind="document")
    assert again.computed == []
    assert read.reused == 701
    assert read.vectors.tobytes() == paid.vectors.tobytes()
    assert read.tokens.tolist() == paid.tokens.tolist()
    assert ledger.count()[0] == 700
    assert ledger.count()[1] > 700 * 256 * 4
    ledger.close()


def test_kind_and_embedder_are_part_of_the_key(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    counting = Counting()
    wrapped = LedgerEmbedder(counting, ledger=ledger)
    wrapped.embed(["a"], kind="document")
    wrapped.embed(["a"], kind="query")
    other = Counting()
    other.id = "other/256"
    LedgerEmbedder(other, ledger=ledger).embed(["a"], kind="document")
    assert counting.computed == ["a", "a"]
    assert other.computed == ["a"]
    ledger.close()


def test_failures_are_reported_and_not_kept(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    wrapped = LedgerEmbedder(Counting(), ledger=ledger)
    for _ in range(2):
        found = wrapped.embed(["good", "", "word " * 300], kind="document")
        assert set(found.failures) == {1, 2}
        assert "302 tokens" in found.failures[2]
        assert found.tokens.tolist() == [3, 2, 302]
        assert np.isnan(found.vectors[1:]).all()
    assert ledger.count()[0] == 1
    ledger.close()


def test_threads_compute_a_text_once(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    counting = Counting(pause=0.05)
    results: list[bytes] = []

    def work() -> None:
        results.append(LedgerEmbedder(counting, ledger=ledger).embed(TEXTS, kind="document").vectors.tobytes())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counting.computed) == sorted(TEXTS)
    assert len(set(results)) == 1
    ledger.close()


WORKER = """
import hashlib, os, sys, time
from analect.embedders.hashing import HashingEmbedder
from analect.ledger import Ledger, LedgerEmbedder

class Counting(HashingEmbedder):
    def embed(self, texts, *, kind):
        with open(sys.argv[2], "ab", buffering=0) as log:
            log.write(b"".join(hashlib.sha256(text.encode()).hexdigest().encode() + b"\\n" for text in texts))
        time.sleep(0.05)
        return super().embed(texts, kind=kind)

ledger = Ledger(path=sys.argv[1])
found = LedgerEmbedder(Counting(), ledger=ledger).embed([f"text {n}" for n in range(2000)], kind="document")
print(len(found.vectors), found.reused)
"""


def worker(tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "l.db"), str(tmp_path / "log")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def computed(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_processes_compute_a_text_once(tmp_path: Path) -> None:
    both = [worker(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(computed(tmp_path)) == len(set(computed(tmp_path))) == 2000
    assert sum(int(out.split()[1]) for out, _ in outputs) == 2000


def test_a_killed_process_costs_its_batch_and_its_leases_end_with_it(tmp_path: Path) -> None:
    kills = 3
    for _ in range(kills):
        process = worker(tmp_path)
        before = len(computed(tmp_path)) if (tmp_path / "log").exists() else 0
        while not (tmp_path / "log").exists() or len(computed(tmp_path)) == before:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    start = time.monotonic()
    last = worker(tmp_path)
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert time.monotonic() - start < 60  # it did not wait for the leases of the dead
    assert len(set(computed(tmp_path))) == 2000
    assert len(computed(tmp_path)) - 2000 <= kills * BATCH


def test_a_lease_of_elsewhere_ends_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    monkeypatch.setattr("analect.ledger._LEASE_SECONDS", 0.3)
    monkeypatch.setattr(ledger, "_owner", "another-host/1/1")
    space = ledger.space("hashing/256", kind="document")
    import hashlib

    hashes = [hashlib.sha256(b"a").digest()]
    assert ledger.claim(space, hashes) == ({}, hashes)
    assert ledger.claim(space, hashes) == ({}, [])
    counting = Counting()
    found = LedgerEmbedder(counting, ledger=ledger).embed(["a"], kind="document")
    assert counting.computed == ["a"]
    assert np.isfinite(found.vectors).all()
    ledger.close()


def test_a_failing_embedder_gives_its_leases_back(tmp_path: Path) -> None:
    class Broken(HashingEmbedder):
        def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
            raise RuntimeError("the model fell over")

    ledger = Ledger(path=tmp_path / "l.db")
    with pytest.raises(RuntimeError):
        LedgerEmbedder(Broken(), ledger=ledger).embed(["a"], kind="document")
    counting = Counting()
    LedgerEmbedder(counting, ledger=ledger).embed(["a"], kind="document")
    assert counting.computed == ["a"]
    ledger.close()


def test_a_cut_text_is_not_kept_as_the_whole(tmp_path: Path) -> None:
    class Cutting(HashingEmbedder):
        def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
            found = super().embed([text[:5] for text in texts], kind=kind)
            return Embeddings(found.vectors, found.tokens, np.ones(len(texts), dtype=np.bool_))

    ledger = Ledger(path=tmp_path / "l.db")
    assert LedgerEmbedder(Cutting(), ledger=ledger).embed(["a long text"], kind="document").cut.all()
    assert ledger.count()[0] == 0
    counting = Counting()
    assert not LedgerEmbedder(counting, ledger=ledger).embed(["a long text"], kind="document").cut.any()
    assert counting.computed == ["a long text"]
    ledger.close()


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_text("no database at all, and long enough to be looked at " * 30)
    with pytest.raises(LedgerError, match=r"l\.db: it is not an SQLite file"):
        Ledger(path=tmp_path / "l.db")


def test_a_full_disk_is_named_and_keeps_what_was_there(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "l.db")
    wrapped = LedgerEmbedder(Counting(), ledger=ledger)
    wrapped.embed(["a"], kind="document")
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(LedgerError, match="full"):
        wrapped.embed(TEXTS, kind="document")
    ledger.close()
    db = sqlite3.connect(tmp_path / "l.db")
    assert db.execute("SELECT count(*) FROM vectors").fetchone() == (1,)
    db.close()


def test_a_ledger_of_before_receipts_is_read_and_gets_them(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "l.db")
    with db:
        db.execute(
            "CREATE TABLE vectors (space INTEGER NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL, "
            "tokens INTEGER NOT NULL, PRIMARY KEY (space, hash)) WITHOUT ROWID"
        )
        row = (1, hash_of("old"), np.eye(1, 256, dtype="<f4").tobytes(), 3)
        db.execute("INSERT INTO vectors VALUES (?, ?, ?, ?)", row)
    db.close()
    ledger = Ledger(path=tmp_path / "l.db")
    wrapped = LedgerEmbedder(HashingEmbedder(), ledger=ledger)
    before = time.time()
    assert wrapped.embed(["old", "new"], kind="document").reused == 1
    old, new = (ledger.receipt(text, embedder_id=wrapped.id, kind="document") for text in ("old", "new"))
    assert old == Receipt("hashing/256", "document", 256, 3, None, None)
    assert new
    assert (new.tokens, new.max_tokens, new.dim) == (3, 256, 256)
    assert before - 1 < (new.created or 0) <= time.time()
    assert ledger.receipt("other", embedder_id=wrapped.id, kind="document") is None
    assert [stats.vectors for stats in ledger.stats()] == [2]
    assert ledger.prune(before=before - 3600) == 0
    assert ledger.prune() == 0
    ledger.close()
