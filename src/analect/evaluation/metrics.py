"""Measures of one ranking against its judgments, and what their mean over queries is worth.

A ranking is document ids, best first, each once. Judgments map a document id to its grade; a grade of 0 or less, like
no judgment at all, means not relevant. Every measure is in [0, 1], and 0 when nothing is relevant, as in trec_eval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analect.errors import InputError

RESAMPLES = 1000
_TAILS = (2.5, 97.5)  # percent: what lies between them is 95 %


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries, and the 95 % interval of it."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ndcg_at(ranking: Sequence[str], judgments: Mapping[str, int], *, k: int) -> float:
    """Return the normalised discounted cumulative gain of the first k.

    nDCG@k = DCG@k / ideal DCG@k, DCG@k = Σ_{i=1..k} gain_i / log2(i + 1), gain = grade (0 below 0). The ideal ranks all
    judged documents by grade. Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with the
    discount log2(i + 1) from the first rank on, as trec_eval and BEIR compute it.

    >>> round(ndcg_at(["a", "x", "b"], {"a": 1, "b": 2}, k=10), 4)  # (1/1 + 2/2) / (2/1 + 1/log2(3))
    0.7602
    """
    ideal = sorted((grade for grade in judgments.values() if grade > 0), reverse=True)
    if not ideal:
        return 0.0
    return _dcg([judgments.get(each, 0) for each in _top(ranking, k=k)]) / _dcg(ideal[:k])


def recall_at(ranking: Sequence[str], judgments: Mapping[str, int], *, k: int) -> float:
    """Return the share of the relevant documents that are among the first k.

    recall@k = |relevant ∩ first k| / |relevant|

    >>> recall_at(["a", "x", "b"], {"a": 1, "b": 1, "c": 2, "x": 0}, k=2)  # a of a, b, c
    0.3333333333333333
    """
    relevant = {each for each, grade in judgments.items() if grade > 0}
    return len(relevant.intersection(_top(ranking, k=k))) / len(relevant) if relevant else 0.0


def mrr_at(ranking: Sequence[str], judgments: Mapping[str, int], *, k: int) -> float:
    """Return the reciprocal rank of the first relevant document, 0 when none is among the first k.

    RR@k = 1 / rank; MRR@k is its mean over queries (Voorhees 1999, "The TREC-8 question answering track report").

    >>> mrr_at(["x", "a", "b"], {"a": 1, "b": 1}, k=10)
    0.5
    """
    ranks = (rank for rank, each in enumerate(_top(ranking, k=k), start=1) if judgments.get(each, 0) > 0)
    return 1 / next(ranks, math.inf)


def bootstrap(values: Collection[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of one value a query, and its 95 % percentile bootstrap interval over queries.

    Queries are drawn with replacement, as many as there are, `resamples` times; `low` and `high` are the 2.5th and
    97.5th percentile of the means (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13). Equal
    seeds give equal intervals. Raises `InputError` without values.

    >>> bootstrap([0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    Interval(mean=0.625, low=0.25, high=0.875)
    """
    if not values:
        raise InputError("there are no queries to take a mean of")
    if resamples < 1:
        raise InputError(f"resamples is {resamples}: it must be at least 1")
    sample = np.fromiter(values, dtype=np.float64, count=len(values))
    draw = np.random.default_rng(seed)
    means = [sample[draw.integers(len(sample), size=len(sample))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, _TAILS)
    return Interval(float(sample.mean()), float(low), float(high))


def paired_difference(
    run: Mapping[str, float], other: Mapping[str, float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of run - other over the same queries, and its 95 % bootstrap interval.

    Both map a query's id to its value. Queries are drawn, each with both of its values, so that what makes a query hard
    for both cancels: an interval without 0 tells two runs apart although their own intervals overlap. Raises
    `InputError` when the runs are not of the same queries.

    >>> paired_difference({"q1": 0.5, "q2": 0.9}, {"q1": 0.25, "q2": 0.65}).low
    0.25
    """
    if run.keys() != other.keys():
        alone = sorted(run.keys() ^ other.keys())
        raise InputError(f"the runs are not of the same queries: only one of them has {alone[0]!r}")
    return bootstrap([run[each] - other[each] for each in sorted(run)], seed=seed, resamples=resamples)


def _top(ranking: Sequence[str], *, k: int) -> Sequence[str]:
    if k < 1:
        raise InputError(f"k is {k}: it must be at least 1")
    top = ranking[:k]
    if len(set(top)) < len(top):  # it would be counted twice, and the measure leave [0, 1]
        twice = next(each for place, each in enumerate(top) if each in top[:place])
        raise InputError(f"the ranking has the document {twice!r} more than once")
    return top


def _dcg(grades: Sequence[int]) -> float:
    return math.fsum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
