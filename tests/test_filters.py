"""What conditions mean and how they are written."""

from __future__ import annotations

import pytest

from analect.errors import InputError
from analect.filters import as_filter, matches, parse_condition
from analect.types import Condition

DOCUMENT = {"price": 12.5, "n": 7, "code": "007", "sale": True, "tags": ("red", "blue"), "none": None, "name": "Ä b"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("price=12.5", True),
        ("price<100", True),
        ("price<9", False),  # numbers, not text
        ("price>=12.5", True),
        ("n=7", True),
        ("n=007", True),  # read as the field's own type
        ("code=007", True),
        ("code=7", False),
        ("code<1", True),  # text, not numbers
        ("n!=7", False),
        ("n!=8", True),
        ("n=seven", False),
        ("n<seven", False),
        ("sale=true", True),
        ("sale=True", True),
        ("sale=1", False),
        ("sale<2", False),
        ("tags=red", True),
        ("tags!=red", False),
        ("tags!=green", True),
        ("tags in green, blue", True),
        ("tags<z", False),
        ("none=x", False),
        ("none!=x", False),
        ("missing!=x", False),
        ("missing=", False),
        ("name=Ä b", True),
        ("name in x,Ä b", True),
        ("n in 1,7", True),
        ("n in 1,2", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert matches((parse_condition(text),), DOCUMENT) is holds


def test_every_condition_must_hold() -> None:
    assert matches(as_filter(["n=7", "price>10"]), DOCUMENT)
    assert not matches(as_filter(["n=7", "price>100"]), DOCUMENT)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition("n", "=", 7), True),
        (Condition("n", "=", 7.0), True),
        (Condition("sale", "=", True), True),
        (Condition("sale", "=", 1), False),
        (Condition("n", "=", True), False),
        (Condition("code", "=", 7), False),
        (Condition("tags", "any", ("blue", "x")), True),
        (Condition("tags", "any", ("x",)), False),
        (Condition("name", "any", ("Ä b",)), True),
    ],
)
def test_typed_conditions(condition: Condition, holds: bool) -> None:
    assert matches((condition,), DOCUMENT) is holds


@pytest.mark.parametrize("text", ["", "price", "=5", "  ", "price in", "in a,b"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="FIELD=V"):
        parse_condition(text)


def test_fields_and_values_may_hold_other_signs() -> None:
    assert parse_condition("a b=c=d") == Condition("a b", "=", "c=d")
    assert parse_condition("when >= 2024-01-01T10:00") == Condition("when", ">=", "2024-01-01T10:00")
    assert as_filter("n=7") == (Condition("n", "=", "7"),)
