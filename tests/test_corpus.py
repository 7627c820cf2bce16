"""The flow through its door: add, search, ask, delete, status, restricted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analect import AddProgress, AddReport, Corpus
from analect.config import PartSettings, Settings
from analect.errors import EmbedderMismatchError, InputError, NotFoundError
from analect.stores.memory import MemoryStore
from analect.types import Answer, Document, Filter, Hit, Matrix, Metadata, ReadFailure

STORES = ["sqlite", "memory"]


def settings_in(folder: Path, *, store: str = "sqlite") -> Settings:
    return Settings(
        corpus=folder / "corpus.db",
        ledger=folder / "ledger.db",
        embedder=PartSettings("hashing"),
        store=PartSettings(store),
    )


@pytest.fixture(params=STORES)
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Corpus]:
    with Corpus.open(settings=settings_in(tmp_path, store=request.param)) as corpus:
        yield corpus


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    (folder / "apple.md").write_text("# Apples\n\nApples ripen in September.\n")
    (folder / "sub" / "pear.md").write_text("# Pears\n\nPears ripen indoors.\n")
    (folder / "plum.txt").write_text("Plums are eaten fresh.")
    return folder


def counts(report: AddReport) -> dict[str, int]:
    names = ("documents", "unchanged", "added", "replaced", "deleted", "embedded", "reused")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def found(corpus: Corpus, query: str) -> set[str]:
    """Return the documents that have the query's words, by the lexical side, which knows no near misses."""
    return {hit.chunk.document_id for hit in corpus.search(query, mode="lexical")}


def test_adding_again_does_nothing(corpus: Corpus, notes: Path) -> None:
    assert counts(corpus.add(notes)) == {"documents": 3, "added": 3, "embedded": 3}
    revision = corpus.status().revision
    assert counts(corpus.add(notes)) == {"documents": 3, "unchanged": 3}
    assert corpus.status().revision == revision


