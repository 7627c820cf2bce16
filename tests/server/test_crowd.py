"""10,000 connections at once: those beyond the limit are refused in words, and the server stays what it was."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
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


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address and process id of a server whose connections may be silent for as long as the test takes."""
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "hashing")
    monkeypatch.setenv("ANALECT_SERVER_HEAD_SECONDS", "300")
    with (tmp_path / "err").open("w") as err:
        command = [sys.executable, "-m", "analect", "serve", "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=err)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not [line for line in (tmp_path / "err").read_text().splitlines() if not line.startswith('{"id":')]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="SKIPPED: memory is read from /proc, so on Linux")
def test_a_crowd_is_refused_politely(server: tuple[str, int]) -> None:
    url, process = server
    size = min(CROWD, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHERS)
    assert size >= LEAST, "a process may not have enough open files: raise its hard limit (ulimit -H -n)"
    until(lambda: ask(f"{url}/readyz")[0] == 200)
    before = resident(process)
    command = [sys.executable, Path(__file__).parent / "crowd.py", url.rpartition(":")[2], str(size)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
        assert crowd.stdin
        assert crowd.stdout
        assert int(crowd.stdout.readline()) == size
        until(lambda: ask(f"{url}/healthz")[0] == 200)  # they hold every place, and it is answered
        assert ask(f"{url}/v1/models") == (503, "1")
        crowd.stdin.write("tell\n")
        crowd.stdin.flush()
        answers = json.loads(crowd.stdout.readline())
    assert answers == {"200": PLACES, "503 retry-after": size - PLACES}
    assert resident(process) - before < GROWTH
    until(lambda: ask(f"{url}/v1/models")[0] == 200)
    assert ask(f"{url}/embeddings", b'{"input": "a duck"}')[0] == 200
    print(f"{size:,} connections: {before:,} kB, then {resident(process):,} kB")
