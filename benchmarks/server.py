"""Embeddings over HTTP beside infinity and the blog server: same model, same machine, one run, one server at a time.

Peers need an environment of their own (`pip install 'infinity-emb[server,torch]'`); name its interpreter:

    python benchmarks/server.py --peers /path/to/env/bin/python [--seconds 5]

A peer that is not there is left out, loudly. Writes `benchmarks/results/server-<commit>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import results_file as results
from gemm import flops_a_token, gemm_limit

from analect.embedders.local import LocalEmbedder

MODEL = "all-MiniLM-L6-v2"
QUERY = "how is compost made in the garden"
WORDS = (
    "the a of garden river compost window seven lantern quiet bicycle orange letter under stone people water".split()
)
START_SECONDS = 120
HEAD = "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"


def request(texts: str | list[str]) -> bytes:
    body = json.dumps({"input": texts, "model": MODEL, "encoding_format": "base64"}).encode()
    return HEAD.format(len(body)).encode() + body


def documents() -> list[str]:
    chance = random.Random(1)
    return [" ".join(chance.choices(WORDS, k=chance.randint(20, 160))) for _ in range(256)]


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read(connection: socket.socket) -> None:
    """Read one answer, which must be a 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 18)
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise SystemExit(f"the server answered {head[:200]!r} {body[:200]!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    left = int(length.partition(b":")[2]) - len(body)
    while left > 0:
        left -= len(connection.recv(1 << 18))


def percentiles(seconds: list[float]) -> dict[str, float]:
    low, high = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return {"p50_ms": float(low), "p99_ms": float(high)}


def load(port: int, requests: list[bytes], *, clients: int, seconds: float) -> dict[str, float]:
    """Keep so many requests in flight, and return the rate, the times, and what the client itself cost."""
    selector, began, took = selectors.DefaultSelector(), {}, []
    following = cycle(requests)
    connections = [connect(port) for _ in range(clients)]
    cpu, start = time.process_time(), time.perf_counter()
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ)
        began[connection] = time.perf_counter()
        connection.sendall(next(following))
    while selector.get_map():
        for key, _ in selector.select():
            connection = key.fileobj
            read(connection)
            now = time.perf_counter()
            took.append(now - began[connection])
            if now - start < seconds:
                began[connection] = now
                connection.sendall(next(following))
            else:
                selector.unregister(connection)
                connection.close()
    wall = time.perf_counter() - start
    client = (time.process_time() - cpu) / len(took)
    return {"requests_per_s": len(took) / wall, "client_ms_a_request": client * 1e3, **percentiles(took)}


@contextmanager
def beside(port: int, body: bytes) -> Iterator[None]:
    """Have one other client send that body again and again."""
    over = threading.Event()

    def run() -> None:
        with connect(port) as connection:
            while not over.is_set():
                connection.sendall(body)
                read(connection)

    other = threading.Thread(target=run)
    other.start()
    try:
        yield
    finally:
        over.set()
        other.join()


def measure(port: int, *, seconds: float) -> dict[str, Any]:
    texts = documents()
    query, batches = request(QUERY), [request(texts[at : at + 32]) for at in range(0, 256, 32)]
    load(port, [query], clients=1, seconds=1), load(port, batches, clients=8, seconds=1)  # warm
    figures: dict[str, Any] = {
        "short, 1 client": load(port, [query], clients=1, seconds=seconds),
        "short, 32 clients": load(port, [query], clients=32, seconds=seconds),
        "32 documents, 8 clients": load(port, batches, clients=8, seconds=seconds),
    }
    figures["32 documents, 8 clients"]["texts_per_s"] = figures["32 documents, 8 clients"]["requests_per_s"] * 32
    with beside(port, request(texts)):
        figures["short beside 256-text batches"] = load(port, [query], clients=1, seconds=seconds)
    return figures


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def running(command: Callable[[int], list[str]], **environment: str) -> Iterator[int]:
    """Run a server until it answers, and end it, by its own number, at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        given = {**os.environ, **environment}
        process = subprocess.Popen(command(port), cwd=folder, env=given, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with connect(port) as connection:
                connection.sendall(request("are you there"))
                read(connection)
                return
        except (OSError, SystemExit):
            time.sleep(0.5)
    raise SystemExit(f"the server {process.args!r} did not start")


def servers(peers: str | None, folder: str) -> dict[str, Callable[[int], list[str]]]:
    """Return what to run: ours, and the peers that are there."""
    serve = [sys.executable, "-m", "analect", "serve", "--port"]
    found: dict[str, Callable[[int], list[str]]] = {
        "analect": lambda port: [*serve, str(port)],
        "analect int8": lambda port: ["env", "ANALECT_EMBEDDER_PRECISION=int8", *serve, str(port)],
    }
    infinity = Path(peers).parent / "infinity_emb" if peers else None
    if infinity is None or not infinity.exists():
        print("NOT MEASURED: infinity and the blog server; name an environment that has them with --peers", flush=True)
        return found
    common = ["--model-id", folder, "--served-model-name", MODEL, "--url-prefix", "/v1", "--host", "127.0.0.1"]
    start = [str(infinity), "v2", *common, "--device", "cpu", "--no-bettertransformer"]
    found["infinity as started"] = lambda port: [str(infinity), "v2", *common, "--port", str(port)]
    for size in ("32", "128"):
        found[f"infinity bf16, batch {size}"] = lambda port, size=size: [
            *start, "--dtype", "bfloat16", "--batch-size", size, "--port", str(port)
        ]  # fmt: skip
    blog = str(Path(__file__).with_name("blog_server.py"))
    found["blog server"] = lambda port: [str(peers), blog, folder, str(port)]
    return found


def in_process(embedder: LocalEmbedder) -> dict[str, float]:
    """Return what the same engine does without HTTP."""
    texts = documents()
    lengths = embedder.count_tokens(texts).astype(np.float64)
    tokens = float(lengths.sum())
    many = results.seconds(lambda: embedder.embed(texts, kind="document"), runs=5, warm=2)
    one = results.seconds(lambda: embedder.embed([QUERY], kind="query"), runs=500, warm=20)
    return {
        "tokens_per_s": tokens / min(many),
        "tokens_a_text": tokens / len(texts),
        "flops_a_token": flops_a_token(lengths),
        "gemm_gflops": gemm_limit(),
        **percentiles(one),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="the interpreter of an environment with infinity-emb and torch")
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    asked = parser.parse_args()
    embedder = LocalEmbedder()
    engine = in_process(embedder)
    rows: dict[str, Any] = {}
    quiet = {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    for name, command in servers(asked.peers, str(embedder.folder)).items():
        with running(command, **quiet) as port:
            rows[name] = measure(port, seconds=asked.seconds)
        print(name, json.dumps(rows[name], indent=1), flush=True)
    ours = rows["analect"]
    tokens_per_s = ours["32 documents, 8 clients"]["texts_per_s"] * engine["tokens_a_text"]
    figures = {
        "engine": engine,
        "rows": rows,
        "share_of_engine_tokens": tokens_per_s / engine["tokens_per_s"],
        "share_of_gemm_limit": tokens_per_s * engine["flops_a_token"] / (engine["gemm_gflops"] * 1e9),
        "short_ms_on_top_of_engine": ours["short, 1 client"]["p50_ms"] - engine["p50_ms"],
    }
    print(json.dumps({name: figures[name] for name in figures if name != "rows"}, indent=1))
    results.write("server", figures)


if __name__ == "__main__":
    main()
