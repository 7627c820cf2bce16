"""`analect search`: the best hits for a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import K, ModeName, Where, open_corpus, options_of
from analect.cli.output import heading_of, place_of, snippet, terminal, write_json, write_line
from analect.fields import hit_fields

if TYPE_CHECKING:
    from analect.types import Hit

_INDENT = "    "


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    *,
    k: K = 10,
    where: Where = None,
    mode: Annotated[
        ModeName | None,
        typer.Option(help="By meaning, by words, or both (default: the settings', hybrid).", show_default=False),
    ] = None,
) -> None:
    """Find the chunks that fit a query best."""
    options = options_of(ctx)
    with open_corpus(ctx) as corpus:
        hits = corpus.search(query, k=k, where=where or (), mode=mode)
        counters = corpus.counters()
    if options.json:
        used = mode or options.settings().retriever.use
        write_json({"query": query, "mode": used, "hits": [hit_fields(hit) for hit in hits], "counters": counters})
    else:
        _print(hits, query=query)


def _print(hits: Sequence[Hit], *, query: str) -> None:
    if not hits:
        write_line("no hits")
    console = terminal()
    for rank, hit in enumerate(hits, start=1):
        if rank > 1:
            console.print()
        console.print(f"{rank:2}  {hit.score:.4f}  ", end="")
        console.print(heading_of(hit.chunk), style="bold")
        console.print(f"{_INDENT}{place_of(hit.chunk)}", style="dim")
        console.print(_INDENT, end="")
        console.print(snippet(hit.chunk.text, query=query, width=console.width - len(_INDENT)))
