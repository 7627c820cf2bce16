"""Writes the figures of the newest results files into README.md, between its two markers."""

from __future__ import annotations

import json
import re
from typing import Any

import results_file as results

BETWEEN = re.compile(r"(<!-- figures: [^\n]*-->\n).*(<!-- end of figures -->)", re.DOTALL)


def newest(name: str) -> dict[str, Any]:
    """Return the results of one benchmark that were written last."""
    files = (results.ROOT / "benchmarks" / "results").glob(f"{name}-*.json")
    found: list[dict[str, Any]] = [json.loads(file.read_text()) for file in files]
    return max(found, key=lambda each: str(each.get("at", "")))


def figures() -> str:
    """Return the tables of README."""
    flow, embedder, index = (newest(name) for name in ("flow", "embedder", "index"))
    machine = embedder["machine"]
    lines = [
        f"On {machine['cores']} cores of {machine['cpu']} ({', '.join(machine['flags'])}), shared with other work;",
        "every table is one run, so ratios are what to trust. Files: `benchmarks/results/`.",
        "",
        f"| texts to vectors ({embedder['commit']}) | tokens/s | analect is | in int8 | one short query | "
        "least cosine to fp32 |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in embedder["rows"].items():
        lines.append(
            f"| {name} | {row['tokens_per_s']:,.0f} | {row['analect_is_times_faster']:.2f} × | "
            f"{row['analect_int8_is_times_faster']:.2f} × | "
            f"{row['query_p50_ms']:.2f} ms | {row['cosine_to_fp32_min']:.4f} |"
        )
    lines += [
        "",
        f"That is {embedder['share_of_limit']:.0%} of what this machine multiplies in bf16 "
        f"({embedder['gemm_gflops']:,.0f} GFLOP/s at the model's shapes).",
        "",
        f"| 10 best, one query ({index['commit']}) | analect | numpy | faiss flat | usearch exact |",
        "|---|---|---|---|---|",
    ]
    for row in index["rows"]:
        mine = row["analect_ms"]
        others = (
            f"{row[f'{name}_ms']:.2f} ms ({row[f'{name}_ms'] / mine:.1f} ×)" for name in ("numpy", "faiss", "usearch")
        )
        lines.append(f"| {row['rows']:,} × {row['dim']} | {mine:.2f} ms | {' | '.join(others)} |")
    batch = next(row for row in index["rows"] if "refresh_100_ms" in row)
    lines += [
        "",
        f"100 queries at once among {batch['rows']:,} take {batch['batch_100_ms']:.0f} ms, numpy "
        f"{batch['batch_100_numpy_ms'] / batch['batch_100_ms']:.1f} times that.",
    ]
    lines += ["", "How that grows, from 10,000 rows on: [a plot](docs/growth.svg).", "", *_server(newest("server"))]
    lines += ["", *_remote(newest("remote"))]
    lines += ["", f"| from the shell ({flow['commit']}) | |", "|---|---|"]
    lines += [f"| {row['what']} | {row['figure']:,.2f} {row['unit']} |" for row in flow["rows"]]
    return "\n".join(lines) + "\n"


def _server(server: dict[str, Any]) -> list[str]:
    """Return the table of servers: each figure, and how many times better ours is."""
    columns = {
        "short, 1 client": ("p50_ms", "one short text, p50", "ms"),
        "short, 32 clients": ("requests_per_s", "32 clients, short texts", "/s"),
        "32 documents, 8 clients": ("texts_per_s", "8 clients, 32 documents each", "texts/s"),
        "short beside 256-text batches": ("p99_ms", "short beside batches of 256, p99", "ms"),
    }
    lines = [
        f"| over HTTP ({server['commit']}) | {' | '.join(title for _, title, _ in columns.values())} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in server["rows"].items():
        cells = []
        for column, (key, _, unit) in columns.items():
            value, ours = row[column][key], server["rows"]["analect"][column][key]
            times = value / ours if unit == "ms" else ours / value
            cells.append(f"{value:,.1f} {unit}" + ("" if name == "analect" else f" ({times:.2f} ×)"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"Over HTTP that is {server['share_of_engine_tokens']:.0%} of the engine's tokens a second in process "
        f"({server['share_of_gemm_limit']:.0%} of what the machine multiplies), and "
        f"{server['short_ms_on_top_of_engine']:.2f} ms on top of it for a short text.",
    ]


def _remote(remote: dict[str, Any]) -> list[str]:
    """Return the table of clients of a paid service with a quota."""
    names = {
        "ours": "analect",
        "sdk": "the openai client's own retries",
        "per_text": "a text a call, tenacity's rule",
        "cookbook": "the cookbook's parallel rule",
    }
    products = remote["products"]
    lines = [f"| against a quota ({remote['commit']}) | quota used | requests refused |", "|---|---|---|"]
    lines += [f"| {names[name]} | {row['used']:.1%} | {row['refused']:.1%} |" for name, row in remote["quota"].items()]
    return [
        *lines,
        "",
        f"295 products: {products['requests']} request, {products['seconds']:.2f} s; a text a call with a client each "
        f"takes {products['ratio']:.0f} times that. The service is a fake with 150 ms latency.",
    ]


def main() -> None:
    path = results.ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BETWEEN.sub(lambda found: found[1] + figures() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
