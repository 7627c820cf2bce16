"""`analect delete`: remove documents."""

from __future__ import annotations

from typing import Annotated

import typer

from analect.cli.options import open_corpus, options_of
from analect.cli.output import write_json, write_line


def delete(
    ctx: typer.Context, ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of documents.")]
) -> None:
    """Delete documents by id: all of them, or none when one is not there."""
    with open_corpus(ctx) as corpus:
        deleted = corpus.delete(*ids)
    if options_of(ctx).json:
        write_json({"deleted": deleted})
    else:
        write_line(f"{deleted:,} deleted")
