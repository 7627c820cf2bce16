"""The lexical index: BM25 in memory, for stores that cannot rank words themselves."""

from __future__ import annotations

import sqlite3
import threading

from analect.errors import InputError, RevisionExpired
from analect.filters import matches
from analect.fts import TOKENIZER, match_expression
from analect.protocols import Store
from analect.types import Chunk, Filter, Hit, Revision


class LexicalIndex:
    """Ranks the chunks of a store by words. Follows the store by `changes`; several threads may search at once."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._revision: Revision | None = None
        self._chunks: dict[str, tuple[int, Chunk]] = {}
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._clear()

    def _clear(self) -> None:
        self._revision, self._chunks = None, {}
        self._db.execute("DROP TABLE IF EXISTS words")
        self._db.execute(
            f"CREATE VIRTUAL TABLE words USING fts5 (title, headings, text, id UNINDEXED, tokenize='{TOKENIZER}')"
        )

    def refresh(self) -> None:
        """Take in what changed in the store."""
        with self._lock:
            if self._revision == self._store.revision():
                return
            try:
                self._follow()
            except RevisionExpired:
                self._clear()
                self._follow()

    def _follow(self) -> None:
        revision = self._store.revision()
        for change in self._store.changes(since=self._revision):
            for chunk_id in change.removed_ids:
                if chunk_id in self._chunks:
                    self._db.execute("DELETE FROM words WHERE rowid = ?", (self._chunks.pop(chunk_id)[0],))
            for chunk in change.chunks:
                row = (chunk.title, " ".join(chunk.headings), chunk.text, chunk.id)
                cursor = self._db.execute("INSERT INTO words (title, headings, text, id) VALUES (?, ?, ?, ?)", row)
                self._chunks[chunk.id] = (cursor.lastrowid or 0, chunk)
            revision = change.revision
        self._revision = revision

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        """Return the k best hits by BM25, best first, ties by chunk id; filters act before the top k."""
        if k < 1:
            raise InputError(f"k is {k}: ask for at least 1 hit")
        self.refresh()
        expression = match_expression(query)
        if expression is None:
            return []
        hits: list[Hit] = []
        with self._lock:
            rows = self._db.execute(
                "SELECT -bm25(words), id FROM words WHERE words MATCH ? ORDER BY 1 DESC, id", (expression,)
            )
            for score, chunk_id in rows:
                chunk = self._chunks[chunk_id][1]
                if matches(where, chunk.metadata):
                    hits.append(Hit(chunk, score, {"lexical": score}))
                if len(hits) == k:
                    break
        return hits
