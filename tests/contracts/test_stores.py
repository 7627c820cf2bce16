"""Every store keeps the contract; what only one of them promises stands below."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analect.errors import ForeignFileError, NewerSchemaError, RevisionExpired, StoreError
from analect.protocols import Store
from analect.stores import sqlite as sqlite_store
from analect.stores.memory import MemoryStore
from analect.stores.sqlite import SqliteStore
from contracts.store import DIM, SPACE, StoreContract, entry, follow


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        yield MemoryStore()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(path=tmp_path / "corpus.db")
        yield store
        store.close()


def open_store(path: Path) -> SqliteStore:
    store = SqliteStore(path=path)
    store.prepare(embedder_id=SPACE, dim=DIM)
    return store


def test_a_file_opened_again_has_everything(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db")
    store.put([entry("a", "apple", "pear")])
    revision = store.revision()
    store.close()
    again = open_store(tmp_path / "c.db")
    assert again.count() == (1, 2)
    assert again.revision() == revision
    assert len(again.search_text("pear", k=5)) == 1
    again.close()


def test_another_process_sees_what_was_put(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db")
    store.put([entry("a", "apple")])
    code = (
        "import sys; from analect.stores.sqlite import SqliteStore; "
        "store = SqliteStore(path=sys.argv[1]); print(store.count()); store.delete(['a']); store.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.db")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "(1, 1)"
    assert store.count() == (0, 0)
    store.close()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, longer than the hundred bytes of a header " * 20)
    before = path.read_bytes()
    with pytest.raises(ForeignFileError, match=r"notes\.txt is not an SQLite file"):
        SqliteStore(path=path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    with pytest.raises(ForeignFileError, match="not an analect corpus"):
        SqliteStore(path=path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    db.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    open_store(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NewerSchemaError, match="schema 99"):
        SqliteStore(path=path)


def test_a_damaged_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    store = open_store(path)
    store.put([entry(f"d{n}", "word " * 200) for n in range(50)])
    store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)
    with pytest.raises(StoreError, match=r"c\.db"):
        broken = SqliteStore(path=path)
        try:
            follow(broken, {}, None)
        finally:
            broken.close()


def test_a_full_disk_writes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "c.db")
    store.put([entry("a", "small")])
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")  # SQLite's own way to a real SQLITE_FULL
    with pytest.raises(StoreError, match="the disk is full"):
        store.put([entry(f"big{n}", "word " * 5000) for n in range(20)])
    assert store.count() == (1, 1)
    store._writer.execute("PRAGMA max_page_count = 100000")
    store.put([entry("b", "fits again")])
    assert store.count() == (2, 2)
    store.close()


def test_a_crash_in_the_middle_leaves_the_old_documents(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    store = open_store(path)
    store.put([entry("a", "old")])
    store.close()
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[2])\n"
        "from contracts.store import entry\n"
        "from analect.stores import sqlite\n"
        "store = sqlite.SqliteStore(path=sys.argv[1])\n"
        "real = sqlite._insert\n"
        "def insert(db, one, number):\n"
        "    real(db, one, number)\n"
        "    os.kill(os.getpid(), 9)\n"
        "sqlite._insert = insert\n"
        "store.put([entry('a', 'new', seed=1), entry('b', 'new')])\n"
    )
    tests = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(path), str(tests)], capture_output=True, timeout=60)
    assert done.returncode == -9, done.stderr.decode()
    again = open_store(path)
    assert again.read_document("a").text == "old"
    assert again.count() == (1, 1)
    assert [hit.chunk.text for hit in again.search_text("old new", k=5)] == ["old"]
    again.close()


def test_removals_are_forgotten_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_REMEMBERED", 3)
    monkeypatch.setattr(sqlite_store, "_PRUNE_EVERY", 1)
    store = open_store(tmp_path / "c.db")
    store.put([entry("a", "x0")])
    old = store.revision()
    for number in range(1, 8):
        store.put([entry("a", f"x{number}", seed=number)])
    with pytest.raises(RevisionExpired):
        list(store.changes(since=old))
    state: dict[str, bytes] = {}
    follow(store, state, None)
    assert len(state) == 1
    store.close()


def test_a_closed_corpus_on_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    store = open_store(folder / "c.db")
    store.put([entry("a", "apple")])
    store.close()
    (folder / "c.db").chmod(0o444)
    folder.chmod(0o555)
    code = (
        "import sys\n"
        "from analect.errors import StoreError\n"
        "from analect.stores.sqlite import SqliteStore\n"
        "store = SqliteStore(path=sys.argv[1])\n"
        "print(store.count(), len(store.search_text('apple', k=1)))\n"
        "try:\n    store.delete(['a'])\nexcept StoreError as error:\n    print(error)\n"
        "store.close()\n"
    )
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-c", code, str(folder / "c.db")], capture_output=True, text=True
    )
    folder.chmod(0o755)
    assert done.stdout.splitlines()[0] == "(1, 1) 1", done.stderr
    assert "read-only" in done.stdout.splitlines()[1]


def unprivileged() -> list[str]:
    """Return what runs a command without root's right to ignore file modes."""
    import os

    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
