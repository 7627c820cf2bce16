"""5,000 requests of mixed sizes: every answer is right, and memory stays where it was after the warm-up.

`make soak` sends 200,000: `SOAK=200000 pytest tests/server/test_soak.py`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
from serving_tests import resident

from contracts.embedder import texts

REQUESTS = int(os.environ.get("SOAK", "5000"))
CLIENTS = 16
GROWTH = 1.10


def soak(port: int, *, requests: int, seed: int) -> None:
    chance = random.Random(seed)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(requests):
        count = chance.choices([1, 4, 32], weights=[90, 9, 1])[0]
        how = chance.choice(["float", "base64"])
        body = {
            "input": texts(count, seed=seed * requests + number),
            "model": "all-MiniLM-L6-v2",
            "encoding_format": how,
        }
        connection.request("POST", "/v1/embeddings", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        assert [each["index"] for each in found["data"]] == list(range(count))
    connection.close()


@pytest.mark.slow
@pytest.mark.usefixtures("local_embedder")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="SKIPPED: memory is read from /proc, so on Linux")
def test_memory_stays_where_it_was(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as err:
        command = [sys.executable, "-m", "analect", "serve", "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=err)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split()[0])
        each = REQUESTS // CLIENTS

        def run(share: int, seed: int) -> None:
            with ThreadPoolExecutor(CLIENTS) as callers:
                for done in [callers.submit(soak, port, requests=share, seed=seed + n) for n in range(CLIENTS)]:
                    done.result()

        run(each // 2, 1000)  # every shape of batch that comes often has been seen by then
        before = resident(process.pid)
        run(each - each // 2, 5000)
        after = resident(process.pid)
        assert after <= before * GROWTH, f"{before:,} kB became {after:,} kB"
        print(f"{REQUESTS:,} requests: {before:,} kB, then {after:,} kB")
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
