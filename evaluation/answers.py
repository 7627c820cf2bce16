"""Ask the sample corpus the questions of some sets, and print how many are judged and answered right.

    python evaluation/answers.py [dev|train|third|test|fresh|fourth]...

"Right" means: answered where the corpus holds an answer, not answered where it does not. Of the answered ones that
should be, "cited right" says for how many the quotes hold the expected words and come from the expected document.
Exits with 1 when less than 90 % of all are right of either kind.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analect import Answer, Corpus
from analect.config import PartSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "src" / "analect" / "sample"
PLANTS = "\n".join(
    f"{field}: {{{field}}}"
    for field in (
        "name",
        "latin_name",
        "family",
        "bed",
        "height_cm",
        "sun",
        "water",
        "hardy",
        "flowering_months",
        "description",
    )
)  # the default template takes strings only; people ask for heights
LEAST = 0.9


def main(*names: str) -> int:
    """Print the shares of each set and of all together, and return the exit code."""
    asked: list[tuple[dict[str, Any], Answer]] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(ledger=Path(folder) / "ledger.db", store=PartSettings("memory"))
        with Corpus.open(settings=settings) as corpus:
            add_sample(corpus)
            corpus.ask("Where is the café?")  # builds the parts
            for name in names:
                questions = questions_of(name)
                start = time.perf_counter()
                answers = [corpus.ask(question["question"]) for question in questions]
                took = (time.perf_counter() - start) / len(questions)
                asked += zip(questions, answers, strict=True)
                report(f"{name}, {took * 1000:.0f} ms a question", asked[-len(questions) :])
    return 0 if min(report("all", asked)) >= LEAST else 1


def report(title: str, asked: Sequence[tuple[dict[str, Any], Answer]]) -> tuple[float, float]:
    """Print the shares that are right, and return them for answerable and unanswerable questions."""
    given = [answer.answered for question, answer in asked if question["answerable"]]
    refused = [not answer.answered for question, answer in asked if not question["answerable"]]
    cited = [cited_right(question, answer) for question, answer in asked if question["answerable"] and answer.answered]
    print(title)
    print(f"  answerable    {_share(given)} right")
    print(f"  unanswerable  {_share(refused)} right")
    print(f"  cited right   {_share(cited)} of the answered")
    return sum(given) / len(given), sum(refused) / len(refused)


def add_sample(corpus: Corpus) -> None:
    """Add the sample corpus, with what people ask of plants."""
    corpus.add(SAMPLE / "handbook")
    corpus.add(SAMPLE / "plants.csv", text=PLANTS)


def questions_of(name: str) -> list[dict[str, Any]]:
    """Return the questions of a set."""
    lines = (ROOT / "evaluation" / "questions" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def cited_right(question: dict[str, Any], answer: Answer) -> bool:
    """Tell whether a verified quote holds the expected words and stands in the expected document."""
    document = question["document"].removeprefix("handbook/")  # the ids are relative to the folder that was added
    return any(
        question["answer"] in citation.quote and citation.chunk.document_id == document and citation.verdict == "found"
        for citation in answer.citations
    )


def _share(right: list[bool]) -> str:
    return f"{sum(right):3} of {len(right):3} ({sum(right) / max(len(right), 1):.1%})"


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["dev"])))
