"""Fit the weights of the extractive answerer, and print them and how well they judge questions they were not fitted to.

    python evaluation/fit_answers.py

Fitted to `questions/dev.jsonl` and `train.jsonl` (the sample corpus) and `other.jsonl` (the texts in `texts/`, each a
corpus of its own); `test.jsonl` and `fresh.jsonl` are not read. A logistic regression over the numbers of `Evidence`
(Newton's method, L2): of each question without an answer its best sentence is a negative; of each with one, its best
right sentence is a positive and its best wrong one a light negative. Which is best depends on the weights, so fitting
and choosing alternate. The bias is set where both kinds of `dev.jsonl` are judged right equally often, each judged by
weights that were fitted without it: the other sets have more near misses than people ask. Takes some minutes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from answers import PLANTS, SAMPLE
from numpy.typing import NDArray

from analect import Corpus
from analect.chat._candidates import candidates
from analect.chat._evidence import Evidence, Weighing
from analect.config import PartSettings, Settings
from analect.embedders.local import LocalEmbedder

ROOT = Path(__file__).resolve().parents[1]
NAMES = Evidence.__slots__
RIDGE = 2.0  # strength of the L2 penalty on standardised weights
WRONG = 0.25  # what the best wrong sentence of an answerable question counts
ROUNDS = 15
FOLDS = 8
SHUFFLES = 10  # cross-validations that the bias is taken from: fitted questions score too well to set it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One question: a row for each judged sentence, and which of them hold the answer."""

    question: dict[str, Any]
    rows: Floats
    right: NDArray[np.bool_]


def main() -> None:
    """Fit, and print."""
    cases = [case for case in gathered() if len(case.rows)]
    answerable = np.array([case.question["answerable"] for case in cases])
    unseen = np.mean([_unseen(cases, seed=seed) for seed in range(SHUFFLES)], axis=0)
    dev = np.array([case.question["id"].startswith("dev-") for case in cases])
    bias = -_balance(unseen[dev], answerable[dev])
    judged = (unseen + bias >= 0) == answerable
    print(f"judged right in {FOLDS}-fold cross-validation:")
    corpora = np.array([case.question.get("text") or "sample" for case in cases])
    for corpus in ["all", *dict.fromkeys(corpora)]:
        own = corpora == corpus if corpus != "all" else np.full(len(cases), fill_value=True)
        shares = [_share(judged[own & (answerable == kind)]) for kind in (True, False)]
        print(f"  {corpus:10} answerable {shares[0]}, unanswerable {shares[1]}")
    print(f"BIAS = {bias:.2f}")
    for name, weight in zip(NAMES, fit(cases), strict=True):
        print(f"{name}={weight:.2f},")


def _unseen(cases: Sequence[Case], *, seed: int) -> Floats:
    """Return each question's best score by weights that were fitted without it."""
    best = np.zeros(len(cases))
    fold = np.random.default_rng(seed).permutation(len(cases)) % FOLDS
    for number in range(FOLDS):
        weights = fit([case for case, each in zip(cases, fold, strict=True) if each != number])
        for index in np.flatnonzero(fold == number):
            best[index] = (cases[index].rows @ weights).max()
    return best


def gathered() -> list[Case]:
    """Return the cases of all corpora."""
    questions = [json.loads(line) for name in ("dev", "train", "other") for line in _lines(name)]
    embedder = LocalEmbedder()
    cases = []
    for text in dict.fromkeys(question.get("text") for question in questions):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(ledger=Path(folder) / "ledger.db", store=PartSettings("memory"))
            with Corpus.open(settings=settings, embedder=embedder) as corpus:
                if text:
                    corpus.add(ROOT / f"evaluation/texts/{text}.md")
                else:
                    corpus.add(SAMPLE / "handbook")
                    corpus.add(SAMPLE / "plants.csv", text=PLANTS)
                weighing = Weighing(embedder)
                cases += [_case(corpus, weighing, question) for question in questions if question.get("text") == text]
    return cases


def fit(cases: Sequence[Case]) -> Floats:
    """Return the weights that tell right sentences from wrong ones best."""
    stacked = np.concatenate([case.rows for case in cases])
    mean, spread = stacked.mean(axis=0), stacked.std(axis=0) + 1e-9
    beta = np.r_[0.0, 1.0, np.zeros(len(NAMES) - 1)]  # at first, the nearest is best
    for _ in range(ROUNDS):
        rows, targets, counts = [], [], []
        for case in cases:
            scaled = (case.rows - mean) / spread
            for chosen, target in ((case.right, 1.0), (~case.right, 0.0)):
                if chosen.any():
                    rows.append(scaled[chosen][np.argmax(scaled[chosen] @ beta[1:])])
                    targets.append(target)
                    counts.append(WRONG if case.question["answerable"] and not target else 1.0)
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


def _case(corpus: Corpus, weighing: Weighing, question: dict[str, Any]) -> Case:
    hits = corpus.search(question["question"])
    judged = weighing.weigh(question["question"], candidates(hits))
    answer = question["answer"]
    document = (question.get("document") or f"{question.get('text')}.md").removeprefix("handbook/")
    right = [bool(answer) and answer in each.text and each.chunk.document_id == document for each, _ in judged]
    rows = np.array([list(asdict(evidence).values()) for _, evidence in judged]).reshape(-1, len(NAMES))
    return Case(question, rows=rows, right=np.array(right, dtype=bool))


def _share(right: NDArray[np.bool_]) -> str:
    return f"{right.sum():3} of {len(right):3} ({right.mean():.1%})"


def _lines(name: str) -> list[str]:
    return (ROOT / f"evaluation/questions/{name}.jsonl").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