def test_changed_moved_and_deleted_files(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    (notes / "apple.md").write_text("# Apples\n\nApples keep until March.\n")
    (notes / "plum.txt").rename(notes / "sub" / "damson.txt")
    (notes / "sub" / "pear.md").unlink()
    report = corpus.add(notes)
    assert counts(report) == {"documents": 2, "added": 1, "replaced": 1, "deleted": 2, "embedded": 1, "reused": 1}
    assert found(corpus, "september") == found(corpus, "indoors") == set()
    assert found(corpus, "march") == {"apple.md"}
    assert found(corpus, "plums") == {"sub/damson.txt"}
    everything = {hit.chunk.document_id for hit in corpus.search("apples pears plums", k=100)}
    assert everything == {"apple.md", "sub/damson.txt"}
    assert "September" not in corpus.ask("When do apples ripen?").text


def test_offsets_are_those_of_the_document(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    for hit in corpus.search("ripen", k=10):
        text = (notes / hit.chunk.document_id).read_text()
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text


def test_a_bad_document_is_reported_and_the_rest_goes_on(corpus: Corpus, notes: Path) -> None:
    (notes / "empty.md").write_text("")
    (notes / "blank.md").write_text(" \n\n ")
    (notes / "binary.txt").write_bytes(b"\x00\x01\x02" * 50)
    (notes / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    report = corpus.add(notes)
    assert report.added == 3
    assert {Path(failure.uri).name for failure in report.failed} == {
        "empty.md",
        "blank.md",
        "binary.txt",
        "picture.png",
    }
    assert all("\n" not in failure.error for failure in report.failed)


def test_what_cannot_be_read_today_keeps_its_last_good_version(corpus: Corpus, notes: Path) -> None:
    (notes / "table.json").write_text('[{"id": "1", "t": "one cherry"}, {"id": "2", "t": "two cherries"}]')
    corpus.add(notes)
    (notes / "apple.md").write_bytes(b"\x00\xff\x00\xfe" * 10)
    (notes / "table.json").write_text('[{"id": "1", "t": "one cherry"}, {"id": "2", "t": "two che')
    report = corpus.add(notes)
    assert {Path(failure.uri).name for failure in report.failed} == {"apple.md", "table.json"}
    assert report.deleted == 0
    assert found(corpus, "september") == {"apple.md"}
    assert found(corpus, "cherries") == {"1", "2"}


def test_an_id_belongs_to_one_source(corpus: Corpus, notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "apple.md").write_text("# Another apple\n\nNothing to do with it.\n")
    (other / "fig.md").write_text("# Fig\n\nFigs are here.\n")
    corpus.add(notes)
    report = corpus.add(other)
    assert report.added == 1
    (failure,) = report.failed
    assert "'apple.md'" in failure.error
    assert str(notes) in failure.error
    assert found(corpus, "september") == {"apple.md"}
    assert corpus.add(other / "apple.md", source=str(notes)).failed == ()
    assert found(corpus, "september") == set()


def test_a_named_source_is_only_cleared_where_it_was_read(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes / "sub", source="all")
    corpus.add(notes / "plum.txt", source="all")
    assert corpus.status().sources == {"all": 2}
    (notes / "sub" / "pear.md").unlink()
    corpus.add(notes / "plum.txt", source="all")
    assert corpus.status().documents == 2
    corpus.add(notes / "sub", source="all")
    assert corpus.status().sources == {"all": 1}


def test_a_path_that_is_not_there_changes_nothing(corpus: Corpus, notes: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        corpus.add(notes, notes / "nowhere")
    assert corpus.status().documents == 0


def test_delete_names_what_is_not_there_and_removes_nothing(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    with pytest.raises(NotFoundError, match=r"'aple\.md'; did you mean 'apple\.md'"):
        corpus.delete("plum.txt", "aple.md")
    assert corpus.status().documents == 3
    assert corpus.delete("plum.txt", "apple.md", "apple.md") == 2
    assert found(corpus, "ripen") == {"sub/pear.md"}


def test_wrong_questions_are_refused(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    for wrong in (
        lambda: corpus.search("  "),
        lambda: corpus.search("x", k=0),
        lambda: corpus.search("x", where="price"),
        lambda: corpus.search("x", mode="both"),  # type: ignore[arg-type]
        lambda: corpus.ask(""),
    ):
        with pytest.raises(InputError):
            wrong()


def test_a_restricted_view_shows_nothing_else(corpus: Corpus, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,team,text\n1,red,the secret plan of red\n2,blue,the open plan of blue\n3,blue,lunch of blue\n")
    corpus.add(table, text="{text}", id="id")
    blue = corpus.restricted("team=blue")
    assert {hit.chunk.document_id for hit in blue.search("secret plan", k=50)} == {"2", "3"}
    assert blue.search("secret plan", where="team=red") == []
    assert {hit.chunk.document_id for hit in blue.restricted("id!=2").search("plan")} == set()  # id is no metadata
    assert "secret" not in blue.ask("What is the secret plan of red?").text
    *_, answer = blue.stream("secret plan of red", hits=corpus.search("secret plan of red"))
    assert isinstance(answer, Answer)
    assert {hit.chunk.document_id for hit in answer.hits} <= {"2", "3"}
    for name in ("add", "delete", "status", "close", "store"):
        assert not hasattr(blue, name)


def test_a_streamed_answer_is_the_answer(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    question = "When does the garden open?"
    whole = corpus.ask(question)
    *texts, last = corpus.stream(question)
    assert last == whole
    assert "".join(map(str, texts)) == whole.text
    (best, *_) = corpus.search(question)
    *_, of_one = corpus.stream(question, hits=[best])
    assert isinstance(of_one, Answer)
    assert of_one.hits == (best,)


def test_hits_carry_scores_of_every_stage(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    hits = corpus.search("Apples ripen", k=3)
    assert hits[0].chunk.document_id == "apple.md"
    assert set(hits[0].scores) == {"dense", "lexical"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(corpus.search("Apples ripen", k=1)) == 1


def test_status_tells_what_is_there(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes, source="notes")
    status = corpus.status()
    assert (status.documents, status.chunks) == (3, 3)
    assert status.sources == {"notes": 3}
    assert status.embedder == "hashing/256"
    assert status.ledger_vectors == 3
    assert status.ledger_bytes > 0


def test_progress_is_told(corpus: Corpus, notes: Path) -> None:
    steps: list[AddProgress] = []
    corpus.add(notes, on_progress=steps.append)
    assert steps[-1].documents == 3
    assert steps[-1].embedded == 3
    assert steps[-1].total == 3


def test_sources_of_your_own(corpus: Corpus) -> None:
    class Source:
        name = "mine"
        roots = ("mine:",)

        def total(self) -> int:
            return 4

        def read(self) -> Iterator[Document | ReadFailure]:
            yield Document("a", "an apple", "mine", "mine:/a")
            yield Document("a", "another apple", "mine", "mine:/a2")
            yield Document("nul", "half\x00text", "mine", "mine:/nul")
            yield Document("half", "lone \ud800 surrogate", "mine", "mine:/half")
            yield ReadFailure("mine", "mine:/b", "out of reach")

    report = corpus.add(Source())
    assert report.added == 1
    assert [failure.uri for failure in report.failed] == ["mine:/a2", "mine:/nul", "mine:/half", "mine:/b"]
    assert "already read from mine:/a" in report.failed[0].error


def test_another_model_is_refused_and_the_corpus_stays(tmp_path: Path, notes: Path) -> None:
    settings = settings_in(tmp_path)
    with Corpus.open(settings=settings) as corpus:
        corpus.add(notes)
    other = Settings(corpus=settings.corpus, ledger=settings.ledger, embedder=PartSettings("hashing", {"dim": 64}))
    with pytest.raises(EmbedderMismatchError, match=r"hashing/256, not of hashing/64"):
        Corpus.open(settings=other)
    with Corpus.open(settings=settings) as corpus:
        assert corpus.status().documents == 3


def test_a_corpus_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="analect add PATH"):
        Corpus.open(settings=settings_in(tmp_path), create=False)
    assert not (tmp_path / "corpus.db").exists()


def test_the_ledger_outlives_the_corpus(tmp_path: Path, notes: Path) -> None:
    settings = settings_in(tmp_path)
    with Corpus.open(settings=settings) as corpus:
        corpus.add(notes)
    settings.corpus.unlink()
    with Corpus.open(settings=settings) as corpus:
        assert counts(corpus.add(notes)) == {"documents": 3, "added": 3, "reused": 3}


def test_threads_search_while_another_adds(tmp_path: Path) -> None:
    with Corpus.open(settings=settings_in(tmp_path)) as corpus:
        folder = tmp_path / "many"
        folder.mkdir()
        (folder / "first.md").write_text("the first lantern")
        corpus.add(folder)
        problems: list[object] = []

        def search() -> None:
            for _ in range(40):
                try:
                    if corpus.search("the first lantern", k=1)[0].chunk.document_id != "first.md":
                        problems.append("another hit")
                except Exception as error:
                    problems.append(error)

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(10):
            (folder / f"n{number}.md").write_text(f"note {number} about other things")
            corpus.add(folder)
        for thread in threads:
            thread.join()
        assert problems == []
        assert corpus.status().documents == 11


class CountingStore(MemoryStore):
    """A store that finds the nearest chunks for itself, and counts."""

    searches = 0

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        self.searches += 1
        return [[] for _ in queries]

    def counters(self) -> Metadata:
        return {"searches": self.searches}


def test_status_shows_what_parts_count(tmp_path: Path) -> None:
    with Corpus.open(settings=settings_in(tmp_path), store=CountingStore()) as corpus:
        assert corpus.counters() == {}  # nothing was searched yet, and the embedder does not count
        corpus.search("apples", mode="dense")
        corpus.search("pears", mode="dense")
        assert corpus.status().counters == {"index": {"searches": 2}}


def test_the_corpus_searches_by_the_exact_index(corpus: Corpus, notes: Path) -> None:
    corpus.add(notes)
    for _ in range(2):
        corpus.search("apples", mode="dense")
    index = corpus.status().counters["index"]
    assert (index["rows"], index["queries"], index["scans"], index["rows_scanned"]) == (3, 2, 2, 6)
