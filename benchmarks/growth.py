"""How the cost of an exact search grows with the rows: time, memory, bytes read; a table, a results file and a plot.

    python benchmarks/growth.py

Each size is measured in a process of its own, so that memory is its own. 10 million rows are measured where they fit.
The plot goes to docs/growth.svg.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import results_file as results

from analect.indexes.exact import ExactIndex

DIM, K = 384, 10
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
NEEDED = DIM * 4 * 1.5  # bytes of memory a row: float32, int8 codes, ids
COLOURS = {"analect_ms": "#0b6e4f", "numpy_ms": "#b0563b"}


def measure(count: int) -> dict[str, Any]:
    """Return the figures of one size."""
    from index import Bare, unit  # beside this file

    vectors = np.concatenate([unit(min(count - first, 100_000), DIM, seed=first) for first in range(0, count, 100_000)])
    query = unit(1, DIM, seed=-1 % 2**32)
    store = Bare(vectors)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    index = ExactIndex(store=store)  # type: ignore[arg-type]
    index.refresh()
    build = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = max(7, min(200, 20_000_000 // count))
    spent, numpy_spent = [], []
    for _ in range(runs):  # in turns, so that both meet the same neighbours
        spent.append(results.seconds(lambda: index.search_vectors(query, k=K), runs=1, warm=0)[0])
        numpy_spent.append(results.seconds(lambda: np.argpartition(vectors @ query[0], -K), runs=1, warm=0)[0])
    counters = index.counters()
    rescored = int(str(counters["rows_rescored"])) / int(str(counters["queries"]))
    return {
        "rows": count,
        "analect_ms": statistics.median(spent) * 1e3,
        "numpy_ms": statistics.median(numpy_spent) * 1e3,
        "build_s": build,
        "index_mb": (after - before) / 1024,
        "read_mb": (int(str(counters["scanned_bytes"])) + rescored * DIM * 4) / 1e6,
        "brute_force_read_mb": vectors.nbytes / 1e6,
        "rows_rescored": rescored,
    }


def plot(rows: list[dict[str, Any]]) -> str:
    """Return an SVG of milliseconds over rows, both on logarithmic axes."""
    width, height, left, top = 640, 360, 70, 30
    values = [row[name] for row in rows for name in COLOURS]
    decades = (math.log10(rows[0]["rows"]), math.log10(rows[-1]["rows"]))
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(count: float) -> float:
        return left + (math.log10(count) - decades[0]) / (decades[1] - decades[0]) * (width - left - 150)

    def y(value: float) -> float:
        return height - 50 - (math.log10(value) - low) / (high - low) * (height - 50 - top)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="18">10 best of n × {DIM}, one query, {results.machine()["cores"]} cores: ms</text>',
    ]
    for power in range(low, high + 1):
        lines.append(f'<path d="M{left} {y(10**power):.1f}H{x(rows[-1]["rows"]):.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:g}</text>')
    for row in rows:
        label = f"{row['rows'] / 1e6:g}M" if row["rows"] >= 1e6 else f"{row['rows'] / 1e3:g}k"
        lines.append(f'<text x="{x(row["rows"]):.1f}" y="{height - 28}" text-anchor="middle">{label}</text>')
    for name, colour in COLOURS.items():
        points = [(x(row["rows"]), y(row[name])) for row in rows]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        label = f"{name.removesuffix('_ms')}, {rows[-1][name]:.0f} ms"
        lines.append(f'<text x="{points[-1][0] + 8:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{label}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    rows = []
    for count in SIZES:
        if 2 * count * NEEDED > free:  # the vectors themselves, and the index
            print(f"{count:,} rows left out: {2 * count * NEEDED / 1e9:.0f} GB needed, {free / 1e9:.0f} GB free")
            continue
        run = subprocess.run([sys.executable, __file__, str(count)], capture_output=True, text=True, check=True)
        row = json.loads(run.stdout)
        rows.append(row)
        print(
            f"{count:10,}: {row['analect_ms']:8.2f} ms, numpy {row['numpy_ms'] / row['analect_ms']:.2f} times that; "
            f"built in {row['build_s']:.2f} s, {row['index_mb']:,.0f} MB; reads {row['read_mb']:,.1f} MB a query, "
            f"brute force {row['brute_force_read_mb']:,.1f}; {row['rows_rescored']:.0f} rows in float32"
        )
    results.write("growth", {"rows": rows})
    (results.ROOT / "docs" / "growth.svg").write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
