"""The text of a record from a template: "Title: {Summary}; Content: {Text}"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from analect.errors import InputError
from analect.types import Value

_PART = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class Template:
    """A text with `{field}` in it; `{{` and `}}` stand for braces.

    Not Python's format language: a field may be called anything ("price:usd", "user.name"), and what is in the braces
    is only ever a name.

    >>> Template("{{{Summary}}}: {Text}").fill({"Summary": "Good", "Text": "I like it"})
    '{Good}: I like it'
    """

    def __init__(self, template: str) -> None:
        self._parts: list[tuple[str, str | None]] = []
        end = 0
        for found in _PART.finditer(template):
            if found[0] in ("{", "}"):
                raise InputError(
                    f"template {template!r} has a single {found[0]!r} at character {found.start()}: "
                    "write {field} for a field, {{ and }} for braces"
                )
            literal = template[end : found.start()] + (found[0][0] if found[1] is None else "")
            self._parts.append((literal, found[1]))
            end = found.end()
        self._parts.append((template[end:], None))
        self.fields = frozenset(field for _, field in self._parts if field is not None)
        if not self.fields:
            raise InputError(f"template {template!r} names no field: write one in braces, such as {{text}}")

    def fill(self, values: Mapping[str, Value]) -> str:
        """Return the template with each field's value; a missing one is empty."""
        return "".join(
            literal + ("" if field is None else as_text(values.get(field))) for literal, field in self._parts
        )


def as_text(value: Value) -> str:
    """Return a value as it stands in a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def check_fields(wanted: Iterable[str], *, present: Iterable[str]) -> None:
    """Raise `InputError` for the first wanted field that no record has, naming those that are nearest to it."""
    known = list(present)
    for field in wanted:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=3, cutoff=0.5)
            near = near or [name for name in known if name.lower() == field.lower()] or known[:8]
            raise InputError(f"no record has a field {field!r}: there is {', '.join(map(repr, near)) or 'none at all'}")
