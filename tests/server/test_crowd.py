"""10,000 connections at once: those beyond the limit are refused in words, and the server stays what it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving_tests import resident, until

resource = pytest.importorskip("resource", reason="SKIPPED: open files are limited by rlimit, so not on Windows")

CROWD, LEAST = 10_000, 3_000
PLACES = 1024
GROWTH = 64_000  # kB: a thousand connections and their buffers; ten thousand that are kept take more
OTHERS = 200  # files that a process has open besides


def ask(url: str, body: bytes | None = None) -> tuple[int, str | None]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return found.status, found.headers["retry-after"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["retry-after"]


@contextmanager
def server(folder: Path, *, files: int | None = None) -> Iterator[tuple[str, int]]:
    """Run a server, and give its address and process id. Its connections may be silent for as long as a test takes."""
    serve = [sys.executable, "-m", "analect", "serve", "--port", "0"]
    fewer = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
    env = {**os.environ, "ANALECT_EMBEDDER_USE": "hashing", "ANALECT_SERVER_HEAD_SECONDS": "300"}
    with (folder / "err").open("w") as err:
        process = subprocess.Popen([*fewer, *serve], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=err)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split()[0]
        until(lambda: ask(f"{url}/readyz")[0] == 200)
        yield url, process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not [line for line in (folder / "err").read_text().splitlines() if not line.startswith('{"id":')]


@contextmanager
def crowd(url: str, *, size: int) -> Iterator[Callable[[], Counter[str]]]:
    """Hold so many connections, and give what asks each and tells their answers."""
    command = [sys.executable, Path(__file__).parent / "crowd.py", url.rpartition(":")[2], str(size)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout
        assert int(stdout.readline()) == size

        def answers() -> Counter[str]:
            stdin.write("tell\n")
            stdin.flush()
            return Counter(json.loads(stdout.readline()))

        yield answers


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="SKIPPED: memory is read from /proc, so on Linux")
def test_a_crowd_is_refused_politely(tmp_path: Path) -> None:
    size = min(CROWD, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHERS)
    assert size >= LEAST, "a process may not have enough open files: raise its hard limit (ulimit -H -n)"
    with server(tmp_path) as (url, process):
        before = resident(process)
        with crowd(url, size=size) as answers:
            until(lambda: ask(f"{url}/healthz")[0] == 200)  # they hold every place, and it is answered
            assert ask(f"{url}/v1/models") == (503, "1")
            assert answers() == {"200": PLACES, "503 retry-after": size - PLACES}
        assert resident(process) - before < GROWTH
        until(lambda: ask(f"{url}/v1/models")[0] == 200)
        assert ask(f"{url}/embeddings", b'{"input": "a duck"}')[0] == 200
        print(f"{size:,} connections: {before:,} kB, then {resident(process):,} kB")


def test_with_few_open_files_the_limit_is_lower(tmp_path: Path) -> None:
    with server(tmp_path, files=300) as (url, _), crowd(url, size=1000) as answers:
        until(lambda: ask(f"{url}/healthz")[0] == 200)
        assert answers() == {"200": 150, "503 retry-after": 850}
