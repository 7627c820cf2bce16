"""Evaluations of tiny made collections, files that cannot be used, and the floors on Cranfield."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analect.config import PartSettings, Settings
from analect.embedders.hashing import HashingEmbedder
from analect.errors import InputError, ModelError, NotFoundError
from analect.evaluation import Evaluation, evaluate, read_corpus, read_qrels, read_queries
from analect.models import find_model
from analect.types import Embeddings, Kind, Mode

CRANFIELD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cranfield"
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
each_mode = pytest.mark.parametrize("mode", MODES)

CORPUS = [
    {"_id": "pump", "title": "Pumps", "text": "The pump in the basement lifts water from the well."},
    {"_id": "roof", "title": "Roofs", "text": "Slate roofs keep out rain for a hundred years."},
    {"_id": "bees", "title": "", "text": "Bees gather nectar and make honey in summer."},
    {"_id": "void", "title": "Nothing", "text": " "},
]
QUERIES = [
    {"_id": "q1", "text": "pump water well"},
    {"_id": "q2", "text": "slate rain"},
    {"_id": "q3", "text": "not judged"},
    {"_id": "q4", "text": "judged, nothing relevant"},
]
QRELS = [("q1", "pump", 2), ("q1", "roof", 0), ("q2", "bees", 1), ("q2", "void", 1), ("q4", "roof", 0)]


class Collection:
    """A judged collection in three files; every part may be replaced by other rows, or by text as it is."""

    def __init__(self, folder: Path) -> None:
        self.corpus, self.queries, self.qrels = (
            folder / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
        )
        self.settings = Settings(
            corpus=folder / "corpus.db", ledger=folder / "ledger.db", embedder=PartSettings("hashing")
        )
        self.write()

    def write(self, *, corpus: Any = CORPUS, queries: Any = QUERIES, qrels: Any = QRELS) -> None:
        for path, rows in ((self.corpus, corpus), (self.queries, queries)):
            text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
            path.write_text(text, encoding="utf-8")
        if not isinstance(qrels, str):
            rows = [("query-id", "corpus-id", "score"), *qrels]
            qrels = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        self.qrels.write_text(qrels, encoding="utf-8")

    def evaluate(self, **options: Any) -> Evaluation:
        return evaluate(self.corpus, self.queries, self.qrels, **{"settings": self.settings, **options})


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


@each_mode
def test_a_collection_is_measured(collection: Collection, mode: Mode) -> None:
    """Kills: unjudged queries that count, empty documents that stop it or are taken in."""
    found = collection.evaluate(mode=mode)
    assert (found.mode, found.queries, found.documents, found.failed) == (mode, 2, 4, 1)
    assert list(found.metrics) == ["ndcg@10", "recall@100", "mrr@10"]
    for metric, values in found.per_query.items():
        assert list(values) == ["q1", "q2"]
        assert found.metrics[metric].mean == pytest.approx(sum(values.values()) / 2)
    assert found.per_query["ndcg@10"]["q1"] == 1.0


def test_what_could_not_be_taken_in_is_missed(collection: Collection) -> None:
    """Kills: judgments of failed documents that are dropped, which would raise recall."""
    found = collection.evaluate(mode="dense").per_query["recall@100"]
    assert found == {"q1": 1.0, "q2": 0.5}


def test_the_title_is_searched_and_stays_apart_from_the_text(collection: Collection) -> None:
    """Kills: titles that are dropped or glued to the text."""
    collection.write(qrels=[("q1", "roof", 1)], queries=[{"_id": "q1", "text": "Roofs pumps"}])
    assert collection.evaluate(mode="lexical").per_query["recall@100"] == {"q1": 1.0}
    roof = read_corpus(collection.corpus)[1]
    assert (roof.title, roof.text, roof.record) == ("Roofs", CORPUS[1]["text"], True)
    assert read_corpus(collection.corpus)[2].title is None


def test_documents_rank_by_their_best_chunk_and_none_comes_twice(collection: Collection) -> None:
    """Kills: rankings of chunks; a search that stops at k chunks. One document of 200 chunks hides all others."""
    long = "The pump lifts water from the well. " * 400
    others = [{"_id": f"d{number:03}", "text": f"The pump number {number}."} for number in range(150)]
    collection.settings = replace(collection.settings, embedder=PartSettings("hashing", {"max_tokens": 16}))
    collection.write(corpus=[{"_id": "long", "text": long}, *others], qrels=[("q1", "long", 1), ("q1", "d000", 1)])
    for mode in MODES:
        found = collection.evaluate(mode=mode, k=151)
        assert found.failed == 0
        assert found.per_query["recall@151"] == {"q1": 1.0}


def test_a_second_evaluation_embeds_no_document(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: documents that do not go through the ledger of the settings."""
    first = collection.evaluate(mode="hybrid")

    embed = HashingEmbedder.embed

    def refuse(self: HashingEmbedder, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        assert kind == "query", f"{len(texts)} documents were embedded again"
        return embed(self, texts, kind=kind)

    monkeypatch.setattr(HashingEmbedder, "embed", refuse)
    assert collection.evaluate(mode="hybrid") == first


def test_an_evaluation_leaves_no_corpus_behind(collection: Collection) -> None:
    """Kills: the store of the settings, which holds the user's own documents."""
    collection.evaluate()
    assert not collection.settings.corpus.exists()


def test_recall_is_taken_at_k(collection: Collection) -> None:
    """Kills: a recall@100 of fewer documents."""
    assert list(collection.evaluate(k=10).metrics) == ["ndcg@10", "recall@10", "mrr@10"]
    with pytest.raises(InputError, match=r"k is 9: .* at least 10"):
        collection.evaluate(k=9)


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_query_that_cannot_be_embedded_is_named(collection: Collection, mode: Mode) -> None:
    """Kills: a query that is left out of the mean."""
    collection.write(queries=[*QUERIES[:1], {"_id": "q2", "text": "water " * 300}, *QUERIES[2:]])
    with pytest.raises(InputError, match=r"the query .q2. cannot be searched for: .* 302 tokens"):
        collection.evaluate(mode=mode)


@pytest.mark.parametrize(
    "qrels",
    [
        "query-id\tcorpus-id\tscore\nq1\tpump\t1\nq1\troof\t0\n",
        "query-id\tcorpus-id\tscore\r\nq1\tpump\t1\r\n\r\nq1\troof\t0",
        "\ufeffquery-id\tcorpus-id\tscore\nq1\tpump\t1\nq1\troof\t0\n",
        "q1 0 pump 1\nq1 0 roof 0\n",
        "q1\t0\tpump\t1\nq1\t0\troof\t0\nq1\t0\troof\t0\n",
    ],
)
def test_qrels_of_both_layouts_are_read(collection: Collection, qrels: str) -> None:
    collection.qrels.write_text(qrels, encoding="utf-8", newline="")
    assert read_qrels(collection.qrels) == {"q1": {"pump": 1, "roof": 0}}


def test_ids_may_be_numbers_and_hold_spaces(collection: Collection) -> None:
    collection.write(corpus=[{"_id": 7, "text": "x\u2028y"}], qrels=[("q 1", "7", 1)])
    assert [document.id for document in read_corpus(collection.corpus)] == ["7"]
    assert read_qrels(collection.qrels) == {"q 1": {"7": 1}}


HEADER = "query-id\tcorpus-id\tscore\n"
OK = '{"_id": "a", "text": "words"}\n'


@pytest.mark.parametrize(
    ("read", "content", "complaint"),
    [
        (read_qrels, "", "holds no judgments"),
        (read_qrels, HEADER, "holds no judgments"),
        (read_qrels, HEADER + "q1\tpump\n", "line 2: there are 2 columns"),
        (read_qrels, HEADER + "q1\t\t1\n", "line 2: there are 3 columns"),
        (read_qrels, HEADER + "q1\tpump\t1.5\n", "line 2: the grade is '1.5', not a whole number"),
        (read_qrels, HEADER + "q1\tpump\t" + 400 * "9", "line 2: the grade is"),
        (read_qrels, HEADER + "q1\tpump\t1\nq1\tpump\t2\n", "line 3: query 'q1' has two grades"),
        (read_qrels, "q1\tpump\t1\n", "line 1: there are 3 columns, wanted: query, 0, document and grade"),
        (read_qrels, "q1 0 pump 1\nq1 0 pump\n", "line 2: there are 3 columns"),
        (read_queries, "", "holds no queries"),
        (read_queries, OK + "\n{", "line 3: this is not JSON"),
        (read_queries, "[" * 100_000, "line 1: this is not JSON"),
        (read_queries, OK + "[1]", "line 2: this is not a JSON object"),
        (read_queries, OK + OK, "line 2: the id 'a' is there twice"),
        (read_queries, '{"_id": "a", "text": " "}', "line 1: the query 'a' is empty"),
        (read_queries, '{"_id": "a", "text": "\\ud800"}', "line 1: the query 'a' holds the lone surrogate"),
        (read_corpus, "", "holds no documents"),
        (read_corpus, OK + '{"text": "words"}', 'line 2: "_id" is missing'),
        (read_corpus, OK + '{"_id": true, "text": "words"}', 'line 2: "_id" is missing, empty or not a string'),
        (read_corpus, OK + '{"_id": "b"}', 'line 2: "text" is missing'),
        (read_corpus, OK + '{"_id": "b", "text": "", "title": 1}', 'line 2: "title" is not a string'),
        (read_corpus, OK + OK, "line 2: the id 'a' is there twice"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, read: Any, content: str, complaint: str) -> None:
    """Kills: a bad line that is skipped, an error of json or int that gets through."""
    path = tmp_path / "given"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("read", [read_corpus, read_queries, read_qrels])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file .*missing"):
        read(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\n\xff\n")
    with pytest.raises(InputError, match="line 2: byte 0 of it is not UTF-8"):
        read(tmp_path / "bytes")


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"qrels": [("q9", "pump", 1)]}, "queries.jsonl lacks the query 'q9'"),
        ({"qrels": [("q1", "pump", 0)]}, "qrels.tsv names no relevant document"),
        ({"qrels": [("q1", "elsewhere", 1)]}, "qrels.tsv judges no document of the corpus"),
        ({"corpus": [{"_id": "pump", "text": " "}]}, "no document of .*corpus.jsonl could be taken in"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    collection: Collection, files: dict[str, Any], complaint: str
) -> None:
    """Kills: a measure of 0 that is nobody's fault but the files'."""
    collection.write(**files)
    with pytest.raises(InputError, match=complaint):
        collection.evaluate()


@pytest.fixture(scope="module")
def cranfield_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CRANFIELD.is_dir():
        pytest.skip(f"RETRIEVAL QUALITY NOT CHECKED: there is no {CRANFIELD}")
    try:
        find_model("all-MiniLM-L6-v2")
    except ModelError as error:
        pytest.skip(f"RETRIEVAL QUALITY NOT CHECKED: {error}")
    return tmp_path_factory.mktemp("cranfield") / "ledger.db"


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "floor"), [("dense", 0.395), ("hybrid", 0.435)])
def test_cranfield_is_ranked_as_well_as_promised(cranfield_ledger: Path, mode: Mode, floor: float) -> None:
    """Kills: whatever makes retrieval worse and breaks no other rule."""
    files = (CRANFIELD / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    found = evaluate(*files, mode=mode, settings=Settings(ledger=cranfield_ledger))
    assert (found.queries, found.documents, found.failed) == (225, 1400, 2)
    assert found.metrics["ndcg@10"].mean >= floor
