"""Where a benchmark's figures go: `benchmarks/results/<name>-<commit>.json`, and a table on the screen."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


def commit() -> str:
    """Return the short hash of the checkout, with -dirty when tracked files have changes."""
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = named.get("flags", "").split()
    return {
        "cpu": named.get("model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags],
        "load_before": os.getloadavg()[0],
    }


def seconds(call: Callable[[], Any], *, runs: int, warm: int = 1) -> list[float]:
    """Return the wall seconds of `runs` calls, after `warm` that are not counted."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def seconds_in_turns(
    calls: dict[str, Callable[[], Any]], *, turns: int, runs: int, warm: int
) -> dict[str, list[float]]:
    """Return what `seconds` gives for each call, over all turns: what else the machine does hits all alike."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            spent[name] += seconds(call, runs=runs, warm=warm)
    return spent


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write the figures, with commit and machine, and return the file."""
    path = ROOT / "benchmarks" / "results" / f"{name}-{commit()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps(
            {"commit": commit(), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "machine": machine(), **figures},
            indent=1,
        )
        + "\n"
    )
    print(f"written to {path.relative_to(ROOT)}")
    return path
