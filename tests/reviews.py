"""A table of made-up reviews, the same for the same seed: what tests of paid services add."""

from __future__ import annotations

import csv
import random
from pathlib import Path

TEMPLATE = "Title: {Summary}; Content: {Text}"
_WORDS = (
    "garden bread coffee quiet gate winter honey small bitter sweet parcel late early broken fresh cheap dear kettle "
    "orchard apple noodle tin crunchy stale salty friendly village tea sugar box crate dog cat puppy morning evening"
).split()


def write_reviews(path: Path, *, count: int) -> list[str]:
    """Write a CSV of `Id`, `Summary` and `Text`, and return the texts that the template makes of it."""
    chance = random.Random(7)
    texts = []
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["Id", "Summary", "Text"])
        for number in range(count):
            summary = f"review-{number}."  # a word that no other has
            words = " ".join(chance.choice(_WORDS) for _ in range(chance.randint(3, 12)))
            rows.writerow([number, summary, words])
            texts.append(f"Title: {summary}; Content: {words}")
    return texts
