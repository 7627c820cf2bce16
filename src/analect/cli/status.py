"""`analect status`: what the corpus holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from analect.cli.options import open_corpus, options_of
from analect.cli.output import write_json, write_table
from analect.fields import status_fields

if TYPE_CHECKING:
    from analect.types import Status


def status(ctx: typer.Context) -> None:
    """Show what the corpus holds, by which embedder, and what the ledger keeps."""
    with open_corpus(ctx) as corpus:
        found = corpus.status()
    if options_of(ctx).json:
        write_json(status_fields(found))
    else:
        _print(found)


def _print(found: Status) -> None:
    write_table(
        [
            ("documents", f"{found.documents:,}"),
            ("chunks", f"{found.chunks:,}"),
            ("embedder", found.embedder),
            *((f"  {name}", str(value)) for name, value in found.counters.get("embedder", {}).items() if value),
            ("store", found.store),
            ("revision", found.revision),
            ("ledger", f"{found.ledger_vectors:,} vectors, {found.ledger_bytes / 1e6:.1f} MB"),
            *(("source", f"{name}: {number:,} documents") for name, number in found.sources.items()),
        ]
    )
