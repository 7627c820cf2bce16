"""What a paid, limited API costs in time and refusals, ours beside others' rules: `python benchmarks/remote.py`.

All clients use the same fake service (`analect.fakes.azure_openai`, S0-like: 6 requests for 1,000 tokens a minute), in
a process of its own, in one run. A minute of the quota lasts `--minute` seconds; what the others' rules say in seconds
is scaled alike. Their rules are written from their descriptions, not from their code.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import openai
import results_file as results

from analect.embedders.openai import OpenAIEmbedder
from analect.governor import Governor
from analect.ledger import Ledger, LedgerEmbedder

MODEL = "text-embedding-3-small"
TPM = 60_000
WINDOWS = (1, 5)  # the second to the fifth


@contextmanager
def fake(*options: object) -> Iterator[str]:
    """Lend the address of a fake service in a process of its own."""
    command = [sys.executable, "-m", "analect.fakes.azure_openai", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_fake/stats") as reply:
        return dict(json.load(reply))


def texts(first: int, number: int) -> list[str]:
    words = "the garden was quiet and the tea was good "
    return [f"review {n}: {words * (2 + n % 9)}" for n in range(first, first + number)]


def ours(url: str, *, folder: Path, minute: float) -> OpenAIEmbedder:
    embedder = OpenAIEmbedder(endpoint=f"{url}/v1", dimensions=64)
    door = embedder._connection.door("text-embedding-3-small")
    embedder._connection._governors[door.id] = Governor(door.id, path=folder / "quota.db", minute=minute)
    return embedder


def ingest(url: str, folder: Path, *, minute: float, first: int) -> None:
    """Embed without end, through the ledger."""
    wrapped = LedgerEmbedder(ours(url, folder=folder, minute=minute), ledger=Ledger(path=folder / "ledger.db"))
    for start in count(first, 4000):
        wrapped.embed(texts(start, 4000), kind="document")


def products() -> dict[str, float]:
    """Return the seconds of 295 products, ours and one text a call with a client each, as the lab does it."""
    rows = json.loads((results.DATA / "products.json").read_text(encoding="utf-8"))
    given = [f"{row['name']} {row['description']}" for row in rows]
    with fake("--latency-ms", 150, "--tpm", 240_000, "--rpm", 1440) as url, tempfile.TemporaryDirectory() as folder:
        with closing(OpenAIEmbedder(endpoint=f"{url}/v1")) as embedder:
            embedder.count_tokens(["start"])
            embedder._connection.open("text-embedding-3-small")
            start = time.perf_counter()
            LedgerEmbedder(embedder, ledger=Ledger(path=Path(folder) / "l.db")).embed(given, kind="document")
            seconds = time.perf_counter() - start
        requests = stats(url)["requests"]
        sample = given[:40]
        start = time.perf_counter()
        for text in sample:
            with openai.OpenAI(base_url=f"{url}/v1") as client:
                client.embeddings.create(model=MODEL, input=text)
        lab = (time.perf_counter() - start) * len(given) / len(sample)
    return {"seconds": seconds, "requests": requests, "lab_seconds_from_40": lab, "ratio": lab / seconds}


def sdk_alone(url: str, minute: float) -> None:  # noqa: ARG001  # the service tells it how long to wait
    """Batches of 20 from 8 threads, the client's own retries (10 of them)."""
    numbers = count(0, 20)

    def work() -> None:
        with openai.OpenAI(base_url=f"{url}/v1", max_retries=10) as client:
            for start in numbers:
                try:
                    client.embeddings.create(model=MODEL, dimensions=64, input=texts(start, 20))
                except openai.OpenAIError:
                    continue

    threads(work, 8)


def per_text(url: str, minute: float) -> None:
    """One text a call from 16 threads; random exponential waits of 1 to 60 s, six tries."""
    numbers = count()
    client = openai.OpenAI(base_url=f"{url}/v1", max_retries=0)

    def work() -> None:
        for n in numbers:
            for attempt in range(6):
                try:
                    client.embeddings.create(model=MODEL, dimensions=64, input=texts(n, 1))
                    break
                except openai.OpenAIError:
                    time.sleep(random.uniform(1, min(60, 2 ** (attempt + 1))) * minute / 60)

    threads(work, 16)


def cookbook(url: str, minute: float) -> None:
    """One text a call; buckets of requests and tokens that fill steadily; 15 s of rest after a refusal, five tries."""
    client = openai.OpenAI(base_url=f"{url}/v1", max_retries=0)
    lock, numbers = threading.Lock(), count()
    state = {"requests": TPM * 0.006, "tokens": float(TPM), "at": time.monotonic(), "rest": 0.0}

    def take(tokens: float) -> None:
        while True:
            with lock:
                now = time.monotonic()
                passed, state["at"] = (now - state["at"]) / minute, now
                state["requests"] = min(state["requests"] + passed * TPM * 0.006, TPM * 0.006)
                state["tokens"] = min(state["tokens"] + passed * TPM, TPM)
                if now >= state["rest"] and state["requests"] >= 1 and state["tokens"] >= tokens:
                    state["requests"] -= 1
                    state["tokens"] -= tokens
                    return
            time.sleep(0.005)

    def work() -> None:
        for n in numbers:
            (text,) = texts(n, 1)
            for _ in range(5):
                take(len(text) / 4)
                try:
                    client.embeddings.create(model=MODEL, dimensions=64, input=text)
                    break
                except openai.OpenAIError:
                    state["rest"] = time.monotonic() + 15 * minute / 60

    threads(work, 16)


