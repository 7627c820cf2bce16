"""How texts are put into requests: up to the three caps of the service, and to a share of the quota, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_INPUTS = 2048
MAX_REQUEST_TOKENS = 300_000
_SHARE = 40  # requests that fill the quota of a minute: small ones fill it evenly
_AT_ONCE = 4  # a quarter of the quota may go in one request, when that is all there is to do


def most_of(cost: int, *, tpm: float | None) -> int:
    """Return what a request may cost the quota: all there is to do, when that is little, else a small share."""
    if not tpm or cost <= tpm / _AT_ONCE:
        return cost + 1
    return int(tpm * 0.98 / _SHARE)


def packed(rows: Sequence[int], tokens: Any, costs: Any, *, most: int) -> list[list[int]]:
    """Return the rows in requests that keep all caps, in order; `most` bounds what a request costs the quota.

    `tokens` and `costs` are asked by row. The third cap, the tokens of one text, is the embedder's to keep.
    """
    packs: list[list[int]] = []
    size, cost = 0, 0.0
    for row in rows:
        full = size + tokens[row] > MAX_REQUEST_TOKENS or cost + costs[row] > most
        if not packs or full or len(packs[-1]) >= MAX_INPUTS:
            packs.append([])
            size, cost = 0, 0.0
        packs[-1].append(row)
        size, cost = size + int(tokens[row]), cost + costs[row]
    return packs
