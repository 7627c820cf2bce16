"""Every error that analect raises on purpose.

```
AnalectError
├── InputError              what the caller gave cannot be used: a query, a path, a template, a condition
│   └── NotFoundError       an id, a file or a corpus that is not there
├── ConfigError             analect.toml or an ANALECT_… variable is wrong
│   └── MissingExtraError   a part needs a library that is not installed
├── ReadError               one document cannot be read (becomes an entry under `failed`)
├── ModelError              model files are missing, damaged, or not a model analect can run
├── EmbeddingError          a text that must be embedded could not be (a query; documents become `failed`)
├── OverloadedError         more texts are waiting than may wait; `retry_after` says when to come back
├── LedgerError             the ledger file cannot be read or written
├── RemoteError             an outside service refused a request, or could not be reached
└── StoreError              the store cannot be read or written
    ├── ForeignFileError    the corpus file is not an analect corpus, or is damaged
    ├── NewerSchemaError    the corpus file was written by a newer analect
    ├── EmbedderMismatchError   the store holds another model's vectors
    ├── ConflictError       another writer or another source has these documents
    └── RevisionExpired     changes since that revision are no longer known: read everything again
```

Each message says what happened, with which value, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping


class AnalectError(Exception):
    """The root of the tree: catch it to catch everything analect raises on purpose."""


class InputError(AnalectError):
    """What the caller gave cannot be used."""


class NotFoundError(InputError):
    """An id, a file or a corpus that was named is not there."""


class ConfigError(AnalectError):
    """A setting in `analect.toml` or in the environment is wrong."""


class MissingExtraError(ConfigError):
    """A part needs a library that is not installed; the message carries the pip line."""

    def __init__(self, part: str, *, extra: str, module: str) -> None:
        super().__init__(f"{part} needs the module {module!r}, which is not installed: pip install 'analect[{extra}]'")
        self.part = part
        self.extra = extra
        self.module = module


class ReadError(AnalectError):
    """One document cannot be read; a source turns it into a `ReadFailure` and goes on."""


class ModelError(AnalectError):
    """Model files are missing, damaged, or not of a kind that analect can run."""


class EmbeddingError(AnalectError):
    """A text that had to be embedded could not be."""


class OverloadedError(AnalectError):
    """More texts are waiting for the model than may wait; come back in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LedgerError(AnalectError):
    """The ledger file cannot be read or written."""


class RemoteError(AnalectError):
    """An outside service refused a request, or could not be reached.

    `status` is the HTTP status (None: there was no whole reply), `code` the service's own word for the error, `headers`
    those of the reply, names in lower case. The message never holds a key, a token or a text.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers: Mapping[str, str] = headers or {}


class StoreError(AnalectError):
    """The store cannot be read or written."""


class ForeignFileError(StoreError):
    """The corpus file is not an analect corpus, or it is damaged."""


class NewerSchemaError(StoreError):
    """The corpus file was written by a newer analect."""


class EmbedderMismatchError(StoreError):
    """The store holds vectors of another model: they must never meet in one search."""


class ConflictError(StoreError):
    """Documents belong to another source, or changed since they were read; `ids` names them."""

    def __init__(self, message: str, *, ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.ids = ids


class RevisionExpired(StoreError):
    """Changes since that revision are no longer known; read everything with `since=None`."""
