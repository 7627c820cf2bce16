"""What a condition means, and how one is written on the command line.

A missing field (or None) never matches. A string value is read as the field's own type, so `price<100` compares
numbers when the field holds numbers and `zip=02139` compares text when it holds text; a value that cannot be read so
never matches. Strings compare by code point. A field that holds several strings matches `=`, `in` and `any` when one of
them does, and `!=` when none does; it has no order.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from analect.errors import InputError
from analect.types import Condition, Filter, Metadata, Operator, Value

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_IN = re.compile(r"^(?P<field>.+?)\s+in\s+(?P<value>.+)$", re.DOTALL)
_COMPARE = re.compile(r"^(?P<field>[^<>=!]+?)\s*(?P<op>!=|<=|>=|=|<|>)\s*(?P<value>.*)$", re.DOTALL)


def matches(where: Filter, metadata: Metadata) -> bool:
    """Return whether every condition holds.

    >>> matches((Condition("price", "<", "100"),), {"price": 99.5})
    True
    >>> matches((Condition("colour", "=", "red"),), {"price": 99.5})
    False
    """
    return all(_holds(condition, metadata.get(condition.field)) for condition in where)


def _holds(condition: Condition, value: Value) -> bool:
    if value is None:
        return False
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    values = value if isinstance(value, tuple) else (value,)
    if condition.op in _ORDER:
        return not isinstance(value, tuple) and _ordered(condition.op, value, condition.value)
    equal = any(_equal(have, want) for have in values for want in wanted)
    return not equal if condition.op == "!=" else equal


def _equal(value: Value, wanted: Value) -> bool:
    wanted = read_as(value, wanted)
    return wanted is not None and isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _ordered(op: str, value: Value, wanted: Value) -> bool:
    wanted = read_as(value, wanted)
    if isinstance(value, bool) or isinstance(wanted, bool) or wanted is None:
        return False
    if isinstance(value, str) != isinstance(wanted, str):
        return False
    return _ORDER[op](value, wanted)


def read_as(value: Value, wanted: Value) -> Value:
    """Return `wanted`, read as the type of `value` when it is a string and `value` is not; None when it cannot be."""
    if not isinstance(wanted, str) or isinstance(value, str | tuple):
        return wanted
    if isinstance(value, bool):
        return {"true": True, "false": False}.get(wanted.lower())
    return as_number(wanted)


def as_number(text: str) -> int | float | None:
    """Return the number that `text` writes, or None."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def parse_condition(text: str) -> Condition:
    """Return the condition that `FIELD=V`, `FIELD!=V`, `FIELD<V`, `<=`, `>`, `>=` or `FIELD in a,b` writes.

    Raises `InputError` for anything else.

    >>> parse_condition("category_name=Components, Saddles")
    Condition(field='category_name', op='=', value='Components, Saddles')
    >>> parse_condition("colour in red,green")
    Condition(field='colour', op='in', value=('red', 'green'))
    """
    if found := _COMPARE.match(text.strip()):
        op: Operator = found["op"]  # type: ignore[assignment]  # the pattern admits nothing else
        return Condition(found["field"].strip(), op, found["value"].strip())
    if found := _IN.match(text.strip()):
        return Condition(found["field"].strip(), "in", tuple(part.strip() for part in found["value"].split(",")))
    raise InputError(f"condition {text!r} is not of the form FIELD=V (or != < <= > >=) or 'FIELD in a,b'")


def as_filter(where: Filter | Iterable[Condition | str]) -> Filter:
    """Return a filter from conditions and strings such as "price<100"."""
    if isinstance(where, str | Condition):
        where = (where,)
    return tuple(parse_condition(each) if isinstance(each, str) else each for each in where)
