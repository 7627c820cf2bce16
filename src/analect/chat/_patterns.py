"""What a number, a time, a price, a place or a name looks like in English text: the words of `_expected`'s table.

Patterns, to be compiled without regard to case unless they tell capitals (`CAPITAL` is in them).
"""

from __future__ import annotations

_TEENS = r"(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?"
_TO_TWELVE = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
NUMBER = (
    rf"(?:\d[\d.,]*|\b(?:{_TO_TWELVE}|{_TEENS}|"
    r"hundred|thousand|million|half|once|twice|dozen|no|several)\b)"
)

LENGTHS = (
    "mm|cm|m|km|metres?|meters?|centimet(?:re|er)s?|millimet(?:re|er)s?|kilomet(?:re|er)s?|miles?|feet|foot|ft|"
    "inch(?:es)?|yards?"
)
TIMES = "seconds?|minutes?|mins?|hours?|days?|nights?|weeks?|fortnights?|months?|years?|terms?|decades?|centur(?:y|ies)"
MASSES = "kg|g|mg|grams?|kilos?|kilograms?|tonnes?|tons?|lbs?|oz|ounces?|pounds?|stones?"
LITRES = "lit(?:re|er)s?|l|ml|cl"
COINS = "pounds?|dollars?|euros?|cents?|pence"


def measured(units: str) -> str:
    """Return the pattern of a number of such units: "1.8 m", "twelve large metres"."""
    return rf"{NUMBER}[\s-]?(?:\w+\s)?(?:{units})\b"


_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?|weekdays?|weekends?"
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
_FEASTS = "spring|summer|autumn|winter|christmas|easter"
YEAR = r"\b1[0-9]{3}\b|\b20\d\d\b"
_ORDINAL = r"\d+(?:st|nd|rd|th)|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)"
CLOCK = (
    r"\b\d{1,2}[:.]\d\d\b|\b\d{1,2}\s?[ap]\.?m\b|\b(?:noon|midday|midnight|dawn|dusk|sunrise|sunset|o'clock)\b|"
    rf"\b(?:at|by|until|before|after|past|about) (?:{_TO_TWELVE})\b|\b(?:{_TO_TWELVE}) in the\b"
)
DATE = (
    rf"\b(?:{_MONTHS}|{_DAYS}|{_FEASTS}|morning|afternoon|evening|night|today|daily|weekly|yearly|term|after|before|"
    rf"until|when|while|during|once|since|as soon as|within|every|half hour)\b|{YEAR}|{CLOCK}|"
    rf"\b\d+(?:st|nd|rd|th)\b|\b(?:{_ORDINAL}) (?:day|week|month|year)\b|\bin \d+\.\d+\b"
)
PAST = rf"\b(?:{_MONTHS}|{_DAYS}|{_FEASTS}|after|before|ago|century)\b|{YEAR}"
OFTEN = (
    r"\b(?:every|each|once|twice|times|daily|weekly|monthly|yearly|annually|hourly|nightly|always|never|per)\b|"
    r"\ban? (?:day|week|month|year)\b|\bon \w+days\b"
)
DURATION = rf"{measured(TIMES)}|\b(?:an?|the whole) (?:\w+ )?(?:{TIMES})\b|\b(?:until|overnight)\b"
LASTING = rf"{DURATION}|{NUMBER} (?:{_DAYS})\b|(?:{CLOCK}) (?:to|until|and|-) (?:{CLOCK})|\bsince\b"
AGE = (
    rf"\b(?:aged?|over|under|above|below|at least|born|built|founded|dates? from)\b|{measured('years?')}|{YEAR}|"
    rf"\b(?:is|was|are|were|age of|since) {NUMBER}"
)

