"""Sentences: what ends one, and the law that their spans cover the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.sentences import split

# Marks that decide, among letters and signs that do not: so that drawn texts look like Markdown.
_SPACES = ["\n", "\n\n", "\r\n", "\r", " ", "  ", "\u00a0", "\u2028", "\0"]
_WORDS = ["e.g. ", "a.m. ", "Dr. ", "3.5", "10:30", "A", "b", "é", "e\u0301", "🦆"]
_MARKS = [". ", "! ", "? ", "…", "。", '"', ")", "*", "# ", "- ", "1. ", "| ", "```", "~~~", "> ", "name: "]
_PIECES = st.sampled_from(_SPACES + _WORDS + _MARKS)
_TEXTS = st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=5))).map("".join))


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in split(text)]


@given(_TEXTS)
def test_spans_are_ordered_apart_trimmed_and_cover_all_but_white_space(text: str) -> None:
    before = 0
    for start, end in split(text):
        assert before <= start < end <= len(text)
        assert text[before:start].strip() == ""
        assert text[start:end] == text[start:end].strip()
        before = end
    assert text[before:].strip() == ""


@pytest.mark.parametrize(
    "text",
    [
        "The café opens at 10:30 and shuts at 5 p.m. daily.",
        "It costs £25.00 or 3.5 % of the price.",
        "Ask Dr. Pym or J. R. Hartley about it.",
        "Bring e.g. a hat, gloves, etc. and a bottle.",
        "Mr. and Mrs. Oduya live at St. Anne's.",
        "It took approx. 20 minutes, see Fig. 3 and No. 7.",
        "Version 2.0.1 is at example.org/a.b today.",
        "A sentence that is wrapped\nover two\nlines stays whole.",
        "He waited … and left.",
    ],
)
def test_one_sentence(text: str) -> None:
    assert parts(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Is it No. It is.", ["Is it No.", "It is."]),
        ("an old text . it is all lower case .", ["an old text .", "it is all lower case ."]),
        ("It ends. 40 people came. 🦆 Ducks too.", ["It ends.", "40 people came.", "🦆 Ducks too."]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("Wrapped\nhere. And\nthere.", ["Wrapped\nhere.", "And\nthere."]),
        ("# Title\nText.", ["# Title", "Text."]),
        (
            "Rules:\n- One. Two.\n- Three\n  goes on.\n2. Four",
            ["Rules:", "- One.", "Two.", "- Three\n  goes on.", "2. Four"],
        ),
        ("| a | b. C |\n|---|---|\n| 1 | 2 |", ["| a | b. C |", "|---|---|", "| 1 | 2 |"]),
        ("```sh\nrun this. Now\n\n# that\n```\nDone.", ["```sh", "run this. Now", "# that", "```", "Done."]),
        ("name: Rose\nbed: K\nnote: Red. It\nclimbs.", ["name: Rose", "bed: K", "note: Red.", "It\nclimbs."]),
    ],
)
def test_units(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


def test_long_texts_take_time_in_proportion() -> None:
    assert len(split("A sentence here. " * 20_000)) == 20_000
    assert len(split("a wrapped line\n" * 50_000)) == 1
    assert len(split("e.g. " * 50_000)) == 1
    assert len(split("- item\n" * 20_000)) == 20_000
    assert len(split("name: value\n" * 20_000)) == 20_000
    assert len(split("x" * 200_000)) == 1
    assert len(split("| " * 50_000)) == 1
    assert len(split("a b " * 50_000 + ":")) == 1
