"""Many processes make the same new file in the same moment, and all of them can use it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

FILES = 40
OPEN = """
import sys, time
from analect.ledger import Ledger
from analect.stores.sqlite import SqliteStore
what, folder, start = sys.argv[1], sys.argv[2], float(sys.argv[3])
for number in range(int(sys.argv[4])):
    time.sleep(max(0.0, start + 0.02 * number - time.time()))
    if what == "ledger":
        opened = Ledger(path=f"{folder}/{number}.db")
        opened.space("m", kind="document")
    else:
        opened = SqliteStore(path=f"{folder}/{number}.db")
        opened.prepare(embedder_id="m", dim=3)
    opened.close()
"""


@pytest.mark.parametrize("what", ["ledger", "store"])
def test_processes_make_a_new_file_at_once(tmp_path: Path, what: str) -> None:
    arguments = [what, str(tmp_path), str(time.time() + 1.0), str(FILES)]
    command = [sys.executable, "-c", OPEN, *arguments]
    together = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in together]
    assert [process.returncode for process in together] == [0] * 4, errors