# A number that counts: no price, time of day, date, year, degree, share, length or weight, and no "one of his".
COUNT = (
    rf"(?<![£$€¥:\d.,-])(?!(?:1\d|20)\d\d\b(?! [a-z]+s\b)|\d+\.\d+\b(?! [mb]illion)){NUMBER}(?! (?:{_MONTHS})\b)"
    rf"(?![\s-]?(?:{LENGTHS}|{TIMES}|{MASSES}|km/h|mph|euros?|dollars?|ml|per ?cent)\b)"
    r"(?!:\d|\d|\s?[°%]| of (?:the|his|her|its|our|their|us)\b)"
)
LENGTH = rf"{measured(LENGTHS + '|storeys?|floors?')}|_(?:mm|cm|m|km)\b"  # a field may carry its unit: height_cm
ITEMS = rf"{NUMBER} (?:names?|people|words?|letters|characters|pages?|lines|items?|entries|pupils)\b"
AMOUNT = rf"{NUMBER}|\ban? (?:\w+ )?(?:cup|spoonful|teaspoon|pinch|lit(?:re|er)|metre|kilo)\b"
MONEY = (
    rf"[£$€¥]\s?\d|\d\s?(?:[£$€¥]|p\b|cents?\b|pence\b)|{measured(COINS)}|"
    r"\b(?:free|for nothing|\w+pence|charged|no charge)\b"
)
SHARE = r"\d\s?%|\bper ?cent\b|\b(?:half|third|quarter|double)\b"
HEAT = r"°|\bdegrees?\b|\bfrost"
SPEED = (
    rf"{measured('km/h|kmh|mph|kph|knots?|m/s|' + TIMES)}|\d\s?[kmg]?bit|\bper (?:second|minute|hour)\b|"
    r"\ban? (?:second|minute|hour|day|year)\b|\b(?:at once|same day|immediately)\b"
)
COLOUR = (
    r"\b(?:black|white|gr[ea]y|red|orange|yellow|green|blue|purple|violet|pink|brown|gold(?:en)?|silver|cream|scarlet|"
    r"crimson)\b"
)

MAIL = r"\S@\S"
DIGITS = r"\d(?:[ ()/-]*\d){2,}"
POSTCODE = r"\b[A-Z]{1,2}\d[\dA-Z]?\s\d[A-Z]{2}\b|\b\d{5}\b"
CODE = r"\b(?=[\w-]*\d)[\w-]{3,}"
SITE = r"\bwww\.|https?:|\w\.[a-z]{2,}\b"
STREET = r"\b\d+[a-z]?,? [A-Z]|[A-Z]\w+ (?:Street|Road|Lane|Avenue|Square|Row|Yard|Way|Close|Drive|Place)\b"
PLACE = (
    r"\b(?:in|at|on|by (?:the|an?)|behind|beside|next to|under|near|nearest|from|to|inside|outside|between|opposite|"
    r"along|above|below|over|through|around|into|against|across|off|towards)\s+(?!(?:an? |the )?(?:"
    rf"{_MONTHS}|{_DAYS}|morning|afternoon|evening|week|year|month|day|time)\b|\d)[A-Za-z`~/]|"
    r"\b(?:upstairs|downstairs|indoors|outdoors|outside|inside|online|abroad|everywhere|nowhere)\b"
)

CAPITAL = r"[A-Z][a-zà-ÿ’'][\w’'-]*"
# A capitalised word that does not only open a sentence, or two in a row.
PROPER = rf"(?:\b{CAPITAL}(?:\s+{CAPITAL})+|(?<=[a-z,;:|(] )(?!(?i:{_MONTHS}|{_DAYS})\b){CAPITAL})"
# After "in" and the like it names a place, after "the" a thing: as group `other` they are found first and passed over.
_WITHIN = rf"\b(?:[Ii]n|[Aa]t|[Oo]n|[Nn]ear|[Oo]f|[Ff]or|[Bb]ehind|[Bb]eside)\s+(?:the\s+)?{CAPITAL}(?:\s+{CAPITAL})*"
NAME = rf"(?P<other>{_WITHIN})|{PROPER}"
TITLE = rf"{NAME}|[\"“`‘][^\"”`’]+[\"”`’]"
_PEOPLE = (
    r"\b(?:pupils?|students?|teachers?|doctors?|nurses?|engineers?|keepers?|managers?|directors?|officers?|owners?|"
    r"volunteers?|helpers?|gardeners?|customers?|tenants?|landlords?|residents?|neighbours?|farmers?|workers?|"
    r"drivers?|apprentices?|captains?|coach(?:es)?|clerks?|councillors?|joiners?|divers?|brothers?|sisters?|mother|"
    r"father|parents?|wife|husband|famil(?:y|ies)|friends?|teams?|clubs?|compan(?:y|ies)|firms?|council|police|"
    r"trust(?:ees)?|everybody|everyone|nobody)\b"
)
PERSON = rf"(?P<other>{_WITHIN}|(?<!\bby )\b[Tt]he(?:\s+{CAPITAL})+)|{PROPER}|(?i:{_PEOPLE})"
