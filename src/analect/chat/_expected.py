"""What an answer must look like, judged by the question word: "when" wants a time, "who" a name, "how many" a number.

After the answer types of Li & Roth 2002, "Learning Question Classifiers", as patterns. English questions only: where no
pattern applies, nothing is expected and nothing is held against a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from analect.chat import _patterns as p
from analect.chat._words import stem, stems, telling, words

# Things that are told apart by a name of their own: "Which school did she go to?"
_NAMED = (
    "school|college|university|hospital|museum|shop|bakery|laboratory|town|city|village|county|country|river|street|"
    "language"
)
_MADE_BY = (
    "brand|make|model|breed|manufacturer|maker|builder|company|firm|supplier|organi[sz]ation|newspaper|publisher|"
    "author|artist|architect|designer|director|player|teacher|doctor"
)
_PAID = r"(?:costs?|prices?|fare|fee|charge|salar(?:y|ies)|wages?|earns?|rent)"
_UNITS = {  # of "how many …": what stands after the number instead of the word itself
    "per ?cent|percentage points?": p.SHARE,
    "degrees": p.HEAT,
    p.MASSES: p.measured(p.MASSES),
    p.LENGTHS: p.LENGTH,
    p.TIMES: p.DURATION,
    p.COINS: p.MONEY,
    p.LITRES: p.measured(p.LITRES),
}
_ITS = r"\bwhat(?:'s| is| are)? (?:the|your) (?:\w+ ){0,2}"

# What is asked → what an answer shows; the first that applies counts.
_TABLE: tuple[tuple[str, str], ...] = (
    (r"e-?mail", p.MAIL),
    (r"\b(?:phone|telephone|mobile|extension|fax)\b.*\bnumber\b|\bnumber\b.*\b(?:phone|call|ring)\b", p.DIGITS),
    (r"\b(?:post|zip) ?code\b", p.POSTCODE),
    (rf"{_ITS}(?:code|password|pin|combination)\b", p.CODE),
    (rf"{_ITS}(?:website|web ?page|link|url)\b", p.SITE),
    (rf"{_ITS}address\b", p.STREET),
    (r"\b(?:what|which) colou?r", p.COLOUR),
    (r"\b(?:what|which) year\b", p.YEAR),
    (r"\b(?:what|which) (?:percentage|share|proportion)\b", p.SHARE),
    *((rf"\bhow many (?:{units})\b", shown) for units, shown in _UNITS.items()),
    (r"\bwhat times?\b|\bhow (?:late|early)\b", rf"{p.CLOCK}|\b(?:an hour|hours?|minutes|ahead|in advance)\b"),
    (r"\bhow often\b|\bhow many times\b", p.OFTEN),
    (r"\bhow long (?:has|have|had|do|does|did|will)\b", p.LASTING),
    (r"\bhow long\b", rf"{p.LASTING}|{p.LENGTH}|{p.CLOCK}|{p.ITEMS}"),
    (r"\bhow old\b", p.AGE),
    (r"\bhow far\b", rf"{p.LENGTH}|{p.measured(p.TIMES)}"),
    (r"\bhow (?:tall|high|deep|wide|thick|broad)\b", p.LENGTH),
    (r"\bhow (?:hot|warm|cold)\b|\btemperature\b", p.HEAT),
    (r"\bhow heavy\b|\bweigh", p.measured(p.MASSES)),
    (r"\bhow (?:fast|quickly|soon)\b|\b(?:what|top) speed\b", p.SPEED),
    (r"\bhow (?:large|big)\b", p.NUMBER),
    (r"\bhow many\b|\bwhat(?:'s| is| was) the number of\b", p.COUNT),
    (r"\bwhen (?:was|were|did)\b", p.PAST),
    (r"\bwhen\b|\b(?:what|which) (?:days?|dates?|months?|weeks?)\b", p.DATE),
    (rf"\b(?:how much|what|which|cheap\w*|expensive)\b.*\b{_PAID}\b", p.MONEY),
    (r"\bhow much (?:is|are|was|were|do|does|did|will|would|for|to)\b", p.MONEY),
    (r"\bhow much .*\b(?:pay|paid|spend|spent|money)\b", p.MONEY),
    (r"\bhow much\b", p.AMOUNT),
    (rf"\b(?:what|which) (?:\w+ )?(?:{_NAMED})\b", p.PROPER),
    (rf"\b(?:what|which) (?:\w+ )?(?:{_MADE_BY})\b", p.NAME),
    (r"\b(?:name of|(?:what|which) name|names|called)\b|\bname\?", p.TITLE),
    (r"\b(?:who|whom|whose)\b", p.PERSON),
    (r"\bwhere\b", p.PLACE),
)
_CASED = frozenset((p.PROPER, p.NAME, p.TITLE, p.PERSON, p.POSTCODE, p.STREET))  # capitals are what tells these
_EXPECTED = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(shown, re.NOFLAG if shown in _CASED else re.IGNORECASE))
    for asked, shown in _TABLE
)

_YES_OR_NO = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had|am)\b",
    re.IGNORECASE,
)
_QUESTION_WORD = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how)\b", re.IGNORECASE)
_LATER_CLAUSE = re.compile(r"\b(?:when|where|who|whose|how)\b")
_COUNTED = re.compile(r"\bhow (?:many|much)\s+(?:of\s+)?((?:[\w-]+\s*){1,3})", re.IGNORECASE)
_COUNTS = re.compile(p.COUNT, re.IGNORECASE)
_PART_END = re.compile(r"[.;:|]")
_HARDLY_NUMBERS = frozenset(("no", "one", "once", "twice", "half"))
_AFTER_NUMBER = 3  # words after a number that may say what it counts: "nine carved wooden snails"
_NOT_COUNTED = frozenset("is are was were does did will can for in on at of from to by with".split())


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer shows: `shown` must be found in it, and `counted` says of what a number is asked, if one is."""

    shown: re.Pattern[str] | None
    counted: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether a name is expected: a table's header, all in capitals, is none."""
        return self.shown is not None and self.shown.pattern in _CASED

    def contradicted_by(self, text: str, *, asked: frozenset[str]) -> bool:
        """Tell whether the text shows nothing of what is expected that the question (`asked`, stems) does not say."""
        if self.shown is None:
            return False
        if self.counted:
            return not any(is_count(number) or self.names(number, after) for number, after in after_numbers(text))
        return all(found.lastgroup == "other" or _only(found[0], asked) for found in self.shown.finditer(text))

    def names(self, number: str, after: list[str]) -> bool:
        """Tell whether what is counted stands after a number; right after it if it is "one" or "no"."""
        return bool(stems(" ".join(self.counted)) & stems(" ".join(after if is_count(number) else after[:1])))


