"""Fit the weights of the extractive answerer, and print them and how well they judge questions they were not fitted to.

    python evaluation/fit_answers.py

Fitted to `dev`, `train` and `third` of `questions/` (the sample corpus); the weights for embedders that have no
cross-encoder also to `other` (the texts in `texts/`, each a corpus of its own), of which the cross-encoder has
seen the answers. `test`, `fresh` and `fourth` are not read. A logistic regression over the numbers of
`Evidence` (Newton's method, L2): of each question without an answer its best sentence is a negative; of each with one,
its best right sentence is a positive and its best wrong one a light negative. Which is best depends on the weights, so
fitting and choosing alternate. The bias is set where both kinds of questions about the sample corpus are judged right
equally often, each judged by weights that were fitted without it. Takes some minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cases import Case, gathered
from numpy.typing import NDArray

from analect.chat._evidence import Evidence

NAMES = Evidence.__slots__
RIDGE = 2.0  # strength of the L2 penalty on standardised weights
WRONG = 0.25  # what the best wrong sentence of an answerable question counts
ROUNDS = 15
FOLDS = 8
SAMPLE = "sample"  # the corpus that comes with the package
SHUFFLES = 10  # cross-validations that the bias is taken from: fitted questions score too well to set it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One question: a row for each judged sentence, and which of them hold the answer."""

    corpus: str
    answerable: bool
    rows: Floats
    right: NDArray[np.bool_]


def main() -> None:
    """Fit, and print."""
    sample, others = gathered("dev", "train", "third"), gathered("other")
    report("WEIGHTS", [judged(case, names=NAMES) for case in sample], names=NAMES)
    unread = tuple(name for name in NAMES if name != "read")
    report("UNREAD_WEIGHTS", [judged(case, names=unread) for case in sample + others], names=unread)


def judged(case: Case, *, names: Sequence[str]) -> Judged:
    """Return the numbers of that name of a case."""
    rows = np.array([[getattr(evidence, name) for name in names] for _, evidence in case.judged], dtype=np.float64)
    question = case.question
    return Judged(question.get("text") or SAMPLE, question["answerable"], rows, case.right)


def report(title: str, cases: Sequence[Judged], *, names: Sequence[str]) -> None:
    """Print the weights of those names, the bias, and the shares of cross-validation."""
    answerable = np.array([case.answerable for case in cases])
    unseen = np.mean([_unseen(cases, seed=seed) for seed in range(SHUFFLES)], axis=0)
    corpora = np.array([case.corpus for case in cases])
    sample = corpora == SAMPLE
    bias = -_balance(unseen[sample], answerable[sample])
    right = (unseen + bias >= 0) == answerable
    print(f"{title}: judged right in {FOLDS}-fold cross-validation:")
    for corpus in ["all", *dict.fromkeys(corpora)]:
        own = corpora == corpus if corpus != "all" else np.full(len(cases), fill_value=True)
        shares = [_share(right[own & (answerable == kind)]) for kind in (True, False)]
        print(f"  {corpus:10} answerable {shares[0]}, unanswerable {shares[1]}")
    print(f"BIAS = {bias:.2f}")
    for name, weight in zip(names, fit(cases), strict=True):
        print(f"{name}={weight:.2f},")


def _unseen(cases: Sequence[Judged], *, seed: int) -> Floats:
    """Return each question's best score by weights that were fitted without it."""
    best = np.zeros(len(cases))
    fold = np.random.default_rng(seed).permutation(len(cases)) % FOLDS
    for number in range(FOLDS):
        weights = fit([case for case, each in zip(cases, fold, strict=True) if each != number])
        for index in np.flatnonzero(fold == number):
            best[index] = (cases[index].rows @ weights).max()
    return best


def fit(cases: Sequence[Judged]) -> Floats:
    """Return the weights that tell right sentences from wrong ones best."""
    stacked = np.concatenate([case.rows for case in cases])
    mean, spread = stacked.mean(axis=0), stacked.std(axis=0) + 1e-9
    beta = np.r_[0.0, 1.0, np.zeros(cases[0].rows.shape[1] - 1)]  # at first, the nearest is best
    for _ in range(ROUNDS):
        rows, targets, counts = [], [], []
        for case in cases:
            scaled = (case.rows - mean) / spread
            for chosen, target in ((case.right, 1.0), (~case.right, 0.0)):
                if chosen.any():
                    rows.append(scaled[chosen][np.argmax(scaled[chosen] @ beta[1:])])
                    targets.append(target)
                    counts.append(WRONG if case.answerable and not target else 1.0)
        beta = (beta + _logistic(np.array(rows), targets=np.array(targets), counts=np.array(counts))) / 2
    return np.asarray(beta[1:] / spread)


def _logistic(rows: Floats, *, targets: Floats, counts: Floats) -> Floats:
    design = np.c_[np.ones(len(rows)), rows]
    penalty = np.diag(np.r_[1e-6, np.full(rows.shape[1], RIDGE)])
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        chance = 1 / (1 + np.exp(-design @ beta))
        slope = design.T @ (counts * (chance - targets)) + penalty @ beta
        curve = (design * (counts * chance * (1 - chance))[:, None]).T @ design + penalty
        beta -= np.linalg.solve(curve, slope)
    return beta


def _balance(best: Floats, answerable: NDArray[np.bool_]) -> float:
    """Return the score at which the worse judged kind of question is judged best: half way to the next lower score."""
    ordered = np.sort(best)
    thresholds = (ordered[1:] + ordered[:-1]) / 2

    def balance(threshold: float) -> float:
        kept, refused = (best[answerable] >= threshold).mean(), (best[~answerable] < threshold).mean()
        return float(min(kept, refused) + 0.1 * (kept + refused))

    return float(max(thresholds, key=balance))


def _share(right: NDArray[np.bool_]) -> str:
    return f"{right.sum():3} of {len(right):3} ({right.mean():.1%})"


if __name__ == "__main__":
    main()
