"""The extractive answerer: quotes are exact, and what is not there is not answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from analect.answering import answer
from analect.chat.extractive import NO_ANSWER, ExtractiveAnswerer
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.types import Answer, Chunk, Hit

CAFE = """# The Kettle

The café stands beside the gate. Leonie Brandt manages the café with a team of five.

## Times

It opens at 10:30 on every day. Hot food is served from 12:00 until 14:30.

| Drink | Price |
|---|---|
| Lemonade | £2.20 |
| Coffee | £3.10 |

- There are 42 seats indoors.
- Dogs may come in, but only on a lead.
"""
BOATS = """# Boats

Nine rowing boats are let out by the hour. Children must wear a lifejacket, which is free.
The boathouse was rebuilt in 1987 after a fire."""


def hit(text: str, *, start: int = 0, name: str = "a", title: str | None = None) -> Hit:
    chunk = Chunk(name + "#1", name, text, start=start, end=start + len(text), uri=name, title=title)
    return Hit(chunk, 1.0)


HITS = (hit(CAFE, name="cafe.md", title="The Kettle"), hit(BOATS, name="boats.md", title="Boats"))


def asked(question: str, hits: Sequence[Hit], *, embedder: LocalEmbedder) -> Answer:
    """Ask as the corpus does, and hold the answer to what every answer must keep."""
    given = answer(question, hits, answerer=ExtractiveAnswerer(embedder=embedder))
    assert given.question == question
    assert given.hits == tuple(hits)
    assert given.answered == bool(given.citations)
    assert len(given.citations) <= 3
    for citation in given.citations:
        assert citation.verdict == "found"
        inside = slice(citation.start - citation.chunk.start, citation.end - citation.chunk.start)
        assert citation.chunk.text[inside] == citation.quote
    quoted = " ".join(f"{citation.quote} [{citation.marker}]" for citation in given.citations)
    assert given.text == (quoted or NO_ANSWER)
    assert [citation.marker for citation in given.citations] == list(range(1, len(given.citations) + 1))
    return given


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("Between what times can I get a hot lunch?", "Hot food is served from 12:00 until 14:30."),
        ("What does a coffee cost?", "Coffee | £3.10"),
        ("How many seats are there inside?", "There are 42 seats indoors."),
        ("Who manages the café?", "Leonie Brandt manages the café with a team of five."),
        ("In what year was the boathouse rebuilt?", "The boathouse was rebuilt in 1987 after a fire."),
        ("Can I bring my dog?", "Dogs may come in, but only on a lead."),
    ],
)
def test_the_answering_sentence_is_quoted(question: str, quote: str, *, local_embedder: LocalEmbedder) -> None:
    assert quote in [citation.quote for citation in asked(question, HITS, embedder=local_embedder).citations]


@pytest.mark.parametrize(
    "question",
    [
        "Who painted The Night Watch?",  # another subject
        "How do I reverse a linked list in Python?",
        "What is the phone number of the café?",  # the thing is there, the property is not
        "How old is Leonie Brandt?",
        "Who designed the boathouse?",
        "What does it cost to rent a boat in Venice?",  # a name that is not there
        "How many coffees were sold last year?",
    ],
)
def test_what_is_not_there_is_not_answered(question: str, *, local_embedder: LocalEmbedder) -> None:
    given = asked(question, HITS, embedder=local_embedder)
    assert not given.answered
    assert given.text == NO_ANSWER


def test_offsets_count_from_the_document_in_code_points(local_embedder: LocalEmbedder) -> None:
    before = "Cafe\u0301 🦆🦆 👩‍👩‍👧 “ſtraße”. "
    document = before + "Hot food is served from 12:00 until 14:30. It is vegan."
    start = 2
    hits = [hit(document[start:], start=start, title="Café")]
    (citation,) = asked("When is hot food served?", hits, embedder=local_embedder).citations
    assert (citation.start, citation.end) == (
        len(before),
        len(before) + len("Hot food is served from 12:00 until 14:30."),
    )
    assert document[citation.start : citation.end] == citation.quote


def test_a_chunk_of_the_middle_of_a_document_is_cited_at_its_place(local_embedder: LocalEmbedder) -> None:
    start = 5_000
    (citation,) = asked("What does a coffee cost?", [hit(CAFE, start=start)], embedder=local_embedder).citations
    assert citation.start == start + CAFE.index("Coffee | £3.10")


def test_a_place_that_two_chunks_hold_is_quoted_once(local_embedder: LocalEmbedder) -> None:
    again = replace(HITS[0], chunk=replace(HITS[0].chunk, id="cafe.md#2"))
    quotes = [
        each.quote for each in asked("What does a coffee cost?", [*HITS, again], embedder=local_embedder).citations
    ]
    assert quotes.count("Coffee | £3.10") == 1


def test_equal_questions_get_equal_answers(local_embedder: LocalEmbedder) -> None:
    answerer = ExtractiveAnswerer(embedder=local_embedder)
    questions = ["What does a coffee cost?", "Who manages the café?", "Why do cats purr?"]
    first = [answerer.answer(question, HITS) for question in questions]
    assert [answerer.answer(question, HITS) for question in reversed(questions)] == first[::-1]


@pytest.mark.parametrize("hits", [(), (hit(""),), (hit("  \n\n"),), (hit("# Only a heading\n\n---\n"),)])
def test_nothing_to_quote_is_no_answer(hits: tuple[Hit, ...], *, local_embedder: LocalEmbedder) -> None:
    assert not asked("What does a coffee cost?", hits, embedder=local_embedder).answered


@pytest.mark.parametrize("question", ["", "   ", "?", "the", "\0", "🦆", "WHO?", "coffee " * 400])
def test_odd_questions_are_borne(question: str, *, local_embedder: LocalEmbedder) -> None:
    answer = asked(question, HITS, embedder=local_embedder)
    assert answer.question == question
    assert all(citation.quote in citation.chunk.text for citation in answer.citations)


def test_an_over_long_sentence_is_passed_over(local_embedder: LocalEmbedder) -> None:
    hits = [hit("word " * 2_000 + "\n\nHot food is served from 12:00 until 14:30.", title="Café")]
    (citation,) = asked("When is hot food served?", hits, embedder=local_embedder).citations
    assert citation.quote == "Hot food is served from 12:00 until 14:30."


def test_another_embedder_works_without_its_odds() -> None:
    given = ExtractiveAnswerer(embedder=HashingEmbedder()).answer("When is hot food served?", HITS)
    assert given.answered == bool(given.citations)
