"""Exact nearest neighbours beside numpy, faiss and usearch in one run, and how cost grows: `make bench`.

Random unit vectors, the hardest case for the bound of the codes. Every contestant gives the 10 best of one query;
analect through `ExactIndex.search_vectors`, hits and all. The limit is the bandwidth at which all cores read memory.
"""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import results_file as results

from analect.indexes.exact import ExactIndex
from analect.stores.sqlite import SqliteStore
from analect.types import Change, Chunk, Condition, Document, Entry, Matrix

K = 10
SIZES = ((10_000, 384), (10_000, 1536), (100_000, 384), (1_000_000, 384))
THREADS = len(os.sched_getaffinity(0))
TURNS = 5


class Bare:
    """A store of nothing but chunks and vectors, so that what is measured is the index."""

    def __init__(self, vectors: Matrix) -> None:
        self.vectors = vectors
        self.chunks = [
            Chunk(f"d{row:08}", "d", "", 0, 0, "", metadata={"group": row % 100, "half": row % 2})
            for row in range(len(vectors))
        ]
        self.removed: list[tuple[int, str]] = []
        self.known = len(vectors)

    def grow(self, vectors: Matrix) -> None:
        start = len(self.chunks)
        self.vectors = np.concatenate([self.vectors, vectors])
        self.chunks += [Chunk(f"d{start + row:08}", "d", "", 0, 0, "") for row in range(len(vectors))]

    def revision(self) -> str:
        return str(len(self.chunks))

    def count(self) -> tuple[int, int]:
        return 1, len(self.chunks)

    def changes(self, *, since: str | None = None) -> Iterator[Change]:
        start = int(since or 0)
        for first in range(start, len(self.chunks), 8192):
            last = min(first + 8192, len(self.chunks))
            chunks = self.chunks[first:last]
            names, metadata = [chunk.id for chunk in chunks], [chunk.metadata for chunk in chunks]
            yield Change(self.revision(), (), names, metadata, self.vectors[first:last], list)

    def get(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        return [self.chunks[int(name[1:])] for name in chunk_ids]


def unit(count: int, dim: int, *, seed: int = 0) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def bandwidth() -> float:
    """Return the GB/s at which all cores together read float32 (numpy's dot with itself streams and adds little)."""
    data = np.ones((THREADS, 1 << 26), dtype=np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        spent = min(results.seconds(lambda: list(pool.map(lambda row: np.dot(row, row), data)), runs=7))
    return data.nbytes / spent / 1e9


def p50_in_turns(calls: dict[str, Callable[[], Any]], *, runs: int) -> dict[str, float]:
    """Return the median milliseconds of each call."""
    spent = results.seconds_in_turns(calls, turns=TURNS, runs=max(1, runs // TURNS), warm=3)
    return {name: statistics.median(times) * 1e3 for name, times in spent.items()}


def measure(count: int, dim: int) -> dict[str, Any]:
    import faiss
    import usearch.index as usearch

    vectors, queries = unit(count, dim), unit(100, dim, seed=1)
    query = queries[:1]
    store = Bare(vectors)
    index = ExactIndex(store=store)  # type: ignore[arg-type]
    start = time.perf_counter()
    index.refresh()
    built = time.perf_counter() - start
    flat = faiss.IndexFlatIP(dim)
    flat.add(vectors)
    runs = max(10, min(200, 20_000_000 // count))

    def by_numpy() -> Any:
        scores = vectors @ query[0]
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    def all_by_numpy() -> Any:
        scores = queries @ vectors.T
        return np.argpartition(scores, -K, axis=1)[:, -K:]

    expected = [f"d{row:08}" for row in by_numpy()]
    assert [hit.chunk.id for hit in index.search_vectors(query, k=K)[0]] == expected
    one_percent = (Condition("group", "=", 7),)
    scan = index._view._scan  # type: ignore[union-attr]
    row: dict[str, Any] = {
        "rows": count,
        "dim": dim,
        "build_s": built,
        **p50_in_turns(
            {
                "analect_ms": lambda: index.search_vectors(query, k=K),
                "numpy_ms": by_numpy,
                "faiss_ms": lambda: flat.search(query, K),
                "usearch_ms": lambda: usearch.search(vectors, query[0], K, metric="ip", exact=True),
                "filter_1_percent_ms": lambda: index.search_vectors(query, k=K, where=one_percent),
                "filter_half_ms": lambda: index.search_vectors(query, k=K, where=(Condition("half", "=", 1),)),
                "scan_ms": lambda: scan.of_each(lambda block: block.scores(query)),
            },
            runs=runs,
        ),
    }
    row["scan_gb_s"] = count * dim / row["scan_ms"] / 1e6
    if count <= 100_000:
        batches = {"batch_100_ms": lambda: index.search_vectors(queries, k=K), "batch_100_numpy_ms": all_by_numpy}
        row |= p50_in_turns(batches, runs=10)
    if (count, dim) == (100_000, 384):
        store.grow(unit(100, dim, seed=2))
        start = time.perf_counter()
        index.refresh()
        row["refresh_100_ms"] = (time.perf_counter() - start) * 1e3
    return row


OPEN = """
import sys, time
from pathlib import Path
import numpy as np
from analect.indexes.exact import ExactIndex
from analect.stores.sqlite import SqliteStore

start = time.perf_counter()
index = ExactIndex(store=SqliteStore(path=Path(sys.argv[1])))
index.refresh()
print(time.perf_counter() - start)
start = time.perf_counter()
np.empty((index.counters()["rows"], 384), dtype=np.float32)[:] = 1
print(time.perf_counter() - start)
"""


def opened(count: int, folder: Path) -> tuple[float, float]:
    """Return the seconds that a new process takes to read a corpus of `count` chunks from SQLite into an index, and
    those that the system takes to give it as much memory as the vectors fill."""
    path = folder / f"{count}.db"
    store = SqliteStore(path=path)
    store.prepare(embedder_id="random/384", dim=384)
    for first in range(0, count, 10_000):
        vectors = unit(10_000, 384, seed=first)
        entries = []
        for place in range(10_000):
            name = f"d{first + place:08}"
            document = Document(name, f"the text of {name}", "s", name, metadata={"group": place % 100})
            chunk = Chunk(name, name, document.text, 0, len(document.text), name, metadata=document.metadata)
            entries.append(Entry(document, "f", (chunk,), vectors[place : place + 1]))
        store.put(entries)
    store.close()
    os.sync()  # a corpus is opened long after it was written: what is still being written would compete with reading
    run = subprocess.run([sys.executable, "-c", OPEN, path], capture_output=True, text=True, check=True)
    path.unlink()
    first, second = map(float, run.stdout.split())
    return first, second


def main() -> None:
    limit = bandwidth()
    print(f"bandwidth {limit:.1f} GB/s on {THREADS} threads")
    rows = []
    for count, dim in SIZES:
        row = measure(count, dim)
        row["scan_share_of_bandwidth"] = row["scan_gb_s"] / limit
        row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(row)
        mine = row["analect_ms"]
        print(
            f"{count:9,} × {dim:4}: analect {mine:7.2f} ms   numpy {row['numpy_ms'] / mine:5.2f} times that   "
            f"faiss {row['faiss_ms'] / mine:5.2f}   usearch {row['usearch_ms'] / mine:5.2f}   "
            f"scan {row['scan_gb_s']:5.1f} GB/s ({row['scan_share_of_bandwidth']:.0%})   "
            f"1 % filter {row['filter_1_percent_ms'] / mine:.2f}, half {row['filter_half_ms'] / mine:.2f} of it"
        )
        if "batch_100_ms" in row:
            times = row["batch_100_numpy_ms"] / row["batch_100_ms"]
            print(f"{'':17} 100 queries {row['batch_100_ms']:.1f} ms, numpy {times:.2f} times that")
        if "refresh_100_ms" in row:
            print(f"{'':17} refresh after 100 new chunks {row['refresh_100_ms']:.1f} ms")
        gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        open_s = {str(count): opened(count, Path(folder)) for count in (100_000, 1_000_000)}
    print(
        "opening from SQLite: "
        + ", ".join(f"{int(n):,} in {s:.2f} s (memory alone {memory:.2f} s)" for n, (s, memory) in open_s.items())
    )
    opening = {"open_s": {n: s for n, (s, _) in open_s.items()}, "memory_s": {n: m for n, (_, m) in open_s.items()}}
    results.write("index", {"bandwidth_gb_s": limit, "rows": rows, **opening})


if __name__ == "__main__":
    main()
