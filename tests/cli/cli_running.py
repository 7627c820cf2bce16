"""What a run of the command line leaves behind, and the texts that are searched in these tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

GUIDE = """# Garden guide

The garden opens at nine in the morning.

The path from the gate leads past the pond, where three ducks live, and on to the old orchard with its forty apple
trees. Behind the orchard stands the shed in which the spades, rakes, barrows and watering cans are kept in good order.
Visitors may sit on any bench, feed no duck, pick no apple, and leave the barrows where they stand. Whoever wants to
help asks the gardener, who is most often found beside the compost with a fork in one hand and a cup of tea in the
other.

## Winter

From November the gates close at four. Snow is cleared from the main path only.
"""
PLANTS = """id,name,colour,height
1,Rose,red,120
2,Iris,blue,60
3,Tansy,yellow,90
"""


@dataclass(frozen=True)
class Ran:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)


Run = Callable[..., Ran]
