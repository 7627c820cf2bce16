"""`analect embed`: a table with the vector of each row beside it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from analect.cli.options import options_of
from analect.cli.output import write_json, write_line
from analect.cli.progress import AddProgressBar


def embed(
    ctx: typer.Context,
    table: Annotated[Path, typer.Argument(metavar="IN", help="A table: CSV, TSV, JSON, JSONL or Parquet.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="What to write: CSV, TSV, JSONL or Parquet.")],
    *,
    text: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="What is embedded of a row, such as 'Title: {Summary}; {Text}'.")
    ],
) -> None:
    """Write a table again with the columns `embedding` and `error` added.

    May be killed and run again: what was embedded is kept. Exits with 1 when some rows have an error and no vector.
    """
    from analect.embedding_tables import embed_table  # noqa: PLC0415  # numpy: when the command runs

    options = options_of(ctx)
    with AddProgressBar(unit="rows") as progress:
        report = embed_table(table, out, text=text, settings=options.settings(), on_progress=progress)
    if options.json:
        write_json({**dataclasses.asdict(report), "out": str(out)})
    else:
        write_line(f"{report.rows:,} rows: {report.embedded:,} embedded, {report.reused:,} from the ledger")
        if report.cut:
            write_line(f"{report.cut:,} texts were cut to the model's limit")
    if report.failed:
        sys.stdout.flush()
        sys.stderr.write(f"failed: {report.failed:,} rows, see the column 'error' of {out}\n")
        raise typer.Exit(1)
