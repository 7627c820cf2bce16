"""The whole chunker: one chunk a record while it fits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from chunk_laws import TITLES, any_markdown, check_laws, document_of
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.chunkers.whole import WholeChunker
from analect.errors import ConfigError
from analect.protocols import Embedder
from analect.types import Document, embedded_text


def check_whole(document: Document, *, embedder: Embedder, limit: int = 256) -> int:
    """Assert the laws, and that what fits is one chunk; return the number of chunks."""
    chunks = list(WholeChunker(embedder=embedder, max_tokens=limit).chunk(document))
    check_laws(document, chunks, embedder=embedder, limit=limit)
    text = document.text.strip()
    whole = embedder.count_tokens([embedded_text(text, title=document.title, headings=())])[0]
    if text and whole <= limit:
        assert [(c.text, c.title) for c in chunks] == [(text, document.title)]
    assert all(c.headings == () for c in chunks)
    return len(chunks)


@settings(max_examples=120, deadline=None)
@given(text=any_markdown(), title=TITLES, limit=st.sampled_from([16, 17, 64, 256]))
def test_every_text_is_covered_once_within_the_limit(
    embedder: Embedder, text: str, title: str | None, limit: int
) -> None:
    check_whole(document_of(text, title=title, record=True), embedder=embedder, limit=limit)


def test_headings_do_not_cut_a_record_that_fits(wordpiece: Embedder) -> None:
    text = "# One\n\n" + "word " * 100 + "\n\n# Two\n\n" + "word " * 100
    assert check_whole(document_of(text, record=True), embedder=wordpiece) == 1


def test_a_long_record_is_cut_as_prose_and_every_chunk_has_the_title(wordpiece: Embedder) -> None:
    text = "The product looks more like a stew than a processed meat. " * 60
    chunks = list(WholeChunker(embedder=wordpiece).chunk(document_of(text, title="Good dog food", record=True)))
    assert len(chunks) == 3
    assert all(c.text.endswith("meat.") for c in chunks)
    assert all(c.embedded_text.startswith("Good dog food\nThe product") for c in chunks)


def test_a_title_longer_than_the_text_stays_while_both_fit(wordpiece: Embedder) -> None:
    assert check_whole(document_of("Yes.", title="Is it? " * 60, record=True), embedder=wordpiece) == 1


def test_a_blank_record_has_no_chunks(embedder: Embedder) -> None:
    assert check_whole(document_of(" \n", record=True), embedder=embedder) == 0


def test_the_id_names_what_decides_the_cuts(wordpiece: Embedder) -> None:
    assert WholeChunker(embedder=wordpiece, max_tokens=64).id == "whole/64/1"
    with pytest.raises(ConfigError, match="above the 256"):
        WholeChunker(embedder=wordpiece, max_tokens=512)


def test_abstracts(embedder: Embedder, data: Path) -> None:
    lines = (data / "cranfield" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    documents = [document_of(row["text"], id=row["_id"], title=row["title"], record=True) for row in rows]
    counts = [check_whole(document, embedder=embedder) for document in documents]
    assert len(counts) == 1400
    if embedder.id == "wordpiece":
        assert sum(count > 1 for count in counts) == 413


def test_reviews(embedder: Embedder, data: Path) -> None:
    with (data / "fine_food_reviews_1k.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    documents = [document_of(row["Text"], id=row["Id"], title=row["Summary"], record=True) for row in rows]
    counts = [check_whole(document, embedder=embedder) for document in documents]
    assert len(counts) == 1000
    if embedder.id == "wordpiece":
        assert sum(count > 1 for count in counts) == 59
