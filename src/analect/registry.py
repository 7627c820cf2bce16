"""Which parts exist: family and name → "module:Class" and the extra it needs. Imports on first use.

Other packages add parts through the entry points `analect.chunkers`, `analect.embedders`, `analect.stores`,
`analect.retrievers` and `analect.chat`, and readers through `analect.readers`, named by the file suffix they read.
"""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, cast

from analect.config import PartSettings, nearest
from analect.errors import ConfigError, MissingExtraError
from analect.protocols import Reader


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part is, and the extra that installs what it imports (None: the default install has it)."""

    target: str
    extra: str | None = None


PARTS: dict[str, dict[str, Part]] = {
    "source": {
        "files": Part("analect.sources.files:FilesSource"),
    },
    "chunker": {
        "markdown": Part("analect.chunkers.markdown:MarkdownChunker"),
        "whole": Part("analect.chunkers.whole:WholeChunker"),
    },
    "embedder": {
        "local": Part("analect.embedders.local:LocalEmbedder"),
        "hashing": Part("analect.embedders.hashing:HashingEmbedder"),
        "openai": Part("analect.embedders.openai:OpenAIEmbedder", extra="openai"),
    },
    "store": {
        "sqlite": Part("analect.stores.sqlite:SqliteStore"),
        "memory": Part("analect.stores.memory:MemoryStore"),
    },
    "index": {
        "exact": Part("analect.indexes.exact:ExactIndex"),
        "lexical": Part("analect.indexes.lexical:LexicalIndex"),
    },
    "retriever": {
        "dense": Part("analect.retrievers.dense:DenseRetriever"),
        "lexical": Part("analect.retrievers.lexical:LexicalRetriever"),
        "hybrid": Part("analect.retrievers.hybrid:HybridRetriever"),
    },
    "chat": {
        "extractive": Part("analect.chat.extractive:ExtractiveAnswerer"),
        "openai": Part("analect.chat.openai:OpenAIAnswerer", extra="openai"),
    },
    "server": {
        "http": Part("analect.server.settings:ServerSettings"),
    },
}

READERS: dict[str, Part] = {
    ".md": Part("analect.readers.markdown:MarkdownReader"),
    ".markdown": Part("analect.readers.markdown:MarkdownReader"),
    ".txt": Part("analect.readers.text:TextReader"),
    ".html": Part("analect.readers.html:HtmlReader"),
    ".htm": Part("analect.readers.html:HtmlReader"),
    ".xhtml": Part("analect.readers.html:HtmlReader"),
}

_GROUPS = {"chat": "analect.chat"}  # every other group is the family's plural
_SIMPLE = (str, int, float, bool)


def load_part(family: str, name: str) -> Any:
    """Return the class of a part. Raises `ConfigError` (no such part) or `MissingExtraError` (no such library)."""
    part = PARTS[family].get(name)
    if part is not None:
        return _load(part, label=f"the {family} {name!r}")
    others = _entry_points(_GROUPS.get(family, f"analect.{family}s"))
    if name in others:
        return others[name].load()
    raise ConfigError(f"there is no {family} {name!r}{nearest(name, (*PARTS[family], *others))}")


def build_part(family: str, settings: PartSettings, **given: Any) -> Any:
    """Return the part that the settings name, made of its own settings and of those `given` parts that it asks for.

    Raises `ConfigError` for a setting that the part does not have, or a value of the wrong type.
    """
    part = load_part(family, settings.use)
    parameters = inspect.signature(part).parameters
    hints = typing.get_type_hints(part.__init__)
    own = {name: hints.get(name) for name in parameters if name not in given and _is_setting(hints.get(name))}
    options = {}
    for key, value in settings.options.items():
        if key not in own:
            raise ConfigError(f"[{family}] use = {settings.use!r} has no setting {key!r}{nearest(key, (*own, 'use'))}")
        options[key] = _coerce(value, own[key], where=f"[{family}] {key}")
    return part(**options, **{name: value for name, value in given.items() if name in parameters})


@cache
def reader_for(suffix: str) -> Reader | None:
    """Return the reader of files with that lower-case suffix, such as ".md"; None when there is none."""
    part = READERS.get(suffix)
    if part is not None:
        return cast(Reader, _load(part, label=f"the reader of {suffix} files")())
    others = _entry_points("analect.readers")
    return cast(Reader, others[suffix].load()()) if suffix in others else None


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _load(part: Part, *, label: str) -> Any:
    module, _, name = part.target.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        # Only what the extra would install: a broken install shows its own error.
        if part.extra is None or error.name is None or error.name.startswith("analect"):
            raise
        raise MissingExtraError(label, extra=part.extra, module=error.name) from error


def _is_setting(hint: Any) -> bool:
    return bool(_choices(hint)) and all(each in _SIMPLE or isinstance(each, str) for each in _choices(hint))


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the simple types (or literal words) that a setting may have, without None."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(each for each in typing.get_args(hint) if each is not type(None))
    return () if hint is None else (hint,)


def _coerce(value: Any, hint: Any, *, where: str) -> Any:
    """Return the value as the setting's type; the environment gives strings for numbers and switches."""
    choices = _choices(hint)
    if value in [each for each in choices if isinstance(each, str)]:
        return value
    for kind in (each for each in _SIMPLE if each in choices):
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
        if isinstance(value, str) and kind is bool and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, str) and kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    wanted = " or ".join(each if isinstance(each, str) else each.__name__ for each in choices)
    raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
