"""Embeddings over HTTP beside infinity and the blog server: same model, same machine, one run.

Every server is there all the time, and all but the one that is measured are held still. They take turns, so that what
else the machine does hits all alike.

Peers need an environment of their own (`pip install 'infinity-emb[server,torch]'`); name its interpreter:

    python benchmarks/server.py --peers /path/to/env/bin/python [--seconds 3]

A peer that is not there is left out, loudly. Writes `benchmarks/results/server-<commit>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
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
TURNS = 3
SHORT, SHORTS, MANY, BESIDE = (
    "short, 1 client",
    "short, 32 clients",
    "32 documents, 8 clients",
    "short beside 256-text batches",
)
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


@dataclass
class Load:
    """What the turns of one load on one server took."""

    took: list[float] = field(default_factory=list)  # seconds of each request
    wall: float = 0.0
    client: float = 0.0  # CPU seconds of the client itself

    def figures(self) -> dict[str, float]:
        count = len(self.took)
        client = {"client_ms_a_request": self.client / count * 1e3}
        return {"requests_per_s": count / self.wall, **client, **percentiles(self.took)}


def put(total: Load, requests: list[bytes], *, port: int, clients: int, seconds: float) -> None:
    """Keep so many requests in flight for so long."""
    selector, began = selectors.DefaultSelector(), {}
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
            total.took.append(now - began[connection])
            if now - start < seconds:
                began[connection] = now
                connection.sendall(next(following))
            else:
                selector.unregister(connection)
                connection.close()
    total.wall += time.perf_counter() - start
    total.client += time.process_time() - cpu


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


def take_turn(loads: dict[str, Load], *, port: int, seconds: float) -> None:
    """Put every load on a server."""
    texts = documents()
    query, batches = [request(QUERY)], [request(texts[at : at + 32]) for at in range(0, 256, 32)]
    put(loads[SHORT], query, port=port, clients=1, seconds=seconds)
    put(loads[SHORTS], query, port=port, clients=32, seconds=seconds)
    put(loads[MANY], batches, port=port, clients=8, seconds=seconds)
    with beside(port, request(texts)):
        put(loads[BESIDE], query, port=port, clients=1, seconds=seconds)


def no_loads() -> dict[str, Load]:
    return {name: Load() for name in (SHORT, SHORTS, MANY, BESIDE)}


def in_figures(loads: dict[str, Load]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: load.figures() for name, load in loads.items()}
    figures[MANY]["texts_per_s"] = figures[MANY]["requests_per_s"] * 32
    return figures


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def running(command: Callable[[int], list[str]], **environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server until it is warm, hold it still, and end it, by its own number, at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        given = {**os.environ, **environment}
        process = subprocess.Popen(command(port), cwd=folder, env=given, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            take_turn(no_loads(), port=port, seconds=1)
            process.send_signal(signal.SIGSTOP)
            yield port, process
        finally:
            process.send_signal(signal.SIGCONT)
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


class Engine:
    """The same engine without HTTP."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self._embedder = embedder
        self._texts = documents()
        self._many: list[float] = []
        self._one: list[float] = []

    def take_turn(self) -> None:
        """Embed the documents and the query again and again."""
        self._many += results.seconds(lambda: self._embedder.embed(self._texts, kind="document"), runs=3, warm=2)
        self._one += results.seconds(lambda: self._embedder.embed([QUERY], kind="query"), runs=300, warm=20)

    def figures(self) -> dict[str, float]:
        lengths = self._embedder.count_tokens(self._texts).astype(np.float64)
        return {
            "tokens_per_s": float(lengths.sum()) / statistics.median(self._many),
            "tokens_a_text": float(lengths.mean()),
            "flops_a_token": flops_a_token(lengths),
            "gemm_gflops": gemm_limit(),
            **percentiles(self._one),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="the interpreter of an environment with infinity-emb and torch")
    parser.add_argument("--seconds", type=float, default=3, help="of each load, in each turn")
    asked = parser.parse_args()
    embedder = LocalEmbedder()
    engine = Engine(embedder)
    quiet = {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    with ExitStack() as stack:
        commands = servers(asked.peers, str(embedder.folder))
        field = {name: stack.enter_context(running(command, **quiet)) for name, command in commands.items()}
        loads = {name: no_loads() for name in field}
        for _ in range(TURNS):
            engine.take_turn()
            for name, (port, process) in field.items():
                process.send_signal(signal.SIGCONT)
                take_turn(loads[name], port=port, seconds=asked.seconds)
                process.send_signal(signal.SIGSTOP)
    rows = {name: in_figures(each) for name, each in loads.items()}
    report(rows, engine.figures())


def report(rows: dict[str, Any], engine: dict[str, float]) -> None:
    ours, coded = rows["analect"], rows["analect int8"]
    for name, row in rows.items():
        one, texts, slow = row[SHORT]["p50_ms"], row[MANY]["texts_per_s"], row[BESIDE]["p99_ms"]
        rate = row[SHORTS]["requests_per_s"]
        print(
            f"{name:24} one client {one:7.2f} ms ({one / ours[SHORT]['p50_ms']:5.2f})   "
            f"32 clients {rate:7.1f}/s ({ours[SHORTS]['requests_per_s'] / rate:5.2f})   documents {texts:6.1f}/s "
            f"({ours[MANY]['texts_per_s'] / texts:5.2f}, in int8 {coded[MANY]['texts_per_s'] / texts:5.2f})   "
            f"p99 beside batches {slow:7.2f} ms ({slow / one:5.2f} of one client's p50)"
        )
    tokens_per_s = ours[MANY]["texts_per_s"] * engine["tokens_a_text"]
    figures = {
        "engine": engine,
        "rows": rows,
        "share_of_engine_tokens": tokens_per_s / engine["tokens_per_s"],
        "share_of_gemm_limit": tokens_per_s * engine["flops_a_token"] / (engine["gemm_gflops"] * 1e9),
        "short_ms_on_top_of_engine": ours[SHORT]["p50_ms"] - engine["p50_ms"],
    }
    print(json.dumps({name: figures[name] for name in figures if name != "rows"}, indent=1))
    results.write("server", figures)


if __name__ == "__main__":
    main()