def expected(question: str) -> Expected:
    """Return what an answer to the question must show; the first question word decides, a yes or no shows nothing."""
    asked = _QUESTION_WORD.search(question)
    if asked is None or _YES_OR_NO.match(question) or asked[0].lower() == "why":
        return Expected(None)
    # "Which plant closes its leaves when touched?" asks for no time.
    clause = question[asked.start() : _second_clause(question, asked.end())]
    for pattern, shown in _EXPECTED:
        if pattern.search(clause):
            return Expected(shown, counted=_counted(clause) if shown.pattern == p.COUNT else ())
    return Expected(None)


def is_count(number: str) -> bool:
    """Tell whether a number counts by itself; "one" and "no" count only what they stand before."""
    return number.lower() not in _HARDLY_NUMBERS


def after_numbers(text: str) -> list[tuple[str, list[str]]]:
    """Return every number of the text with the words that may say what it counts; none at the end of a sentence."""
    found = list(_COUNTS.finditer(text))
    return [(each[0], words(_PART_END.split(text[each.end() :])[0])[:_AFTER_NUMBER]) for each in found]


def _second_clause(question: str, start: int) -> int:
    later = _LATER_CLAUSE.search(question, start)
    return later.start() if later else len(question)


def _counted(clause: str) -> tuple[str, ...]:
    found = _COUNTED.search(clause)
    noun = []
    for word in found[1].split() if found else ():
        if word.lower() in _NOT_COUNTED:
            break
        noun.append(word)
    return tuple(telling(" ".join(noun)))


def _only(text: str, asked: frozenset[str]) -> bool:
    spoken = telling(text) or words(text)
    return bool(spoken) and all(stem(word) in asked for word in spoken)
