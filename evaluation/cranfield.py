"""Retrieval quality on Cranfield, in every mode, with 95 % intervals.

    python evaluation/cranfield.py [FOLDER]      # default: ../shared/data/cranfield beside the project

Two variants stand beside each other: "split" is what analect does (a record longer than the model's limit is split),
"truncated" is the usual baseline (each record whole, the model reads its first 256 tokens). Nothing is tuned on these
queries. The figures go to evaluation/results/cranfield-<commit>.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from analect.config import PartSettings, Settings
from analect.evaluation import Evaluation, Interval, evaluate, paired_difference
from analect.registry import PARTS, Part, build_part
from analect.types import Chunk, Document, Mode

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT.parent / "shared" / "data" / "cranfield"
RESULTS = ROOT / "evaluation" / "results"
LEDGER = ROOT / ".analect" / "ledger.db"
FILES = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
MODES: tuple[Mode, ...] = get_args(Mode)
DIFFERENCE: tuple[Mode, Mode] = ("hybrid", "dense")
EMBEDDERS = {
    "split": PartSettings("local"),
    "truncated": PartSettings("local", {"on_overflow": "truncate"}),
}


class UncutChunker:
    """One chunk a record, however long: the embedder is left to cut it."""

    id = "uncut"

    def chunk(self, document: Document) -> Iterator[Chunk]:
        """Yield the whole text as one chunk; nothing for an empty one."""
        if document.text.strip():
            yield Chunk(
                id=hashlib.sha256(f"{document.id}\n{document.text}".encode()).hexdigest()[:32],
                document_id=document.id,
                text=document.text,
                start=0,
                end=len(document.text),
                uri=document.uri,
                title=document.title,
            )


@contextmanager
def uncut_records() -> Iterator[None]:
    """Let records go to `UncutChunker`: no setting of analect would, since it never cuts a text unasked."""
    chunkers = PARTS["chunker"]
    before, chunkers["whole"] = chunkers["whole"], Part(f"{__name__}:{UncutChunker.__name__}")
    try:
        yield
    finally:
        chunkers["whole"] = before


def run_variant(variant: str, *, folder: Path) -> dict[Mode, Evaluation]:
    """Return the evaluation of every mode."""
    settings = Settings(ledger=LEDGER, embedder=EMBEDDERS[variant])
    runs: dict[Mode, Evaluation] = {}
    for mode in MODES:
        start = time.perf_counter()
        runs[mode] = evaluate(*(folder / file for file in FILES), mode=mode, settings=settings)
        print(f"{variant} {mode}: {time.perf_counter() - start:.1f} s", flush=True)
    return runs


def differences(runs: Mapping[Mode, Evaluation]) -> dict[str, Interval]:
    """Return hybrid - dense, query by query, for every metric."""
    better, worse = (runs[mode].per_query for mode in DIFFERENCE)
    return {metric: paired_difference(better[metric], worse[metric]) for metric in better}


def print_tables(found: Mapping[str, Mapping[Mode, Evaluation]]) -> None:
    """Print the variants beside each other, one row a mode and metric."""
    print(f"\n{'':28}" + "".join(f"{variant:28}" for variant in found))
    for metric in next(iter(found.values()))["dense"].metrics:
        for mode in MODES:
            row = [str(runs[mode].metrics[metric]) for runs in found.values()]
            print(f"{metric + ' ' + mode:28}" + "".join(f"{cell:28}" for cell in row))
        row = [f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]" for value in _across(found, metric)]
        print(f"{metric + ' hybrid - dense':28}" + "".join(f"{cell:28}" for cell in row))
    one = next(iter(found.values()))["dense"]
    print(f"\n{one.queries} queries, {one.documents} documents, {one.failed} of them failed (empty)")


def _across(found: Mapping[str, Mapping[Mode, Evaluation]], metric: str) -> list[Interval]:
    return [differences(runs)[metric] for runs in found.values()]


def write_results(found: Mapping[str, Mapping[Mode, Evaluation]], *, folder: Path) -> Path:
    """Write the figures to a file named by commit and return its path. Equal figures give equal bytes."""
    commit = _commit()
    values = {
        "commit": commit,
        "embedder": build_part("embedder", EMBEDDERS["split"]).id,
        "sha256": {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES},
        "variants": {
            variant: {
                **{
                    mode: {
                        "queries": run.queries,
                        "documents": run.documents,
                        "failed": run.failed,
                        "metrics": {metric: _rounded(value) for metric, value in run.metrics.items()},
                    }
                    for mode, run in runs.items()
                },
                "-".join(DIFFERENCE): {metric: _rounded(value) for metric, value in differences(runs).items()},
            }
            for variant, runs in found.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cranfield-{commit}.json"
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return path


def _rounded(value: Interval) -> dict[str, float]:
    return {name: round(figure, 4) for name, figure in asdict(value).items()}


def _commit() -> str:
    changed = _git("status", "--porcelain", "--", ".", ":!evaluation/results")
    return _git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Evaluate, print and write."""
    parser = argparse.ArgumentParser(description="Measure retrieval on Cranfield.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="corpus.jsonl, queries.jsonl, qrels.tsv")
    folder = parser.parse_args().folder
    found = {"split": run_variant("split", folder=folder)}
    with uncut_records():
        found["truncated"] = run_variant("truncated", folder=folder)
    print_tables(found)
    print(f"written to {write_results(found, folder=folder)}")


if __name__ == "__main__":
    main()
