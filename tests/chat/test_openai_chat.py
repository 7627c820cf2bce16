"""Answers of a chat model, against the fake service: streamed, cited, looked up, and honest about how they ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analect import Corpus
from analect.chat._citing import cited
from analect.chat.openai import OpenAIAnswerer, OpenAIChat
from analect.config import PartSettings, Settings
from analect.errors import RemoteError
from analect.fakes.azure_openai import AzureOpenAI
from analect.types import Answer, Chunk, Finish, Hit, Message

pytestmark = pytest.mark.usefixtures("fake_key")

TEXTS = ("Hot food is served from noon\nto two. Cakes all day.", "The gate closes at dusk.", "[1] Bees sleep in May.")


def hits() -> list[Hit]:
    chunks = [Chunk(f"c{n}", f"d{n}", text, 100, 100 + len(text), f"{n}.md") for n, text in enumerate(TEXTS)]
    return [Hit(chunk, 1.0) for chunk in chunks]


@pytest.fixture
def fake() -> Iterator[AzureOpenAI]:
    with AzureOpenAI(deployments={"talk": "gpt-4o-mini"}) as fake:
        yield fake


@pytest.fixture
def answerer(fake: AzureOpenAI) -> Iterator[OpenAIAnswerer]:
    with closing(OpenAIAnswerer(endpoint=f"{fake.url}/v1")) as answerer:
        yield answerer


def test_streams_an_answer_whose_quotes_are_looked_up(answerer: OpenAIAnswerer, fake: AzureOpenAI) -> None:
    *pieces, answer = answerer.stream("When is hot food served?", hits())
    assert isinstance(answer, Answer)
    assert len(pieces) > 3
    assert "".join(map(str, pieces)) == answer.text
    (citation,) = answer.citations
    assert (citation.marker, citation.verdict, citation.chunk.id) == (1, "found", "c0")
    assert TEXTS[0][citation.start - 100 : citation.end - 100] == citation.quote
    assert (answer.answered, answer.finish, answer.uncited) == (True, "stop", 0)
    assert answer.usage
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == fake.stats()["tokens"]


def test_without_hits_nothing_is_asked(answerer: OpenAIAnswerer, fake: AzureOpenAI) -> None:
    assert not answerer.answer("When?", []).answered
    assert fake.stats()["requests"] == 0


@pytest.mark.parametrize(("fault", "finish"), [("filter", "content_filter"), ("length", "length")])
def test_how_it_ended_is_told(answerer: OpenAIAnswerer, fake: AzureOpenAI, fault: str, finish: str) -> None:
    fake.faults.set(fault)
    assert answerer.answer("When does the gate close?", hits()).finish == finish


def test_refusals_are_tried_again_and_a_broken_stream_is_an_error(answerer: OpenAIAnswerer, fake: AzureOpenAI) -> None:
    fake.faults.set("429=ms:20,503")
    assert answerer.answer("When does the gate close?", hits()).answered
    for cut in ("reset", "truncate"):
        fake.faults.set(cut)
        with pytest.raises(RemoteError):
            answerer.answer("When does the gate close?", hits())


def test_history_temperature_and_stop(fake: AzureOpenAI) -> None:
    where = {"endpoint": fake.url, "deployment": "talk"}
    with closing(OpenAIChat(**where, temperature=1.0, max_tokens=50, stop="[")) as chat:
        talk = [
            Message("system", "x"),
            Message("assistant", "y"),
            Message("user", "[1] a\nThe gate is red.\n\ngate red?"),
        ]
        *pieces, finish = chat.stream(talk)
        assert "".join(map(str, pieces)) == 'The passage says: "The gate is red." '
        assert isinstance(finish, Finish)
        assert finish.reason == "stop"
    with closing(OpenAIChat(**where, temperature=9.0)) as chat, pytest.raises(RemoteError, match="temperature"):
        list(chat.stream(talk))


class Recording(AzureOpenAI):
    """Keeps the messages that come."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[list[dict[str, str]]] = []

    def chat(self, asked: Any, **more: Any) -> Any:
        self.messages.append(asked.body["messages"])
        return super().chat(asked, **more)


def test_a_question_that_follows_another_is_searched_for_with_it(tmp_path: Path) -> None:
    (tmp_path / "garden.md").write_text("# Garden\n\nOn weekdays it opens at nine, and never on a feast.")
    (tmp_path / "bees.md").write_text("# Hives\n\nThe hives rest from May.")
    before = [
        Message("user", "When does the garden open?"),
        Message("assistant", 'It "opens at nine" [7]. Come early [1, 2]!'),
    ]
    with Recording() as fake:
        settings = Settings(
            corpus=tmp_path / "c.db",
            ledger=tmp_path / "l.db",
            embedder=PartSettings("hashing"),
            retriever=PartSettings("lexical"),
            chat=PartSettings("openai", {"endpoint": f"{fake.url}/v1"}),
        )
        with Corpus.open(settings=settings) as corpus:
            corpus.add(tmp_path / "garden.md", tmp_path / "bees.md")
            question = "Sundays too?"
            assert corpus.ask(question).hits == ()
            for answer in (corpus.ask(question, history=before), list(corpus.stream(question, history=before))[-1]):
                assert isinstance(answer, Answer)
                assert answer.question == question
                assert [hit.chunk.title for hit in answer.hits] == ["Garden"]
            # A history that is too long for the embedder is searched for in part; the question always is.
            long = [Message("user", "garden " * 300), *before]
            assert {hit.chunk.title for hit in corpus.ask("hives?", history=long).hits} == {"Hives", "Garden"}
            assert [hit.chunk.title for hit in corpus.ask("hives?", history=long[:1]).hits] == ["Hives"]
        sent = [(each["role"], each["content"]) for each in fake.messages[0]]
    assert [role for role, _ in sent] == ["system", "user", "assistant", "user"]
    assert sent[1][1] == "When does the garden open?"
    assert sent[2][1] == 'It "opens at nine". Come early!'
    assert sent[3][1].endswith("Question: Sundays too?")
    assert len(fake.messages) == 4  # without hits nothing is asked


@pytest.mark.parametrize(
    ("text", "verdicts", "uncited"),
    [
        ('Food is served "from noon to two" [1].', ["found"], 0),
        ('It says "Hot food is served from noon to two. Cakes all day." [1] And more.', ["found"], 1),
        ('The gate "closes at dusk" [1].', ["misattributed"], 0),
        ('The gate "closes at dawn" [2].', ["absent"], 0),
        ("The gate closes at dusk. [2]", ["found"], 0),
        ("The gate closes at dusk [9].", [], 1),
        ("I think so. The gate closes at dusk [2]. Good night!", ["found"], 2),
        ('Both: "Cakes all day" [1] and "closes at dusk" [2].', ["found", "found"], 0),
        ('Cakes "all day" [1, 2].', ["found", "misattributed"], 0),
        ("", [], 0),
    ],
)
def test_citations_are_looked_up(text: str, verdicts: list[str], uncited: int) -> None:
    citations, found = cited(text, hits())
    assert [citation.verdict for citation in citations] == verdicts
    assert found == uncited
