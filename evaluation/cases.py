"""Questions beside the sentences that are judged for them, and which of those hold the answer: what is fitted to.

A question without a `text` is about the sample corpus, another about that text of `texts/`, a corpus of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from answers import ROOT, add_sample, questions_of
from numpy.typing import NDArray

from analect import Corpus
from analect.chat._candidates import Candidate, candidates
from analect.chat._evidence import Evidence, Weighing
from analect.config import PartSettings, Settings
from analect.embedders.local import LocalEmbedder


@dataclass(frozen=True)
class Case:
    """One question, what is judged for it, and for each of those whether it holds the answer."""

    question: dict[str, Any]
    judged: list[tuple[Candidate, Evidence]]
    right: NDArray[np.bool_]


def gathered(*names: str) -> list[Case]:
    """Return the cases of those sets of questions, without the ones that nothing is judged for."""
    questions = [question for name in names for question in questions_of(name)]
    embedder = LocalEmbedder()
    cases: list[Case] = []
    for text in dict.fromkeys(question.get("text") for question in questions):
        asked = [question for question in questions if question.get("text") == text]
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(ledger=Path(folder) / "ledger.db", store=PartSettings("memory"))
            with Corpus.open(settings=settings, embedder=embedder) as corpus:
                _fill(corpus, text)
                cases += _cases(corpus, asked, weighing=Weighing(embedder))
    return [case for case in cases if case.judged]


def _fill(corpus: Corpus, text: str | None) -> None:
    if text:
        corpus.add(ROOT / f"evaluation/texts/{text}.md")
    else:
        add_sample(corpus)


def _cases(corpus: Corpus, questions: Sequence[dict[str, Any]], *, weighing: Weighing) -> list[Case]:
    cases = []
    for question in questions:
        hits = corpus.search(question["question"])
        judged = weighing.weigh(question["question"], candidates(hits))
        document = (question.get("document") or f"{question.get('text')}.md").removeprefix("handbook/")
        answer = question["answer"]
        right = [bool(answer) and answer in each.text and each.chunk.document_id == document for each, _ in judged]
        cases.append(Case(question, judged, np.array(right, dtype=np.bool_)))
    return cases
