"""`analect ledger`: what was paid for, whether it is sound, and what may go."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import Command, options_of
from analect.cli.output import one_line, write_json, write_line, write_table

if TYPE_CHECKING:
    from analect.ledger import Ledger

_DAY = 86_400.0


def ledger_commands() -> typer.Typer:
    """Return the commands below `analect ledger`."""
    app = typer.Typer(help="Look after the ledger of vectors: stats, verify, prune.", no_args_is_help=True)
    for function in (stats, verify, prune):
        app.command(function.__name__, cls=Command)(function)
    return app


@contextmanager
def _ledger(ctx: typer.Context) -> Iterator[Ledger]:
    from analect.errors import NotFoundError  # noqa: PLC0415  # numpy comes with it: when a command runs
    from analect.ledger import Ledger  # noqa: PLC0415

    path = options_of(ctx).settings().ledger
    if not path.exists():
        raise NotFoundError(f"there is no ledger at {path}: 'analect add PATH' makes one")
    ledger = Ledger(path=path)
    try:
        yield ledger
    finally:
        ledger.close()


def stats(ctx: typer.Context) -> None:
    """Show what is kept, by embedder: vectors, the tokens paid for them, size, and when they were made."""
    with _ledger(ctx) as ledger:
        found, (_, size) = ledger.stats(), ledger.count()
    if options_of(ctx).json:
        write_json({"spaces": [dataclasses.asdict(each) for each in found], "bytes": size})
        return
    head = ("embedder", "kind", "vectors", "dimensions", "tokens", "MB", "last")
    rows = [
        (
            each.embedder_id,
            each.kind,
            f"{each.vectors:,}",
            str(each.dim),
            f"{each.tokens:,}",
            f"{each.bytes / 1e6:.1f}",
            time.strftime("%Y-%m-%d", time.localtime(each.last)) if each.last else "unknown",
        )
        for each in found
    ]
    write_table([head, *rows])


def verify(ctx: typer.Context) -> None:
    """Check the file and every vector in it. Exits with 1 when something is wrong."""
    with _ledger(ctx) as ledger:
        wrong, (vectors, _) = ledger.verify(), ledger.count()
    if options_of(ctx).json:
        write_json({"vectors": vectors, "wrong": wrong})
    else:
        for line in wrong:
            write_line(one_line(line))
        write_line(f"{vectors:,} vectors: " + (f"{len(wrong):,} problems" if wrong else "all is well"))
    if wrong:
        raise typer.Exit(1)


def prune(
    ctx: typer.Context,
    *,
    embedder: Annotated[
        str | None, typer.Option(metavar="ID", help="Vectors of this embedder, as stats names it.")
    ] = None,
    older_than: Annotated[float | None, typer.Option(metavar="DAYS", help="Vectors made before then.", min=0)] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Vectors that verify finds wrong.")] = False,
) -> None:
    """Remove vectors for good, and give their space back; what is removed is paid for again when it is needed."""
    from analect.errors import InputError  # noqa: PLC0415

    if embedder is None and older_than is None and not damaged:
        raise InputError("say what may go: --embedder ID, --older-than DAYS or --damaged")
    before = None if older_than is None else time.time() - older_than * _DAY
    with _ledger(ctx) as ledger:
        removed = ledger.prune(embedder_id=embedder, before=before, damaged=damaged)
    if options_of(ctx).json:
        write_json({"removed": removed})
    else:
        write_line(f"{removed:,} removed")
