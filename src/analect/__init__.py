"""analect: passages found, and answers that can be checked.

`Corpus` is the door; the values it takes and gives are here too. Errors are in `analect.errors`.
"""

from analect.corpus import Corpus, View
from analect.errors import AnalectError
from analect.types import (
    AddProgress,
    AddReport,
    Answer,
    Chunk,
    Citation,
    Condition,
    Document,
    Hit,
    ReadFailure,
    Status,
)

__all__ = [
    "AddProgress",
    "AddReport",
    "AnalectError",
    "Answer",
    "Chunk",
    "Citation",
    "Condition",
    "Corpus",
    "Document",
    "Hit",
    "ReadFailure",
    "Status",
    "View",
]
