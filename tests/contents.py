"""What a corpus file holds, to compare two of them."""

from __future__ import annotations

from pathlib import Path

from analect.stores.sqlite import SqliteStore


def contents(path: Path) -> dict[str, tuple[str, str, bytes]]:
    """Return document, text and vector of every chunk."""
    store = SqliteStore(path=path)
    try:
        return {
            chunk.id: (chunk.document_id, chunk.text, row.tobytes())
            for change in store.changes()
            for chunk, row in zip(change.chunks, change.vectors, strict=True)
        }
    finally:
        store.close()
