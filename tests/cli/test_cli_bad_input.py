"""Bad input: one line on stderr that says what is wrong, the right exit code, and a corpus that has what it had."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_running import Run

_LINE = "x" * (200 << 20)


@dataclass(frozen=True)
class Bad:
    """Something wrong: what to lay out, what to run, how it ends, and what the one line on stderr must say."""

    name: str
    args: tuple[str, ...]
    code: int
    says: str
    files: Callable[[Path], object] = lambda folder: None
    env: tuple[tuple[str, str], ...] = ()


def _text(path: str, content: str) -> Callable[[Path], object]:
    return _bytes(path, content.encode("utf-8"))


def _bytes(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_bytes(content)


def _newer_schema(folder: Path) -> None:
    shutil.copy(folder / ".analect" / "corpus.db", folder / "new.db")
    db = sqlite3.connect(folder / "new.db")
    db.execute("PRAGMA user_version = 999")
    db.close()


def _other_database(folder: Path) -> None:
    db = sqlite3.connect(folder / "other.db")
    db.execute("CREATE TABLE shop (name TEXT)")
    db.close()


_RAGGED = "id,name\nr1,Ash\nr2,Beech,extra\nr3,Cedar\n"
_TWICE = "sku,name\na,Ash\na,Beech\n"

# fmt: off
CASES = [
    # What is added.
    Bad("missing path", ("add", "no-such-folder"), 2, r"no file or folder '.*no-such-folder'"),
    Bad("missing path beside one that is there", ("add", "docs", "gone.md"), 2, r"no file or folder '.*gone\.md'"),
    Bad("glob without a match", ("add", "*.nothing"), 2, r"no file matches '.*\*\.nothing'"),
    Bad("empty path", ("add", ""), 2, r"names nothing to read"),
    Bad("scheme that cannot be fetched", ("add", "ftp://example.org/a"), 2, r"only http and https"),
    Bad("nothing to add", ("add",), 2, r"Missing argument 'PATH_OR_URL'"),
    Bad("binary in .txt", ("add", "b.txt"), 1, r"failed: .*b\.txt: .*(byte|NUL)",
        _bytes("b.txt", b"\x89PNG\r\n\x1a\n\0\0\0\xff\xfe\xfd" * 20)),
    Bad("wrong encoding", ("add", "b.txt"), 1, r"failed: .*b\.txt: byte 0x81 at offset 3 is not UTF-8",
        _bytes("b.txt", b"abc\x81")),
    Bad("empty file", ("add", "e.md"), 1, r"failed: .*e\.md: is empty", _bytes("e.md", b"")),
    Bad("file of blanks", ("add", "e.md"), 1, r"failed: .*e\.md: .*no text", _bytes("e.md", b" \n\n \n")),
    Bad("no reader yet", ("add", "p.pdf"), 1, r"failed: .*p\.pdf: no reader for '\.pdf'", _bytes("p.pdf", b"%PDF-1.7")),
    Bad("a line of 200 MB", ("add", "long.txt"), 1, r"failed: .*long\.txt: .*limit", _text("long.txt", _LINE)),
    Bad("NUL bytes", ("add", "n.txt"), 1, r"failed: .*n\.txt: .*NUL", _bytes("n.txt", b"good text\0 and more")),
    Bad("CSV with ragged rows", ("add", "r.csv"), 1, r"failed: .*r\.csv.*: line 3 has 3 fields, the header has 2",
        _text("r.csv", _RAGGED)),
    Bad("JSON cut in half", ("add", "j.json"), 1, r"failed: .*j\.json: is not JSON at line 1",
        _text("j.json", '[{"id": "1", "name": "Ash"}, {"id": "2", "na')),
    Bad("duplicate ids", ("add", "d.csv", "--id", "sku"), 1, r"failed: .*d\.csv#.*: .*id 'a'.* already",
        _text("d.csv", _TWICE)),
    Bad("template with a missing field", ("add", "plants.csv", "--text", "{nam}"), 2, r"'nam'.*'?name'?"),
    Bad("template that never closes", ("add", "plants.csv", "--text", "{name"), 2, r"template"),
    Bad("id field that is missing", ("add", "plants.csv", "--id", "sku"), 2, r"'sku'"),
    Bad("id of another source", ("add", "docs/guide.md", "--source", "second"), 1, r"belongs to the source"),
    # What is asked.
    Bad("empty query", ("search", "  "), 2, r"the query is empty"),
    Bad("empty question", ("ask", ""), 2, r"the query is empty"),
    Bad("query that is no text", ("search", os.fsdecode(b"caf\xe9")), 2, r"analect: (?!Unicode)"),
    Bad("-k 0", ("search", "snow", "-k", "0"), 2, r"k is 0"),
    Bad("-k -1", ("ask", "snow?", "-k", "-1"), 2, r"k is -1"),
    Bad("-k many", ("search", "snow", "-k", "many"), 2, r"'-k': .*integer"),
    Bad("malformed condition", ("search", "snow", "--where", "colour"), 2, r"condition 'colour' is not of the form"),
    Bad("mode that is none", ("search", "snow", "--mode", "fuzzy"), 2, r"'--mode': .*dense"),
    Bad("no query", ("search",), 2, r"Missing argument 'QUERY'"),
    Bad("two queries", ("search", "snow", "path"), 2, r"unexpected extra argument.*path"),
    Bad("document that is not there", ("delete", "1", "nope"), 2, r"no document 'nope'.*nothing was deleted"),
    Bad("evaluation of a missing file", ("eval", "c.jsonl", "q.jsonl", "r.tsv"), 2, r"c\.jsonl"),
    Bad("unknown command", ("serch", "snow"), 2, r"No such command 'serch'.*search"),
    Bad("unknown option", ("search", "snow", "--colour", "red"), 2, r"No such option: --colour"),
    Bad("no command", ("--json",), 2, r"Missing command"),
    # The files beneath.
    Bad("no corpus", ("search", "snow", "--corpus", "none.db"), 2, r"no corpus at none\.db.*analect add"),
    Bad("corpus that is not SQLite", ("status", "--corpus", "docs/guide.md"), 2, r"guide\.md is not an SQLite file"),
    Bad("corpus that is a folder", ("status", "--corpus", "docs"), 2, r"corpus docs"),
    Bad("corpus of another program", ("add", "docs", "--corpus", "other.db"), 2, r"not an analect corpus",
        _other_database),
    Bad("corpus of a newer analect", ("search", "snow", "--corpus", "new.db"), 2, r"schema 999", _newer_schema),
    Bad("corpus of another model", ("search", "snow"), 2, r"holds vectors of hashing/256, not of hashing/64",
        env=(("ANALECT_EMBEDDER_DIM", "64"),)),
    Bad("model that is not there", ("add", "docs"), 2, r"model 'no-such-model' was not found",
        env=(("ANALECT_EMBEDDER_USE", "local"), ("ANALECT_EMBEDDER_MODEL", "no-such-model"))),
    Bad("ledger that is no database", ("add", "docs"), 2, r"ledger .*guide\.md",
        env=(("ANALECT_LEDGER", "docs/guide.md"),)),
    # The settings.
    Bad("unknown variable", ("status",), 2, r"ANALECT_EMBEDER_USE .*ANALECT_EMBEDDER_USE",
        env=(("ANALECT_EMBEDER_USE", "local"),)),
    Bad("unknown setting", ("status", "--config", "s.toml"), 2, r"unknown setting 'embeder'.*'embedder'",
        _text("s.toml", '[embeder]\nuse = "local"\n')),
    Bad("unknown setting of a part", ("status", "--config", "s.toml"), 2, r"no setting 'dimm'.*'dim'",
        _text("s.toml", '[embedder]\nuse = "hashing"\ndimm = 3\n')),
    Bad("unknown part", ("status",), 2, r"no embedder 'hasing'.*'hashing'", env=(("ANALECT_EMBEDDER_USE", "hasing"),)),
    Bad("settings that are not TOML", ("status", "--config", "s.toml"), 2, r"s\.toml is not TOML",
        _text("s.toml", "use = \n")),
    Bad("settings that are not there", ("status", "--config", "none.toml"), 2, r"none\.toml"),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
@pytest.mark.parametrize("as_json", [False, True], ids=["people", "json"])
def test_bad_input(filled: Path, analect: Run, shell: Run, case: Bad, as_json: bool) -> None:
    case.files(filled)
    before = _state(filled, analect)
    ran = shell(*case.args, *(["--json"] if as_json else []), env=dict(case.env))
    assert ran.code == case.code, ran
    assert "Traceback" not in ran.err
    if as_json and case.code == 1:
        (failure,) = ran.json["failed"]
        assert (ran.err, set(failure)) == ("", {"uri", "error"})
        line = f"failed: {failure['uri']}: {failure['error']}"
    else:
        assert ran.err.endswith("\n")
        assert len(ran.err.splitlines()) == 1, ran.err
        assert (ran.out == "") == (case.code == 2)
        line = ran.err
        assert line.startswith("failed: " if case.code == 1 else "analect: ")
    assert re.search(case.says, line), line
    assert _state(filled, analect) >= before


def _state(folder: Path, analect: Run) -> set[str]:
    """Return what can be found: everything that was there must still be."""
    found = analect("search", "garden snow Rose Iris Tansy", "-k", "50", "--json")
    assert found.code == 0, found
    assert {"Snow is cleared", "Iris"} <= {word for word in ("Snow is cleared", "Iris") if word in found.out}
    return {hit["chunk_id"] for hit in found.json["hits"]}


def test_what_is_good_is_taken_in_beside_what_is_bad(filled: Path, analect: Run) -> None:
    (filled / "r.csv").write_text(_RAGGED, encoding="utf-8")
    (filled / "d.csv").write_text(_TWICE, encoding="utf-8")
    assert [analect("add", "r.csv").code, analect("add", "d.csv", "--id", "sku").code] == [1, 1]
    for word in ("Ash", "Cedar"):
        assert word in analect("search", word, "--json", "-k", "3").out


@pytest.mark.parametrize("text", ["\U0001f98a", "?", "\u200b\u200b", "…"])
def test_text_of_one_sign(filled: Path, analect: Run, text: str) -> None:
    (filled / "docs" / "fox.md").write_text(text, encoding="utf-8")
    ran = analect("add", "docs", "--json")
    assert (ran.code, ran.err) in ((0, ""), (1, ""))
    assert ran.json["added"] + len(ran.json["failed"]) == 1
    for command in ("search", "ask"):
        assert analect(command, text).code == 0


def test_unreadable_file(filled: Path, shell: Run) -> None:
    (filled / "docs" / "secret.md").write_text("Secret.", encoding="utf-8")
    (filled / "docs" / "secret.md").chmod(0)
    ran = shell("add", "docs", prefix=_as_a_user())
    assert ran.code == 1
    assert re.fullmatch(r"failed: .*secret\.md: cannot be read: Permission denied\n", ran.err)


def test_read_only_folder(filled: Path, analect: Run, shell: Run) -> None:
    before = _state(filled, analect)
    (filled / "docs" / "new.md").write_text("New.", encoding="utf-8")
    with _read_only(filled / ".analect"):
        found = shell("search", "snow", prefix=_as_a_user())
        assert (found.code, found.err) == (0, "")
        assert "Snow is cleared" in found.out
        ran = shell("add", "docs", prefix=_as_a_user())
        assert (ran.code, ran.out) == (2, "")
        assert re.fullmatch(r"analect: .*(read-only|readonly|Permission denied|cannot be opened).*\n", ran.err)
    assert _state(filled, analect) == before


def test_read_only_folder_without_a_corpus(folder: Path, shell: Run) -> None:
    (folder / "a.md").write_text("Apples.", encoding="utf-8")
    with _read_only(folder):
        ran = shell("add", "a.md", prefix=_as_a_user())
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"analect: .*Permission denied.*\n", ran.err)
    assert sorted(each.name for each in folder.iterdir()) == ["a.md"]


def test_full_disk(filled: Path, analect: Run, shell: Run) -> None:
    """A limit on the size of files stands for the disk: SQLite sees the same failed write."""
    before = _state(filled, analect)
    lines = [json.dumps({"id": str(number), "text": f"words {number} " * 100}) for number in range(2000)]
    (filled / "big.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ran = shell("add", "big.jsonl", prefix=("prlimit", f"--fsize={1 << 20}"))
    assert (ran.code, ran.out) == (2, ""), ran
    assert len(ran.err.splitlines()) == 1
    assert re.search(r"disk|full|I/O", ran.err)
    assert _state(filled, analect) == before
    assert analect("add", "big.jsonl", "--json").json["documents"] == 2000


def test_two_adds_at_once(folder: Path, analect: Run) -> None:
    lines = [json.dumps({"id": str(number), "text": f"Fact number {number}"}) for number in range(3000)]
    (folder / "facts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "analect", "add", "facts.jsonl", "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert [(err, code) for _, err, code in ended] == [(b"", 0), (b"", 0)]
    reports = [json.loads(out) for out, _, _ in ended]
    assert sum(report["embedded"] for report in reports) == 3000  # what one computed, the other read
    status = analect("status", "--json").json
    assert (status["documents"], status["chunks"], status["ledger"]["vectors"]) == (3000, 3000, 3000)


def _as_a_user() -> tuple[str, ...]:
    """Root writes where it likes: take that from it."""
    if os.geteuid() != 0:
        return ()
    taken = "-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={taken}", f"--inh-caps={taken}")


class _read_only:  # reads as what it does
    def __init__(self, folder: Path) -> None:
        self._paths = [folder, *folder.rglob("*")]
        self._modes = [path.stat().st_mode for path in self._paths]

    def __enter__(self) -> None:
        for path in self._paths:
            path.chmod(0o555 if path.is_dir() else 0o444)

    def __exit__(self, *exc: object) -> None:
        for path, mode in zip(self._paths, self._modes, strict=True):
            path.chmod(mode)
