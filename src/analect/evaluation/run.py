"""One evaluation: a judged collection is taken into a corpus of its own, searched, and measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from analect.config import PartSettings, Settings
from analect.corpus import Corpus
from analect.errors import AnalectError, InputError
from analect.evaluation.metrics import Interval, bootstrap, mrr_at, ndcg_at, recall_at
from analect.evaluation.qrels import Judgments, Qrels, read_corpus, read_qrels, read_queries
from analect.types import Document, Mode

_CUT = 10  # where nDCG and MRR are taken
_FIRST = 100  # chunks asked for first. The hybrid retriever fuses as many in any search, so this is what users see.


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well one mode ranks the documents of a judged collection.

    `queries` counts those with a relevant document; only they are measured. `failed` counts documents that could not be
    taken in (an empty text, say): judged or not, they cannot be found. `metrics` maps "ndcg@10", "recall@100" and
    "mrr@10" to their means; `per_query` maps the same names to query id → value, for `paired_difference`.
    """

    mode: Mode
    queries: int
    documents: int
    failed: int
    metrics: Mapping[str, Interval]
    per_query: Mapping[str, Mapping[str, float]]


def evaluate(
    corpus: str | os.PathLike[str],
    queries: str | os.PathLike[str],
    qrels: str | os.PathLike[str],
    *,
    mode: Mode = "hybrid",
    k: int = 100,
    settings: Settings,
) -> Evaluation:
    """Return how well that mode ranks the documents of `corpus` for the judged `queries`.

    The files are in the BEIR layout (see `analect.evaluation.qrels`). Embedder, chunker and ledger are those of the
    settings, the store is in memory. `k` documents are ranked for each query, each by its best chunk, and recall is
    taken at k. Raises `InputError` for a file that cannot be used, a k below 10, or a query that cannot
    be searched for.
    """
    if k < _CUT:
        raise InputError(f"k is {k}: ndcg@{_CUT} and mrr@{_CUT} need at least {_CUT} ranked documents")
    documents = read_corpus(corpus)
    judged = _with_relevant(read_qrels(qrels), path=qrels)
    texts = _asked(read_queries(queries), judged, path=queries)
    _check_judged(documents, judged, path=qrels)
    with Corpus.open(settings=replace(settings, store=PartSettings("memory"))) as opened:
        failed = _take_in(opened, documents, path=corpus)
        rankings = {name: _rank(opened, name, text=text, mode=mode, k=k) for name, text in texts.items()}
    per_query = {
        metric: {name: measure(ranking, judged[name]) for name, ranking in rankings.items()}
        for metric, measure in _measures(k).items()
    }
    return Evaluation(
        mode=mode,
        queries=len(rankings),
        documents=len(documents),
        failed=failed,
        metrics={metric: bootstrap(values.values()) for metric, values in per_query.items()},
        per_query=per_query,
    )


def _measures(k: int) -> dict[str, Callable[[Sequence[str], Judgments], float]]:
    return {
        f"ndcg@{_CUT}": partial(ndcg_at, k=_CUT),
        f"recall@{k}": partial(recall_at, k=k),
        f"mrr@{_CUT}": partial(mrr_at, k=_CUT),
    }


def _with_relevant(qrels: Qrels, *, path: str | os.PathLike[str]) -> Qrels:
    judged = {name: judgments for name, judgments in qrels.items() if max(judgments.values()) > 0}
    if not judged:
        raise InputError(f"{os.fspath(path)} names no relevant document: every grade is 0 or less")
    return judged


def _asked(queries: Mapping[str, str], judged: Qrels, *, path: str | os.PathLike[str]) -> dict[str, str]:
    missing = next((name for name in judged if name not in queries), None)
    if missing is not None:
        raise InputError(f"{os.fspath(path)} lacks the query {missing!r}, which has judgments")
    return {name: queries[name] for name in sorted(judged)}


def _check_judged(documents: list[Document], judged: Qrels, *, path: str | os.PathLike[str]) -> None:
    there = {document.id for document in documents}
    if not any(there.intersection(judgments) for judgments in judged.values()):
        raise InputError(f"{os.fspath(path)} judges no document of the corpus: do the files belong together?")


def _take_in(opened: Corpus, documents: list[Document], *, path: str | os.PathLike[str]) -> int:
    """Add the documents and return how many could not be taken in."""
    failed = opened.add(_Records(documents, name=os.fspath(path))).failed
    if len(failed) == len(documents):
        raise InputError(f"no document of {os.fspath(path)} could be taken in: {failed[0].error}")
    return len(failed)


def _rank(opened: Corpus, name: str, *, text: str, mode: Mode, k: int) -> list[str]:
    """Return the ids of at most k documents, by their best chunk.

    Asks for more chunks until there are k documents. What an earlier search found keeps its place: a hybrid search for
    more chunks fuses deeper, and what counts is the order that is shown first.
    """
    found: dict[str, None] = {}
    asked = min(k, _FIRST)
    while True:
        try:
            hits = opened.search(text, k=asked, mode=mode)
        except AnalectError as error:
            raise InputError(f"the query {name!r} cannot be searched for: {error}") from error
        found.update(dict.fromkeys(hit.chunk.document_id for hit in hits))
        if len(found) >= k or len(hits) < asked:
            return list(found)[:k]
        asked *= 2


class _Records:
    """The documents of a judged collection, as a source."""

    def __init__(self, documents: list[Document], *, name: str) -> None:
        self.name = name
        self.roots: tuple[str, ...] = (name,)
        self._documents = documents

    def total(self) -> int:
        return len(self._documents)

    def read(self) -> Iterator[Document]:
        yield from self._documents
