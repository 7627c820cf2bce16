"""The commands: what they take, what they print for people and for programs, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from cli_running import GUIDE, PLANTS, Run

from analect import types
from analect.cli.options import ModeName
from analect.embedders.local import LocalEmbedder

HIT = {
    *("chunk_id", "document_id", "score", "scores", "text", "title", "uri", "headings", "page", "start", "end"),
    "metadata",
}
CITATION = {"marker", "chunk_id", "document_id", "uri", "page", "quote", "start", "end", "verdict"}
HEAVY = "numpy openvino analect.corpus rich tokenizers".split()


def test_help_loads_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['analect', '--help']\n"
        "from analect.cli import main\n"
        "code = main()\n"
        f"print([name for name in {HEAVY} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "[] 0\n"
    for word in ("add", "search", "ask", "delete", "status", "doctor", "eval", "--corpus", "--config", "--json"):
        assert word in done.stdout


def test_modes_are_those_of_the_package() -> None:
    assert get_args(ModeName) == get_args(types.Mode)


@pytest.mark.parametrize("args", [("--version",), ("status", "--version"), ("--json", "search", "--version")])
def test_version(analect: Run, args: tuple[str, ...]) -> None:
    ran = analect(*args)
    assert (ran.code, ran.out, ran.err) == (0, "analect 0.1.0\n", "")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help(analect: Run, args: tuple[str, ...]) -> None:
    ran = analect(*args)
    assert ran.code == 0
    assert ran.out.startswith("Usage: analect [OPTIONS] COMMAND")
    assert "│" not in ran.out


def test_help_of_a_command_shows_the_global_options_too(analect: Run) -> None:
    ran = analect("search", "--help")
    for option in ("--where", "--mode", "-k", "--config", "--corpus", "--json", "--version"):
        assert option in ran.out


def test_runs_as_a_module_and_as_a_script(shell: Run, folder: Path) -> None:
    script = Path(sys.executable).with_name("analect")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == shell("--version").out == "analect 0.1.0\n"


def test_add_reports(folder: Path, analect: Run) -> None:
    (folder / "a.md").write_text("# A\n\nApples.", encoding="utf-8")
    counts = {"documents": 1, "unchanged": 0, "added": 1, "replaced": 0, "deleted": 0}
    chunks = {"chunks": 1, "embedded": 1, "reused": 0}
    assert analect("add", "a.md", "--json").json == {**counts, **chunks, "failed": [], "counters": {}}
    again = analect("--json", "add", "a.md").json
    assert (again["unchanged"], again["embedded"], again["chunks"]) == (1, 0, 0)
    ran = analect("add", "a.md")
    assert ran.out == "1 documents: 0 added, 0 replaced, 0 deleted, 1 unchanged, 0 failed\n"
    assert (ran.code, ran.err) == (0, "")


def test_add_tells_what_failed_and_takes_in_the_rest(filled: Path, analect: Run) -> None:
    (filled / "docs" / "paper.pdf").write_bytes(b"%PDF-1.7\n")
    ran = analect("add", "docs")
    assert ran.code == 1
    assert "1 unchanged, 1 failed" in ran.out
    assert ran.err.startswith("failed: ")
    assert ran.err.count("\n") == 1
    assert "paper.pdf" in ran.err
    ran = analect("add", "docs", "--json")
    assert (ran.code, ran.err) == (1, "")
    (failure,) = ran.json["failed"]
    assert set(failure) == {"uri", "error"}


def test_add_takes_records_by_template_id_and_source(folder: Path, analect: Run) -> None:
    (folder / "t.csv").write_text("sku,name,text\nx1,Chair,Oak chair\nx2,Table,Pine table\n", encoding="utf-8")
    ran = analect("add", "t.csv", "--text", "{name}: {text}", "--id", "sku", "--source", "shop")
    assert ran.code == 0
    hit = analect("search", "pine", "-k", "1", "--json").json["hits"][0]
    assert (hit["document_id"], hit["text"]) == ("x2", "Table: Pine table")
    assert analect("status", "--json").json["sources"] == [{"name": "shop", "documents": 2}]


def test_search_json(filled: Path, analect: Run) -> None:
    found = analect("search", "snow on the main path", "-k", "2", "--json").json
    assert set(found) == {"query", "mode", "hits", "counters"}
    index = found["counters"]["index"]
    assert (index["rows"], index["queries"], index["rows_scanned"]) == (5, 1, 5)
    assert (found["query"], found["mode"], len(found["hits"])) == ("snow on the main path", "hybrid", 2)
    first = found["hits"][0]
    assert set(first) == HIT
    assert first["headings"][-1] == "Winter"
    assert GUIDE[first["start"] : first["end"]] == first["text"]


@pytest.mark.parametrize("mode", get_args(types.Mode))
def test_search_in_every_mode(filled: Path, analect: Run, mode: str) -> None:
    found = analect("search", "snow", "--mode", mode, "--json").json
    assert found["mode"] == mode
    assert "Snow" in found["hits"][0]["text"]


def test_search_mode_of_the_settings(filled: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALECT_RETRIEVER_USE", "lexical")
    assert analect("search", "snow", "--json").json["mode"] == "lexical"


def test_search_for_people(filled: Path, analect: Run) -> None:
    ran = analect("search", "snow", "-k", "1")
    heading, place, text = ran.out.splitlines()
    assert heading.startswith(" 1  0.0")
    assert heading.endswith("> Winter")
    assert place.strip().endswith("guide.md")
    assert "Snow is cleared" in text
    assert "\x1b" not in ran.out


def test_search_with_conditions(filled: Path, analect: Run) -> None:
    args = ("search", "a plant", "--where", "height>=60", "--where", "colour in red,blue", "--json")
    assert {hit["metadata"]["name"] for hit in analect(*args).json["hits"]} == {"Rose", "Iris"}
    ran = analect("search", "a plant", "--where", "colour=green")
    assert (ran.code, ran.out) == (0, "no hits\n")


def test_ask(folder: Path, analect: Run, local_embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "local")  # what answers is judged by meaning
    (folder / "guide.md").write_text(GUIDE, encoding="utf-8")
    assert analect("add", "guide.md").code == 0
    question = "When does the garden open in the morning?"
    found = analect("ask", question, "--json").json
    assert set(found) == {"question", "text", "answered", "citations", "hits", "finish", "usage", "uncited"}
    assert found["answered"] is True
    citation = found["citations"][0]
    assert set(citation) == CITATION
    assert citation["verdict"] == "found"
    assert GUIDE[citation["start"] : citation["end"]] == citation["quote"]
    assert set(found["hits"][0]) == HIT
    ran = analect("ask", question)
    assert ran.out.startswith(found["text"].splitlines()[0])
    assert "\n[1] Garden guide" in ran.out
    assert f"guide.md, characters {citation['start']}-{citation['end']}" in ran.out


def test_ask_says_when_there_is_no_answer(filled: Path, analect: Run) -> None:
    found = analect("ask", "Who won the election in Peru?", "--json")
    assert (found.code, found.json["answered"], found.json["citations"]) == (0, False, [])
    assert analect("ask", "Who won the election in Peru?").out.strip() == found.json["text"]


def test_delete(filled: Path, analect: Run) -> None:
    assert analect("delete", "1", "3", "--json").json == {"deleted": 2}
    assert analect("delete", "2").out == "1 deleted\n"
    ran = analect("delete", "2")
    assert (ran.code, ran.out) == (2, "")
    assert "no document '2'" in ran.err


def test_status(filled: Path, analect: Run) -> None:
    found = analect("status", "--json").json
    assert set(found) == {"documents", "chunks", "embedder", "store", "revision", "ledger", "sources"}
    assert (found["documents"], found["embedder"], found["store"]) == (4, {"id": "hashing/256"}, "sqlite")
    assert found["ledger"]["vectors"] == found["chunks"]
    assert found["ledger"]["bytes"] > 0
    assert sorted(each["documents"] for each in found["sources"]) == [1, 3]
    shown = analect("status").out
    assert "documents  4\n" in shown
    assert "embedder   hashing/256\n" in shown


def test_counters_tell_how_the_model_ran(
    folder: Path, analect: Run, local_embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "local")
    (folder / "plants.csv").write_text(PLANTS, encoding="utf-8")
    added = analect("add", "plants.csv", "--json").json["counters"]["embedder"]
    assert (added["precision"], added["texts"]) == (local_embedder.precision, 3)
    assert 1 <= added["batches"] <= 3
    assert added["padded_tokens"] >= added["tokens"] > 3
    again = analect("add", "plants.csv", "--json").json["counters"]["embedder"]
    assert (again["texts"], again["batches"]) == (0, 0)  # another run, which has nothing to embed
    found = analect("status", "--json").json["embedder"]
    assert found == {"id": local_embedder.id, **again}
    assert f"precision  {local_embedder.precision}\n" in analect("status").out


@pytest.mark.parametrize(
    "args",
    [
        ("--json", "--corpus", "other.db", "status"),
        ("status", "--json", "--corpus", "other.db"),
        ("--corpus", "elsewhere.db", "status", "--corpus=other.db", "--json"),
    ],
)
def test_global_options_stand_before_or_after_the_command(analect: Run, folder: Path, args: tuple[str, ...]) -> None:
    (folder / "a.md").write_text("Apples.", encoding="utf-8")
    assert analect("add", "a.md", "--corpus", "other.db").code == 0
    assert analect(*args).json["documents"] == 1
    assert not (folder / ".analect" / "corpus.db").exists()


def test_after_two_dashes_nothing_is_an_option(filled: Path, analect: Run) -> None:
    ran = analect("search", "--", "--json")
    assert (ran.code, ran.err) == (0, "")
    with pytest.raises(json.JSONDecodeError):
        ran.json  # noqa: B018


def test_settings_file(filled: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (filled / "my.toml").write_text('corpus = "from-toml.db"\n', encoding="utf-8")
    assert analect("--config", "my.toml", "add", "docs").code == 0
    assert (filled / "from-toml.db").exists()
    monkeypatch.setenv("ANALECT_CONFIG", "my.toml")
    assert analect("status", "--json").json["documents"] == 1
    assert analect("status", "--json", "--corpus", ".analect/corpus.db").json["documents"] == 4


@dataclass(frozen=True)
class _Interval:
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class _Evaluation:
    mode: str
    queries: int
    documents: int
    failed: int
    metrics: dict[str, _Interval]


def test_eval(analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def evaluate(*files: str, **options: Any) -> _Evaluation:
        asked.update(options, files=files)
        return _Evaluation(options["mode"], 7, 20, 1, {"ndcg@10": _Interval(0.5, 0.25, 0.75)})

    monkeypatch.setattr("analect.evaluation.run.evaluate", evaluate)
    ran = analect("eval", "c.jsonl", "q.jsonl", "r.tsv", "--mode", "dense", "-k", "50", "--json")
    assert ran.json == {"mode": "dense", "queries": 7, "ndcg@10": {"mean": 0.5, "low": 0.25, "high": 0.75}}
    assert (asked["files"], asked["k"], asked["mode"]) == (("c.jsonl", "q.jsonl", "r.tsv"), 50, "dense")
    assert asked["settings"].embedder.use == "hashing"
    assert ran.err == "analect: 1 of 20 documents could not be taken in\n"
    assert "ndcg@10  0.5000  0.2500 to 0.7500\n" in analect("eval", "c.jsonl", "q.jsonl", "r.tsv").out


def test_eval_of_real_files(folder: Path, analect: Run) -> None:
    texts = ["Roses are red and grow tall.", "Violets are blue.", "Snow falls in winter."]
    lines = [json.dumps({"_id": f"d{number}", "title": "", "text": text}) for number, text in enumerate(texts)]
    (folder / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "q.jsonl").write_text('{"_id": "q1", "text": "tall roses"}\n{"_id": "q2", "text": "snow"}\n')
    (folder / "r.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td2\t1\n", encoding="utf-8")
    found = analect("eval", "c.jsonl", "q.jsonl", "r.tsv", "--json").json
    assert set(found) == {"mode", "queries", "ndcg@10", "recall@100", "mrr@10"}
    assert (found["mode"], found["queries"], found["ndcg@10"]["mean"]) == ("hybrid", 2, 1.0)
