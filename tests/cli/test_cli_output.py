"""What reaches a terminal, a pipe or a file: JSON that is JSON, text that cannot crash or steer, errors in a line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_running import Run
from rich.console import Console

from analect.cli import main, output
from analect.cli.output import one_line, snippet, write_json, write_table
from analect.cli.progress import AddProgressBar, Working, described
from analect.types import AddProgress

ODD = "Zürich 東京 \U0001f600"


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (1, None, "x")}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": [1, None, "x"]}}


def test_json_is_readable_in_utf8_and_safe_elsewhere(folder: Path, shell: Run) -> None:
    (folder / "a.md").write_text(f"# {ODD}\n\nApples.", encoding="utf-8")
    assert shell("add", "a.md").code == 0
    utf8 = shell("search", "apples", "--json", env={"PYTHONIOENCODING": "utf-8"})
    ascii_ = shell("search", "apples", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert ODD in utf8.out
    assert ascii_.out.isascii()
    assert utf8.json == ascii_.json


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_that_the_terminal_cannot_show_is_escaped(folder: Path, shell: Run, encoding: str) -> None:
    (folder / "a.md").write_text(f"# {ODD}\n\nApples are {ODD}.", encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    assert shell("add", "a.md", env=env).code == 0
    for args in (("search", "apples"), ("ask", "What are apples?")):
        ran = shell(*args, env={**env, "PYTHONIOENCODING": "ascii"})
        assert (ran.code, ran.err) == (0, "")
        assert "\\u6771" in ran.out


def test_control_characters_of_a_text_do_not_reach_the_terminal(folder: Path, analect: Run) -> None:
    (folder / "a.md").write_text("# Red \x1b[31m title\n\nApples \x1b]0;owned\x07 are green.", encoding="utf-8")
    assert analect("add", "a.md").code == 0
    for args in (("search", "apples"), ("ask", "What are apples?")):
        out = analect(*args).out
        assert "pples" in out
        assert not any(ord(char) < 32 and char != "\n" for char in out)


def test_snippet_fits_and_shows_the_words() -> None:
    text = "padding " * 40 + "the needle in the hay " + "after " * 40
    shown = snippet(text, query="a needle", width=60)
    assert shown.cell_len <= 60
    assert "needle" in shown.plain
    assert shown.plain.startswith("... ")
    assert shown.plain.endswith("...")
    assert [text[span.start : span.end] for text, span in ((shown.plain, each) for each in shown.spans)] == ["needle"]


@pytest.mark.parametrize(
    "text", ["", "short", "wörd " * 50, "東京" * 60, "x" * 500, "needle" + "x" * 300, "\n\n a\tb "]
)
@pytest.mark.parametrize("query", ["needle", "?", "a b", "x" * 500, "(["])
@pytest.mark.parametrize("width", [1, 10, 76])
def test_snippet_never_exceeds_the_width(text: str, query: str, width: int) -> None:
    assert snippet(text, query=query, width=width).cell_len <= max(width, 4)


def test_words_of_the_query_are_marked_on_a_terminal_only() -> None:
    def printed(*, terminal: bool) -> str:
        console, written = _screen(terminal=terminal)
        console.print(snippet("Snow is cleared", query="snow", width=70))
        return written.getvalue()

    assert "\x1b[" in printed(terminal=True)
    assert printed(terminal=False) == "Snow is cleared\n"


def test_markup_in_a_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.terminal().print("[bold]not markup[/bold] :smile: [1]")
    assert capsys.readouterr().out == "[bold]not markup[/bold] :smile: [1]\n"


def test_table_aligns_wide_letters(capsys: pytest.CaptureFixture[str]) -> None:
    write_table([("a", "1"), ("東京", "2")])
    assert capsys.readouterr().out == "a     1\n東京  2\n"


def test_one_line() -> None:
    assert one_line("a\n\tb\x00\x1b[0m  c ") == "a b[0m c"


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error(filled: Path) -> None:
    command = f"{sys.executable} -m analect search snow --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout in ("0\n", "141\n")  # `true` may be gone before or after the line is written


def test_a_closed_pipe_ends_quietly(filled: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "analect", "search", "snow"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error(filled: Path) -> None:
    command = f"{sys.executable} -m analect search snow > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def test_unexpected_errors_are_one_line(analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object = None) -> None:
        raise ZeroDivisionError("something\nodd")

    monkeypatch.setattr("analect.config.load_settings", broken)
    ran = analect("status")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "analect: ZeroDivisionError: something odd; set ANALECT_DEBUG=1 for the traceback\n"
    monkeypatch.setenv("ANALECT_DEBUG", "1")
    ran = analect("status")
    assert ran.err.startswith("Traceback (most recent call last)")
    assert ran.err.splitlines()[-1].startswith("analect: ZeroDivisionError")


def test_debug_shows_the_traceback_of_expected_errors_too(analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALECT_DEBUG", "1")
    assert "Traceback" in analect("status").err


def test_control_c(filled: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: object, *args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analect.corpus.Corpus.add", stopped)
    ran = analect("add", "docs")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "analect: stopped; what was embedded is kept, run it again to go on\n"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_control_c_in_a_process(folder: Path) -> None:
    (folder / "docs").mkdir()
    for number in range(30_000):
        (folder / "docs" / f"{number}.md").write_text(f"# {number}\n\nText {number}", encoding="utf-8")
    command = [sys.executable, "-m", "analect", "add", "docs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not (folder / ".analect" / "ledger.db").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    # CPython ends by the signal itself, which a shell reports as 130, when it came while a class was made by exec().
    assert process.returncode in (130, -signal.SIGINT)
    assert out == b""
    assert err.decode() == "analect: stopped; what was embedded is kept, run it again to go on\n"
    assert main(["status"]) == 0


def _screen(*, terminal: bool = True) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=120, _environ={}), written


def test_progress_is_shown_on_a_terminal_after_a_while() -> None:
    console, written = _screen()
    seconds = iter([0.0, 10.0])
    with AddProgressBar(console=console, delay=0.0, clock=lambda: next(seconds)) as bar:
        bar(AddProgress(documents=250, total=1000, embedded=600))
        time.sleep(0.3)
    assert "250/1,000 documents, 600 texts embedded, 60/s, 0:30 left" in written.getvalue()


@pytest.mark.parametrize(("terminal", "delay"), [(False, 0.0), (True, 30.0)])
def test_progress_is_silent_elsewhere_and_at_first(terminal: bool, delay: float) -> None:
    console, written = _screen(terminal=terminal)
    with AddProgressBar(console=console, delay=delay) as bar:
        bar(AddProgress(documents=1, total=2, embedded=1))
        time.sleep(0.1)
    assert written.getvalue() == ""


def test_progress_ends_with_an_error() -> None:
    console, written = _screen()
    with pytest.raises(ZeroDivisionError), Working("counting", console=console, delay=0.0):
        time.sleep(0.2)
        raise ZeroDivisionError
    assert "counting" in written.getvalue()


@pytest.mark.parametrize(
    ("progress", "seconds", "text"),
    [
        (AddProgress(0, 0, 0), 0.0, "0/0 documents"),
        (AddProgress(3, 2, 0), 1.0, "3/3 documents"),
        (AddProgress(10, 10, 5), 2.0, "10/10 documents, 5 texts embedded, 2/s"),
        (AddProgress(1, 121, 0), 1.0, "1/121 documents, 2:00 left"),
    ],
)
def test_progress_line(progress: AddProgress, seconds: float, text: str) -> None:
    assert described(progress, seconds=seconds) == text
