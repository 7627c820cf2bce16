"""`analect vector`: what a model makes of texts, to try it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.options import options_of
from analect.cli.output import one_line, write_json, write_line, write_table

if TYPE_CHECKING:
    from analect.types import Matrix

_SHOWN = 4  # components of a vector that people are shown
_LABEL = 40  # characters of a text that people are shown


def vector(
    ctx: typer.Context,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Texts to embed.")],
    *,
    query: Annotated[bool, typer.Option("--query", help="Embed as queries, for models with prefixes.")] = False,
) -> None:
    """Print the vector of each text and, for two or more, the cosine of each pair."""
    from analect.embedding import embed_all  # noqa: PLC0415  # numpy: when the command runs
    from analect.registry import build_part  # noqa: PLC0415

    options = options_of(ctx)
    embedder = build_part("embedder", options.settings().embedder)
    vectors = embed_all(embedder, texts, kind="query" if query else "document")
    cosines = (vectors @ vectors.T).round(6)
    if options.json:
        table = {"cosines": cosines.tolist()} if len(texts) > 1 else {}
        write_json({"embedder": embedder.id, "dim": embedder.dim, "vectors": vectors.tolist(), **table})
    else:
        _print(texts, vectors=vectors, cosines=cosines)


def _print(texts: list[str], *, vectors: Matrix, cosines: Matrix) -> None:
    labels = [one_line(text)[:_LABEL] for text in texts]
    for label, row in zip(labels, vectors, strict=True):
        write_line(f"{label}: {', '.join(f'{value:.4f}' for value in row[:_SHOWN])}, ... ({len(row)} components)")
    if len(texts) > 1:
        write_line("")
        numbers = [str(number) for number in range(1, len(texts) + 1)]
        rows = [
            (number, *(f"{value:.4f}" for value in row), label)
            for number, row, label in zip(numbers, cosines, labels, strict=True)
        ]
        write_table([("", *numbers, ""), *rows])
