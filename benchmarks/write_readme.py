"""Writes the figures of the newest results files into README.md, between its two markers."""

from __future__ import annotations

import json
import re
from typing import Any

import results_file as results

BETWEEN = re.compile(r"(<!-- figures: [^\n]*-->\n).*(<!-- end of figures -->)", re.DOTALL)


def newest(name: str) -> dict[str, Any]:
    """Return the results of one benchmark that were written last."""
    files = sorted(
        (results.ROOT / "benchmarks" / "results").glob(f"{name}-*.json"), key=lambda file: file.stat().st_mtime
    )
    found: dict[str, Any] = json.loads(files[-1].read_text())
    return found


def figures() -> str:
    """Return the tables of README."""
    flow, embedder, index = (newest(name) for name in ("flow", "embedder", "index"))
    machine = embedder["machine"]
    lines = [
        f"On {machine['cores']} cores of {machine['cpu']} ({', '.join(machine['flags'])}), shared with other work;",
        "every table is one run, so ratios are what to trust. Files: `benchmarks/results/`.",
        "",
        f"| texts to vectors ({embedder['commit']}) | tokens/s | analect is | one short query | least cosine to fp32 |",
        "|---|---|---|---|---|",
    ]
    for name, row in embedder["rows"].items():
        lines.append(
            f"| {name} | {row['tokens_per_s']:,.0f} | {row['analect_is_times_faster']:.1f} × | "
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
    lines += ["", f"| from the shell ({flow['commit']}) | |", "|---|---|"]
    lines += [f"| {row['what']} | {row['figure']:,.2f} {row['unit']} |" for row in flow["rows"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    path = results.ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BETWEEN.sub(lambda found: found[1] + figures() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
