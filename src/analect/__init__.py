"""analect: passages found, and answers that can be checked.

`Corpus` is the door; the values it takes and gives are here too. Errors are in `analect.errors`. Names are imported
when they are first used, so that `analect --help` waits for neither numpy nor the corpus.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analect.corpus import Corpus as Corpus
    from analect.corpus import View as View
    from analect.embedding_tables import embed_table as embed_table
    from analect.errors import AnalectError as AnalectError
    from analect.types import AddProgress as AddProgress
    from analect.types import AddReport as AddReport
    from analect.types import Answer as Answer
    from analect.types import Chunk as Chunk
    from analect.types import Citation as Citation
    from analect.types import Condition as Condition
    from analect.types import Document as Document
    from analect.types import EmbedReport as EmbedReport
    from analect.types import Hit as Hit
    from analect.types import ReadFailure as ReadFailure
    from analect.types import Status as Status

_HOMES = {
    "Corpus": "analect.corpus",
    "View": "analect.corpus",
    "AnalectError": "analect.errors",
    "embed_table": "analect.embedding_tables",
}

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
    "EmbedReport",
    "Hit",
    "ReadFailure",
    "Status",
    "View",
    "embed_table",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'analect' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "analect.types")), name)


def __dir__() -> list[str]:
    return __all__
