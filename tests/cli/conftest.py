"""The command line, run in this process where that is enough and as a process of its own where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_running import GUIDE, PLANTS, Ran, Run

from analect.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment whose one setting is the embedder that needs no model."""
    for name in [name for name in os.environ if name.startswith("ANALECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "hashing")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def analect(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def run(*args: object) -> Ran:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def shell(folder: Path) -> Run:
    """Run the command line as a process, as a user does."""

    def run(*args: object, env: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()) -> Ran:
        command = [*prefix, sys.executable, "-m", "analect", *map(str, args)]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, check=False, timeout=120
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def filled(folder: Path, analect: Run) -> Path:
    """A working directory with `docs/guide.md` and `plants.csv`, both in the corpus."""
    (folder / "docs").mkdir()
    (folder / "docs" / "guide.md").write_text(GUIDE, encoding="utf-8")
    (folder / "plants.csv").write_text(PLANTS, encoding="utf-8")
    ran = analect("add", "docs", "plants.csv")
    assert (ran.code, ran.err) == (0, ""), ran
    return folder
