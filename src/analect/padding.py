"""How large one run of a model is: texts of like lengths, padded to one length, within a budget of tokens."""

from __future__ import annotations

BATCH_TOKENS = 768
"""Padded tokens in one run: as fast a token as more, all layers stay in cache, and the next caller waits less."""

LANES = 16
"""float32 in the widest vector register."""

_STEP, _SHORT_STEP, _SHORT = 4, 2, 32  # a shape seen before costs the engine less than a new one; padding costs as well


def padded_length(length: int) -> int:
    """Return the tokens that a text of `length` tokens takes in a run."""
    step = _SHORT_STEP if length <= _SHORT else _STEP
    return -(-length // step) * step


def in_lanes(length: int) -> int:
    """Return the tokens that a text of `length` tokens takes in a run whose sums over tokens may not depend on padding:
    whole registers, since zeros that fill one up make another order of adding."""
    return -(-length // LANES) * LANES
