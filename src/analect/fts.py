"""Full text by SQLite's FTS5: the table that chunks are indexed in, and how a query is written for it.

Ranking is BM25 with k1 = 1.2 and b = 0.75 (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework"), as FTS5
computes it; words are folded in case and accents and stemmed by Porter's rules.
"""

from __future__ import annotations

import re

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""The `tokenize` option of every FTS5 table here."""

_WORD = re.compile(r"\w+")
# Words that carry a sentence, not its subject. BM25 weighs them next to nothing, but scores every chunk that has one.
_STOP_WORDS = frozenset(
    "a an and are as at be been but by can could did do does for from had has have how i if in into is it its of on or "
    "so such that the their them then there these they this to was we were what when where which who whom why will "
    "with would you your".split()
)


def match_expression(query: str) -> str | None:
    """Return the FTS5 expression that matches any word of the query; None when it has no word.

    >>> match_expression("What is the seat for?")
    '"seat"'
    """
    words = [word.lower() for word in _WORD.findall(query)]  # a word said twice counts twice, as in BM25's own sum
    telling = [word for word in words if word not in _STOP_WORDS] or words
    # A quoted string takes away the meaning of AND, NEAR, * and the like.
    return " OR ".join(f'"{word}"' for word in telling) or None
