"""The log of a server whose stderr nobody reads, or that has none: the answers are what they were."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from serving_tests import Server, until

from analect.server.log import Log

SERVE = [sys.executable, "-m", "analect", "serve", "--port", "0"]
REQUESTS = 1500  # their lines are more than a pipe holds


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "hashing")
    monkeypatch.chdir(tmp_path)
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def check_it_serves_and_ends(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    url = process.stdout.readline().split(" at ")[1].split()[0]
    for _ in range(REQUESTS):
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert answer.status == 200
    process.terminate()
    assert process.wait(20) == 0


def test_a_pipe_that_is_full(started: list[subprocess.Popen[str]]) -> None:
    reading, writing = os.pipe()
    started.append(subprocess.Popen(SERVE, text=True, stdout=subprocess.PIPE, stderr=writing))
    os.close(writing)
    check_it_serves_and_ends(started[0])
    os.close(reading)


def test_a_pipe_that_is_broken(started: list[subprocess.Popen[str]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    started.append(subprocess.Popen(SERVE, text=True, stdout=subprocess.PIPE, stderr=writing))
    os.close(writing)
    check_it_serves_and_ends(started[0])


def test_no_stderr_at_all(started: list[subprocess.Popen[str]]) -> None:
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *SERVE]
    started.append(subprocess.Popen(closing, text=True, stdout=subprocess.PIPE))
    check_it_serves_and_ends(started[0])


def test_no_stdout_at_all(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (tmp_path / "err").open("w") as err:
        serve = [*SERVE[:-1], str(port)]  # it cannot say which port it took
        started.append(subprocess.Popen(["sh", "-c", 'exec "$@" >&-', "sh", *serve], text=True, stderr=err))

    def answers() -> bool:
        assert started[0].poll() is None, (tmp_path / "err").read_text()
        with suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            return bool(answer.status == 200)
        return False

    until(answers)
    started[0].terminate()
    assert started[0].wait(20) == 0


def test_what_is_left_out_is_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    count = 30_000
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as stream:
        log = Log(stream)
        for number in range(count):  # nobody reads meanwhile
            log.write({"number": number})
        text, lines, lost = b"", [], 0
        end = time.monotonic() + 20
        while len(lines) + lost < count:
            assert time.monotonic() < end
            text += reader.read(1 << 20) or b""
            found = [json.loads(line) for line in text.split(b"\n")[:-1]]
            lines = [line["number"] for line in found if "number" in line]
            lost = sum(line["lines_lost"] for line in found if "lines_lost" in line)
            time.sleep(0.05)
        log.close()
    assert len(lines) + lost == count
    assert lines == sorted(lines)
    assert 10_000 <= len(lines) < count


def test_libraries_say_where_and_not_what(serve: Callable[..., Server]) -> None:
    server = serve()
    try:
        raise ValueError("the badger's secret")
    except ValueError:
        logging.getLogger("some.library").exception("a task failed: %s", "the badger's secret")
    until(lambda: bool(server.lines))
    (line,) = server.lines
    assert (line["logger"], line["error"]) == ("some.library", "ValueError")
    assert "badger" not in server.log.getvalue()
