"""What an answer must look like, judged by the question word: "when" wants a time, "who" a name, "how many" a number.

After the answer types of Li & Roth 2002, "Learning Question Classifiers", as patterns. English questions only: where no
pattern applies, nothing is expected and nothing is held against a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from analect.chat._words import stem, stems, telling, words

_NUMBER = (
    r"(?:\d[\d.,]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|"
    r"hundred|thousand|million|half|once|twice|dozen|no|several)\b)"
)


# A number that counts: no price, time of day, year, degree or share, and no "one of his".
_COUNT = (
    rf"(?<![£$€¥:\d.,])(?<!\bin )(?<!\bsince )(?<!\bby )(?<!\buntil ){_NUMBER}"
    r"(?!:\d|\d|\s?[°%]| of (?:the|his|her|its|our|their|them|us)\b)"
)


def _measured(units: str) -> str:
    return rf"{_NUMBER}[\s-]?(?:\w+\s)?(?:{units})\b"


_LENGTHS = (
    "mm|cm|m|km|metres?|meters?|centimet(?:re|er)s?|millimet(?:re|er)s?|kilomet(?:re|er)s?|miles?|feet|foot|ft|"
    "inch(?:es)?|yards?|storeys?|floors?"
)
_TIMES = (
    "seconds?|minutes?|mins?|hours?|days?|nights?|weeks?|fortnights?|months?|years?|terms?|decades?|centur(?:y|ies)"
)
_MASSES = "kg|g|mg|grams?|kilos?|kilograms?|tonnes?|tons?|lbs?|oz|ounces?|pounds?|stones?"
_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?|weekdays?|weekends?"
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
_YEAR = r"\b1[0-9]{3}\b|\b20\d\d\b"
_ORDINAL = r"\d+(?:st|nd|rd|th)|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)"
_CLOCK = r"\b\d{1,2}[:.]\d\d\b|\b\d{1,2}\s?[ap]\.?m\b|\b(?:noon|midday|midnight|o'clock)\b"
_DATE = (
    rf"\b(?:{_MONTHS}|{_DAYS}|spring|summer|autumn|winter|christmas|easter|morning|afternoon|evening|night|today|"
    rf"daily|weekly|yearly|term|after|before|until|when|while|during|once|since|as soon as)\b|{_YEAR}|{_CLOCK}|"
    rf"\b\d+(?:st|nd|rd|th)\b|\b{_ORDINAL} (?:day|week|month|year)\b"
)
_LENGTH = rf"{_measured(_LENGTHS)}|_(?:mm|cm|m|km)\b"  # a field's name may carry the unit: height_cm
_DURATION = rf"{_measured(_TIMES)}|\b(?:an?|the whole) (?:\w+ )?(?:{_TIMES})\b|\b(?:until|overnight)\b"
_MONEY = (
    rf"[£$€¥]\s?\d|\d\s?(?:[£$€¥]|p\b|cents?\b|pence\b)|{_measured('pounds?|dollars?|euros?|cents?|pence')}|"
    r"\b(?:free|for nothing|\w+pence|charges?)\b"
)
_PLACE = (
    r"\b(?:in|at|on|by|behind|beside|next to|under|near|nearest|from|to|inside|outside|between|opposite|along|above|"
    r"below|over|through|around|into|against|across|off)\s+(?!(?:an? |the )?(?:"
    rf"{_MONTHS}|{_DAYS}|morning|afternoon|evening|week|year|month|day|time)\b|\d)[A-Za-z`~/]"
)
_AGE = rf"\b(?:aged?|over|under|above|below|at least|born|since|built|founded|dates? from)\b|{_measured('years?')}"
_OFTEN = (
    r"\b(?:every|each|once|twice|times|daily|weekly|monthly|yearly|annually|hourly|nightly|always|never|per)\b|"
    r"\ban? (?:day|week|month|year)\b|\bon \w+days\b"
)
_COLOUR = (
    r"\b(?:black|white|gr[ea]y|red|orange|yellow|green|blue|purple|violet|pink|brown|gold(?:en)?|silver|cream|scarlet|"
    r"crimson)\b"
)
_DIGITS = r"\d(?:[ ()/-]*\d){2,}"
# A capitalised word that does not only open a sentence, or two in a row.
_PROPER = (
    r"(?:\b[A-Z][\w’'-]+(?:\s+[A-Z][\w’'-]+)+|(?<=[a-z,;:|(] )(?!(?i:" + _MONTHS + "|" + _DAYS + r")\b)[A-Z][\w’'-]+)"
)
# After "in" and the like it names a place, after "the" a thing.
_NAME = r"(?<!\bin )(?<!\bat )(?<!\bfrom )(?<!\bnear )(?<!\b[Tt]he )" + _PROPER
# Things that are told apart by a name of their own: "Which school did she go to?"
_NAMED = (
    "brand|make|model|breed|manufacturer|maker|company|firm|supplier|organi[sz]ation|school|college|university|hospital|"
    "museum|shop|bakery|laboratory|newspaper|author|artist|architect|town|city|village|county|country|river|language"
)
_PAID = r"(?:cost|costs|price|prices|fare|fee|charge|salary|salaries|wages?|earn|earns|rent)"

# What is asked → what an answer shows; the first that applies counts.
_TABLE: tuple[tuple[str, str], ...] = (
    (r"e-?mail", r"\S@\S"),
    (r"\b(?:phone|telephone|mobile|extension|fax)\b.*\bnumber\b|\bnumber\b.*\b(?:phone|call|ring)\b", _DIGITS),
    (r"\b(?:post|zip) ?code\b", r"\b[A-Z]{1,2}\d[\dA-Z]?\s\d[A-Z]{2}\b|\b\d{5}\b"),
    (r"\bwhat(?:'s| is| are)? the (?:\w+ ){0,2}(?:code|password|pin)\b", r"\b(?=[\w-]*\d)[\w-]{3,}"),
    (r"\b(?:what|which) colou?r", _COLOUR),
    (r"\b(?:what|which) year\b", _YEAR),
    (r"\bwhat times?\b|\bhow (?:late|early)\b", rf"{_CLOCK}|\b(?:an hour|hours?|minutes)\b"),
    (r"\bhow often\b", _OFTEN),
    (r"\bhow long\b", _NUMBER + "|" + _DURATION),
    (r"\bhow old\b", _AGE),
    (r"\bhow (?:tall|high|deep|wide|far|thick|broad)\b", _LENGTH + "|" + _measured(_TIMES)),
    (r"\bhow (?:hot|warm|cold)\b|\btemperature\b", r"°|\bdegrees?\b|\bfrost"),
    (r"\bhow heavy\b|\bweigh", _measured(_MASSES)),
    (
        r"\bhow fast\b|\bwhat speed\b",
        rf"{_measured('km/h|kmh|mph|knots?|m/s|' + _TIMES)}|\bper (?:second|minute|hour)\b",
    ),
    (r"\bhow many\b|\bhow (?:large|big)\b|\bnumber of\b", _COUNT),
    (r"\bwhen\b|\b(?:what|which) (?:days?|dates?|months?|weeks?)\b", _DATE),
    (rf"\b{_PAID}\b|\bhow much (?:is|are|does|did|will|for)\b|\bhow much .*\b(?:pay|paid|spend|spent)\b", _MONEY),
    (r"\bhow much\b", _COUNT),
    (rf"\b(?:what|which) (?:\w+ )?(?:{_NAMED})\b", _PROPER),
    (r"\b(?:who|whose|whom|name of|(?:what|which) name|called)\b", _NAME),
    (r"\bwhere\b", _PLACE),
)
_CASED = frozenset((_NAME, _PROPER, _TABLE[2][1]))  # capitals are what tells these
_EXPECTED = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(shown, re.NOFLAG if shown in _CASED else re.IGNORECASE))
    for asked, shown in _TABLE
)

_YES_OR_NO = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had|am)\b",
    re.IGNORECASE,
)
_QUESTION_WORD = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how)\b", re.IGNORECASE)
_COUNTED = re.compile(r"\bhow (?:many|much)\s+(?:of\s+)?((?:[\w-]+\s*){1,3})", re.IGNORECASE)
_COUNTS = re.compile(_COUNT, re.IGNORECASE)
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
            counted = stems(" ".join(self.counted))
            return not any(
                is_count(number) or stems(" ".join(after)) & counted for number, after in after_numbers(text)
            )
        return all(_only(found[0], asked) for found in self.shown.finditer(text))


def expected(question: str) -> Expected:
    """Return what an answer to the question must show; the first question word decides, a yes or no shows nothing."""
    asked = _QUESTION_WORD.search(question)
    if asked is None or _YES_OR_NO.match(question) or asked[0].lower() == "why":
        return Expected(None)
    clause = question[asked.start() :]
    if asked[0].lower() in ("what", "which"):  # "Which plant closes its leaves when touched?" asks for no time
        clause = clause[: _second_clause(clause)]
    for pattern, shown in _EXPECTED:
        if pattern.search(clause):
            return Expected(shown, counted=_counted(clause) if shown.pattern == _COUNT else ())
    return Expected(None)


def is_count(number: str) -> bool:
    """Tell whether a number counts by itself; "one" and "no" count only what they stand before."""
    return number.lower() not in _HARDLY_NUMBERS


def after_numbers(text: str) -> list[tuple[str, list[str]]]:
    """Return every number of the text with the words that may say what it counts; none at the end of a sentence."""
    found = list(_COUNTS.finditer(text))
    return [(each[0], words(_PART_END.split(text[each.end() :])[0])[:_AFTER_NUMBER]) for each in found]


def _second_clause(clause: str) -> int:
    later = re.compile(r"\b(?:when|where|who|whose|how)\b").search(clause)
    return later.start() if later else len(clause)


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