def threads(work: Callable[[], None], number: int) -> None:
    for _ in range(number):
        threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()


CLIENTS = {"sdk": sdk_alone, "per_text": per_text, "cookbook": cookbook}


def quota(minute: float) -> dict[str, dict[str, float]]:
    """Return, for each client, the share of the quota used in windows 2 to 5 and the share of requests refused."""
    found = {}
    for name in ("ours", *CLIENTS):
        limits = ("--tpm", TPM, "--rpm", int(TPM * 0.006), "--minute", minute, "--latency-ms", 150 * minute / 60)
        with (
            fake(*limits) as url,
            tempfile.TemporaryDirectory() as folder,
            client(name, url, folder=folder, minute=minute),
        ):
            time.sleep(1.5)
            while len(stats(url)["windows"]) <= WINDOWS[1]:
                time.sleep(0.1)
            windows = stats(url)["windows"][slice(*WINDOWS)]
        requests = sum(each["requests"] for each in windows)
        used = sum(each["tokens"] for each in windows) / (TPM * len(windows))
        found[name] = {"used": used, "refused": sum(each["refused"] for each in windows) / max(requests, 1)}
        print(f"quota, {name:9} used {used:6.1%}  refused {found[name]['refused']:6.2%} of {requests}")
    return found


@contextmanager
def client(name: str, url: str, *, folder: str, minute: float, first: int = 0) -> Iterator[None]:
    """Run a client in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--client", name, url, folder, str(minute), str(first)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def shared(minute: float) -> dict[str, float]:
    """Return how two processes share the quota, and what a query takes beside them and alone."""
    limits = ("--tpm", TPM, "--rpm", int(TPM * 0.006), "--minute", minute, "--latency-ms", 150)
    with fake(*limits) as url, tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with closing(ours(url, folder=path, minute=minute)) as asking:
            idle = [asked(asking, f"idle {n}") for n in range(20)]
            one = client("ours", url, folder=folder, minute=minute)
            other = client("ours", url, folder=folder, minute=minute, first=10**6)
            with one, other:
                time.sleep(1.5 * minute)
                busy = []
                before = len(stats(url)["windows"])
                while len(stats(url)["windows"]) < before + 4:
                    busy.append(asked(asking, f"busy {len(busy)}"))
                    time.sleep(minute / 40)
                windows = stats(url)["windows"][before : before + 3]
        ledger = Ledger(path=path / "ledger.db")
        space = ledger.space(f"{MODEL}/64", kind="document")
        from analect.ledger import hash_of

        halves = [
            sum(row.tokens for row in ledger.read(space, [hash_of(each) for each in texts(first, 20_000)]).values())
            for first in (0, 10**6)
        ]
    p99 = [sorted(each)[int(len(each) * 0.99) - 1] for each in (idle, busy)]
    used = sum(each["tokens"] for each in windows) / (TPM * len(windows))
    return {
        "used": used,
        "smaller_share": min(halves) / max(sum(halves), 1),
        "query_p99_idle_ms": p99[0] * 1000,
        "query_p99_busy_ms": p99[1] * 1000,
        "queries": len(busy),
    }


def asked(embedder: OpenAIEmbedder, text: str) -> float:
    start = time.perf_counter()
    embedder.embed([text], kind="query")
    return time.perf_counter() - start


def overhead() -> dict[str, float]:
    """Return the CPU milliseconds that a text costs this process: 4,096 texts of 1,536 dimensions into the ledger."""
    with fake() as url, tempfile.TemporaryDirectory() as folder:  # noqa: SIM117
        with closing(OpenAIEmbedder(endpoint=f"{url}/v1")) as embedder:
            wrapped = LedgerEmbedder(embedder, ledger=Ledger(path=Path(folder) / "l.db"))
            wrapped.embed(["start"], kind="document")
            start = time.process_time()
            wrapped.embed(texts(0, 4096), kind="document")
            return {"cpu_ms_a_text": (time.process_time() - start) * 1000 / 4096}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minute", type=float, default=8.0, help="seconds that a minute of the quota lasts")
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in ("AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL"):
        os.environ.pop(name, None)
    os.environ["OPENAI_API_KEY"] = "fake-key"
    if given.client:
        name, url, folder, minute, first = given.client
        if name == "ours":
            ingest(url, Path(folder), minute=float(minute), first=int(first))
        CLIENTS[name](url, float(minute))
    figures: dict[str, Any] = {"minute": given.minute}
    for name, measure in (("products", products), ("overhead", overhead)):
        figures[name] = measure()
        print(name, {key: round(value, 3) for key, value in figures[name].items()})
    figures["quota"] = quota(given.minute)
    figures["shared"] = shared(given.minute)
    print("shared", {key: round(value, 3) for key, value in figures["shared"].items()})
    results.write("remote", figures)


if __name__ == "__main__":
    main()
