"""`analect add`: take in paths, folders, globs and URLs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import open_corpus, options_of
from analect.cli.output import one_line, write_json, write_line
from analect.cli.progress import AddProgressBar
from analect.fields import report_fields

if TYPE_CHECKING:
    from analect.types import AddReport


def add(
    ctx: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="PATH_OR_URL", help="Files, folders, globs or http(s) URLs.")],
    *,
    text: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="What a record's text is, such as 'Title: {Summary}; {Text}'."),
    ] = None,
    id_field: Annotated[str | None, typer.Option("--id", metavar="FIELD", help="The field with a record's id.")] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of the source (default: the path).")
    ] = None,
) -> None:
    """Add documents, replace those that changed, remove those that vanished; unchanged ones cost nothing.

    Exits with 1 when some documents failed and the others were taken in.
    """
    with open_corpus(ctx, create=True) as corpus, AddProgressBar() as progress:
        report = corpus.add(*what, text=text, id=id_field, source=source, on_progress=progress)
        counters = corpus.counters()
    if options_of(ctx).json:
        write_json({**report_fields(report), "counters": counters})
    else:
        _print(report)
    if report.failed:
        raise typer.Exit(1)


def _print(report: AddReport) -> None:
    done = ("added", "replaced", "deleted", "unchanged")
    counts = ", ".join(f"{getattr(report, name):,} {name}" for name in done)
    write_line(f"{report.documents:,} documents: {counts}, {len(report.failed):,} failed")
    if report.chunks:
        write_line(f"{report.chunks:,} chunks: {report.embedded:,} embedded, {report.reused:,} from the ledger")
    sys.stdout.flush()  # before stderr, where both go to one terminal
    for failure in report.failed:
        sys.stderr.write(f"failed: {one_line(failure.uri)}: {one_line(failure.error)}\n")
