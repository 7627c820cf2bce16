"""`analect serve` on a read-only file system, as a container with `--read-only` has: one folder may be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_tests import until

# In a mount namespace of its own: nothing outside sees it, and it ends with the process.
READ_ONLY = """
set -e
mount --make-rprivate /
for place in $(cut -d' ' -f5 /proc/self/mountinfo | grep -Ev '^/(proc|sys|dev)(/|$)' | sort -u); do
  mount -o remount,bind,ro "$place"
done
mount -t tmpfs -o size=64m tmpfs "$1"
touch "$2/probe" 2>/dev/null && { echo "$2 can be written" >&2; exit 9; }
cd "$1"
shift 2
exec "$@"
"""


def own_mounts() -> list[str]:
    """Return the command that runs another with mounts of its own; skips where that cannot be."""
    unshare = shutil.which("unshare")
    if unshare:
        command = [unshare, *(["--map-root-user"] if os.geteuid() else []), "--mount"]
        if subprocess.run([*command, "mount", "--make-rprivate", "/"], capture_output=True).returncode == 0:
            return command
    pytest.skip("SKIPPED: needs unshare (Debian: apt-get install util-linux) and the right to mount: run as root")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    serve = [sys.executable, "-m", "analect", "serve", "--port", "0"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANALECT_", "PYTHON", "TMP"))}
    env |= {"HOME": str(elsewhere), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    env |= {"ANALECT_CORPUS": str(data / "corpus.db"), "ANALECT_LEDGER": str(data / "ledger.db")}
    command = [*own_mounts(), "sh", "-c", READ_ONLY, "sh", str(data), str(elsewhere), *serve]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=err)
    yield process
    process.kill()
    process.communicate()


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=30
        ) as found:
            return found.status, json.loads(found.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.usefixtures("local_embedder")
def test_one_folder_to_write_to_is_enough(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout
    said = process.stdout.readline()
    assert " at http" in said, (tmp_path / "err").read_text()
    url = said.split(" at ")[1].split()[0]
    until(lambda: ask(f"{url}/readyz")[0] == 200)
    assert len(ask(f"{url}/embeddings", {"input": "The food was delicious and the waiter..."})[1]) == 384
    documents = {"documents": [{"id": "pond", "text": "Ducks live on the pond behind the mill."}]}
    assert ask(f"{url}/v1/documents", documents)[1]["added"] == 1
    assert ask(f"{url}/v1/search", {"query": "where are the ducks?"})[1]["hits"][0]["document_id"] == "pond"
    assert ask(f"{url}/v1/ask", {"question": "Where do ducks live?"})[0] == 200
    process.terminate()
    assert process.wait(20) == 0
    assert not list((tmp_path / "data").iterdir())  # what was written was in the process's own mount
    log = [json.loads(line) for line in (tmp_path / "err").read_text().splitlines()]
    assert {line["status"] for line in log} <= {200, 503}
    assert not [line for line in log if "error" in line]
