"""`analect eval`: how good retrieval is on documents, queries and judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.options import K, ModeName, options_of
from analect.cli.output import complain, write_json, write_line, write_table
from analect.cli.progress import Working

if TYPE_CHECKING:
    from analect.evaluation.run import Evaluation


def evaluate(
    ctx: typer.Context,
    *,
    documents: Annotated[str, typer.Argument(metavar="CORPUS.jsonl", help="Documents: _id, title, text.")],
    queries: Annotated[str, typer.Argument(metavar="QUERIES.jsonl", help="Queries: _id, text.")],
    qrels: Annotated[str, typer.Argument(metavar="QRELS.tsv", help="Judgments: query id, document id, grade.")],
    mode: Annotated[ModeName, typer.Option(help="By meaning, by words, or both.")] = "hybrid",
    k: K = 100,
) -> None:
    """Measure retrieval against judgments: nDCG@10, recall@100 and MRR@10, each with a bootstrap interval."""
    from analect.evaluation.run import evaluate as run  # noqa: PLC0415  # when the command runs, not for --help

    options = options_of(ctx)
    with Working("evaluating"):
        found = run(documents, queries, qrels, mode=mode, k=k, settings=options.settings())
    if options.json:
        write_json(_fields(found))
    else:
        _print(found)
    if found.failed:  # they cannot be found, which lowers what was measured
        complain(f"{found.failed:,} of {found.documents:,} documents could not be taken in")


def _fields(found: Evaluation) -> dict[str, Any]:
    metrics = {
        name: {"mean": interval.mean, "low": interval.low, "high": interval.high}
        for name, interval in found.metrics.items()
    }
    return {"mode": found.mode, "queries": found.queries, **metrics}


def _print(found: Evaluation) -> None:
    write_line(f"{found.mode}, {found.queries:,} queries")
    rows = [
        (name, f"{interval.mean:.4f}", f"{interval.low:.4f} to {interval.high:.4f}")
        for name, interval in found.metrics.items()
    ]
    write_table([("metric", "mean", "95 % interval"), *rows])
