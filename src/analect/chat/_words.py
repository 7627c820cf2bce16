"""Words of a question and of a sentence: how they are told apart, and when two count as the same word. English."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_EXTREME = re.compile(
    r"(?!(?:for|harv|inter|requ|cont|hon|prot|earn|mod|sugg|dig|inv|arr)est\b)[^\W\d_]{3,}est|"
    r"first|last|best|worst|most|least|top|only|main|next|current|average|minimum|maximum|favourite|other",
    re.IGNORECASE,
)
_SUFFIXES = ("ing", "ed", "er", "ly")

# Words that carry a question, not its subject. "kind", "many" and the like ask for the shape of an answer.
_STOP_WORDS = frozenset(
    "a about also am an and any are as at be been but by can could did do does each every for from get got had has "
    "have here how i i'm if im in into is it it's its just kind long many may me more most much must my need no not of "
    "on one only or other our please should so some sort such than that the their them then there these they this to "
    "too type us was we were what what's when where where's which who who's whom whose why will with would you your "
    "ever".split()
)


def words(text: str) -> list[str]:
    """Return the words of a text as written; an underscore parts words, as in a field's name."""
    return _WORD.findall(text)


def telling(text: str) -> list[str]:
    """Return the words that say what a text is about, as written."""
    return [word for word in words(text) if word.lower() not in _STOP_WORDS]


def without_each(question: str) -> list[str]:
    """Return the question without its first telling word, without its second, and so on."""
    spans = [found.span() for found in _WORD.finditer(question) if found[0].lower() not in _STOP_WORDS]
    return [" ".join((question[:start] + question[end:]).split()) for start, end in spans]


def names(question: str) -> frozenset[str]:
    """Return the stems of the numbers and of the capitalised words that do not open the question.

    The words of a question all in capitals are no names.
    """
    spoken = telling(question)
    opening = words(question)[:1]
    named = [word for word in spoken if word[0].isupper() and len(word) > 1 and [word] != opening]
    numbers = [word for word in spoken if any(map(str.isdigit, word))]
    return frozenset(map(stem, numbers if len(named) == len(spoken) > 2 else [*named, *numbers]))


def extremes(question: str) -> frozenset[str]:
    """Return the stems of the words that single one out of many: "longest", "first", "only", "average"."""
    return frozenset(stem(word) for word in words(question) if _EXTREME.fullmatch(word))


def stems(text: str) -> frozenset[str]:
    """Return the stems of all words of a text."""
    return frozenset(map(stem, words(text)))


def stem(word: str) -> str:
    """Return what a word shares with its other forms: a few of Porter's rules (1980), for matching, not for reading.

    >>> stem("Cherries") == stem("cherry"), stem("visited") == stem("visits"), stem("planet") == stem("plant")
    (True, True, False)
    """
    word = word.lower().replace("’", "'").removesuffix("'s").removesuffix("'")
    word = _singular(word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix)
            if word[-1] == word[-2] and word[-1] not in "ls":  # stopped → stop, but called → call
                word = word[:-1]
            break
    if len(word) > 3:
        word = word.removesuffix("e")
        if word.endswith("y"):
            word = word[:-1] + "i"
    return word


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
