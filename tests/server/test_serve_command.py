"""`analect serve` as a process: where it may listen, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving_tests import until

Process = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `analect serve` with the embedder that needs no model."""
    started: list[Process] = []

    def run(*args: str, **environment: str) -> Process:
        command = [sys.executable, "-m", "analect", "serve", "--port", "0", *args]
        given = {**os.environ, "ANALECT_EMBEDDER_USE": "hashing", **environment}
        with (tmp_path / "err").open("w") as err:  # a pipe that nobody reads would fill, and stop the server
            process = subprocess.Popen(command, cwd=tmp_path, env=given, text=True, stdout=subprocess.PIPE, stderr=err)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: Process) -> str:
    assert process.stdout is not None
    said = re.search(r"http://\S+", process.stdout.readline())
    assert said, process.communicate()
    return said[0]


def ask(url: str, body: Any = None, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_sigterm_loses_no_answer(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start()
    url = url_of(process)
    until(lambda: ask(f"{url}/readyz") == 200)
    body = {"input": [f"{number} " + "word " * 200 for number in range(250)], "model": "hashing/256"}
    with ThreadPoolExecutor(6) as callers:
        held = [callers.submit(ask, f"{url}/v1/embeddings", body) for _ in range(6)]
        until(lambda: "analect_requests_in_flight 7" in urllib.request.urlopen(f"{url}/metrics").read().decode())
        process.send_signal(signal.SIGTERM)
        assert [each.result() for each in held] == [200] * 6
    assert process.wait(30) == 0
    log = (tmp_path / "err").read_text()
    assert sum('"route":"/v1/embeddings"' in line and '"status":200' in line for line in log.splitlines()) == 6


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(start: Callable[..., Process], sign: signal.Signals) -> None:
    process = start()
    url = url_of(process)
    until(lambda: ask(f"{url}/readyz") == 200)
    process.send_signal(sign)
    assert process.wait(10) == 0


def test_beyond_this_machine_it_wants_keys(start: Callable[..., Process], tmp_path: Path) -> None:
    assert start("--host", "0.0.0.0").wait(30) == 2
    err = (tmp_path / "err").read_text()
    assert err.count("\n") == 1
    assert "ANALECT_API_KEYS" in err
    assert "--allow-anonymous" in err
    assert start(ANALECT_API_KEYS=" , ").wait(30) == 2
    assert "holds no key" in (tmp_path / "err").read_text()


def test_with_keys_it_listens_anywhere(start: Callable[..., Process]) -> None:
    url = url_of(start("--host", "0.0.0.0", ANALECT_API_KEYS="one, two")).replace("0.0.0.0", "127.0.0.1")
    body = {"input": "x", "model": "hashing/256"}
    assert ask(f"{url}/v1/embeddings", body) == 401
    assert ask(f"{url}/v1/embeddings", body, authorization="Bearer two") == 200


def test_anonymous_is_said_aloud(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start("--host", "0.0.0.0", "--allow-anonymous")
    url = url_of(process).replace("0.0.0.0", "127.0.0.1")
    assert ask(f"{url}/v1/models", host="any.example") == 200
    assert "no API keys: whoever reaches 0.0.0.0" in (tmp_path / "err").read_text()


def test_a_port_that_is_taken_is_one_line(start: Callable[..., Process], tmp_path: Path) -> None:
    port = url_of(start()).rpartition(":")[2]
    assert start("--port", port).wait(30) == 2
    err = (tmp_path / "err").read_text()
    assert err.splitlines()[-1].startswith(f"analect: cannot listen on 127.0.0.1:{port}")
