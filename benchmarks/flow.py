"""What the whole flow costs from the shell and in process: `make bench`.

Prints a table beside the limits that Part A sets, and writes `benchmarks/results/flow-<commit>.json`. The 100k records
are made up and embedded by hashing, so that they measure the flow, not the model.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import results_file as results

RECORDS = 100_000
WORDS = "garden river compost window seven lantern quiet bicycle orange letter under stone winter market paper".split()

MEASURED = """
import resource, sys
from analect.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
"""


def analect(*arguments: str, folder: Path, hashing: bool = False) -> dict[str, float]:
    """Run one command in a process of its own; return its wall seconds, CPU seconds and peak RSS in MB."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANALECT_")}
    if hashing:
        environ |= {"ANALECT_EMBEDDER_USE": "hashing"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"analect {' '.join(arguments)} failed: {done.stderr}")
    cpu, peak = (float(value) for value in done.stderr.split()[-2:])
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "out": done.stdout}


def median(count: int, *arguments: str, folder: Path, figure: str, hashing: bool = False) -> float:
    return statistics.median(analect(*arguments, folder=folder, hashing=hashing)[figure] for _ in range(count))


def made_up_records(path: Path) -> None:
    with path.open("w") as file:
        for number in range(RECORDS):
            words = " ".join(WORDS[(number * 7 + place * (1 + number % 11)) % len(WORDS)] for place in range(40))
            file.write(json.dumps({"id": f"r{number}", "text": f"{number} {words}", "group": number % 100}) + "\n")


def measure(folder: Path) -> list[tuple[str, float, float | None, str]]:
    """Return (what, figure, limit, unit) rows."""
    rows: list[tuple[str, float, float | None, str]] = []
    rows.append(("analect --help, CPU", median(5, "--help", folder=folder, figure="cpu_s"), 0.4, "s"))
    if results.DATA.is_dir():
        products = (
            "add",
            str(results.DATA / "products.json"),
            "--text",
            "{name}. {description}",
            "--id",
            "id",
            "--json",
        )
        rows.append(("add 295 products, wall", analect(*products, folder=folder)["wall_s"], 10, "s"))
        rows.append(("add them again, wall", analect(*products, folder=folder)["wall_s"], None, "s"))
        search = ("search", "seat for long rides", "-k", "5", "--json")
        rows.append(("search 295 products, wall", median(5, *search, folder=folder, figure="wall_s"), 1.5, "s"))
        reviews = ("add", str(results.DATA / "fine_food_reviews_1k.csv"), "--text", "Title: {Summary}; Content: {Text}")
        rows.append(("add 1,000 reviews, wall", analect(*reviews, "--id", "Id", folder=folder)["wall_s"], None, "s"))
    big = folder / "big"
    big.mkdir()
    made_up_records(big / "records.jsonl")
    added = analect("add", "records.jsonl", "--text", "{text}", "--json", folder=big, hashing=True)
    rows.append(("add 100k records (hashing), wall", added["wall_s"], None, "s"))
    rows.append(("add 100k records (hashing), peak", added["peak_mb"], 1536, "MB"))
    again = analect("add", "records.jsonl", "--text", "{text}", "--json", folder=big, hashing=True)
    rows.append(("add them again, wall", again["wall_s"], None, "s"))
    first = ("search", "quiet bicycle", "-k", "5", "--mode", "dense", "--json")
    rows.append(
        (
            "reopen 100k chunks to a first hit, wall",
            median(3, *first, folder=big, figure="wall_s", hashing=True),
            3,
            "s",
        )
    )
    rows.append(("corpus of 100k chunks, file", (big / ".analect" / "corpus.db").stat().st_size / 2**20, None, "MB"))
    return rows


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="analect-bench-"))
    try:
        rows = measure(folder)
    finally:
        shutil.rmtree(folder)
    for what, figure, limit, unit in rows:
        share = f"limit {limit:g} {unit}, {figure / limit:.2f} of it" if limit else ""
        print(f"{what:42} {figure:9.2f} {unit:3} {share}")
    figures = [{"what": what, "figure": figure, "limit": limit, "unit": unit} for what, figure, limit, unit in rows]
    results.write("flow", {"rows": figures})
    if any(limit and figure > limit for _, figure, limit, _ in rows):
        raise SystemExit("a figure is over its limit")


if __name__ == "__main__":
    main()
