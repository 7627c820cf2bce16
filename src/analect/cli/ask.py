"""`analect ask`: an answer whose every citation can be looked up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import K, Where, open_corpus, options_of
from analect.cli.output import heading_of, one_line, terminal, without_controls, write_json
from analect.fields import answer_fields

if TYPE_CHECKING:
    from rich.console import Console

    from analect.types import Answer


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to answer from the corpus.")],
    *,
    k: K = 10,
    where: Where = None,
) -> None:
    """Answer a question from the corpus, with [n] bound to document, heading and place; or say that it cannot."""
    with open_corpus(ctx) as corpus:
        if options_of(ctx).json:
            write_json(answer_fields(corpus.ask(question, k=k, where=where or ())))
        else:
            _print(corpus.stream(question, k=k, where=where or ()))


_ENDS = {
    "length": "the answer was cut: it reached max_tokens",
    "content_filter": "the answer was cut by the service's content filter",
}


def _print(pieces: Iterator[str | Answer]) -> None:
    console = terminal()
    answer: Answer | None = None
    for piece in pieces:
        if isinstance(piece, str):
            console.print(without_controls(piece), end="")
            sys.stdout.flush()
        else:
            answer = piece
    console.print()
    if answer is not None:
        _print_grounds(console, answer)


def _print_grounds(console: Console, answer: Answer) -> None:
    if answer.finish in _ENDS:
        console.print(f"({_ENDS[answer.finish]})")
    if answer.uncited:
        console.print(f"({answer.uncited} of its sentences cite nothing)")
    if answer.citations:
        console.print()
    for citation in answer.citations:
        page = f", page {citation.chunk.page}" if citation.chunk.page is not None else ""
        doubt = "" if citation.verdict == "found" else f"; the quote is {citation.verdict}"
        console.print(f"[{citation.marker}] ", end="")
        console.print(heading_of(citation.chunk), style="bold", end="")
        console.print(f"{page}{doubt}")
        place = f"{one_line(citation.chunk.uri)}, characters {citation.start}-{citation.end}"
        console.print(f"    {place}", style="dim")
