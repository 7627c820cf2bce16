"""`analect estimate`: what an add would take, before anything is sent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import options_of
from analect.cli.output import write_json, write_table

if TYPE_CHECKING:
    from analect.estimating import Estimate


def estimate(
    ctx: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="PATH", help="Files, folders, globs or http(s) URLs.")],
    *,
    text: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="What a record's text is, as for add.")] = None,
    id_field: Annotated[str | None, typer.Option("--id", metavar="FIELD", help="The field with a record's id.")] = None,
    price: Annotated[float | None, typer.Option(metavar="MONEY", help="What a million tokens cost.", min=0)] = None,
) -> None:
    """Say how many tokens, requests, minutes and what money an add would take; nothing is sent or stored."""
    from analect.estimating import estimate as estimated  # noqa: PLC0415  # loads the embedder: when the command runs

    found = estimated(*what, settings=options_of(ctx).settings(), text=text, id=id_field, price=price)
    if options_of(ctx).json:
        write_json(dataclasses.asdict(found))
    else:
        _print(found)


def _print(found: Estimate) -> None:
    limits = [f"{value:,.0f} {name}" for value, name in ((found.tpm, "tokens"), (found.rpm, "requests")) if value]
    quota = f"at {' and '.join(limits)} a minute" if limits else "no limit is known"
    minutes = "" if found.minutes is None else f"{found.minutes:,.1f}, "
    write_table(
        [
            ("documents", f"{found.documents:,}" + (f", {found.failed:,} cannot be read" if found.failed else "")),
            ("chunks", f"{found.chunks:,}"),
            ("in the ledger", f"{found.kept:,}"),
            ("to embed", f"{found.texts:,} texts, {found.tokens:,} tokens"),
            ("requests", f"{found.requests:,}"),
            ("minutes", f"{minutes}{quota}"),
            ("cost", "give a --price for a million tokens" if found.cost is None else f"{found.cost:,.4f}"),
        ]
    )
