"""Every example of README and docs is run, and prints what the page says it prints.

A `console` block is run by a shell: lines after `$ ` are commands, the lines below what they print, `...` stands for
anything. A `python` block is run as it is; a comment `# prints: …` is compared with what it prints, in order. The
examples of one page share a folder that holds the sample corpus (`handbook/`, `plants.csv`). `sh` blocks are commands
that CI runs elsewhere, and only those.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analect
from analect.embedders.local import LocalEmbedder

ROOT = Path(__file__).parent.parent
SAMPLE = Path(analect.__file__).parent / "sample"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL_LINES = re.compile(r"^(pip install|make |python -m pip|git clone|cd |#|$)")
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(SAMPLE / "handbook", tmp_path / "handbook")
    shutil.copy(SAMPLE / "plants.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def check(page: Path, expected: str, got: str, *, what: str) -> None:
    # A line of three dots stands for any lines, at the end as well.
    wanted = expected.strip("\n").replace("<BLANKLINE>", "")
    assert doctest.OutputChecker().check_output(wanted + "\n", got.strip("\n") + "\n", LOOSE), (
        f"{page.name}: {what}\n--- the page says\n{expected}\n--- it printed\n{got}"
    )


def run_console(page: Path, text: str) -> None:
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = step.splitlines(keepends=True)
        size = next(number for number, line in enumerate(lines, start=1) if not line.rstrip("\n").endswith("\\"))
        command, expected = "".join(lines[:size]).strip(), "".join(lines[size:])
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
        check(page, expected, done.stdout + done.stderr, what=f"$ {command}")


def run_python(page: Path, text: str, *, names: dict[str, object]) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, str(page), "exec"), names)
    expected = "".join(f"{line}\n" for line in re.findall(r"# prints: (.*)", text))
    check(page, expected, printed.getvalue(), what=text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path, folder: Path, local_embedder: LocalEmbedder) -> None:
    names: dict[str, object] = {"__name__": "example"}
    for kind, text in blocks(page):
        if kind == "console":
            run_console(page, text)
        elif kind == "python":
            run_python(page, text, names=names)
        elif kind == "sh":
            assert [line for line in text.splitlines() if not SHELL_LINES.match(line)] == []
        else:
            assert kind in ("toml", "text", "json", "sql"), f"{page.name}: a block of kind {kind!r} is not checked"


def test_the_help_in_the_reference_is_that_of_the_commands() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "reference"))
    try:
        import write_cli
    finally:
        sys.path.pop(0)
    page = write_cli.PAGE.read_text(encoding="utf-8")
    assert page == write_cli.page_with_help(page), "run: python docs/reference/write_cli.py"


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not target.startswith(("http:", "https:", "mailto:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_no_page_names_a_registry() -> None:
    """No registry host anywhere in the repository: pins are versions only."""
    hosts = re.compile(r"(pypi\.|pythonhosted|registry\.npmjs|files\.pyth)" + r"(org|com)?")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="replace")), name
