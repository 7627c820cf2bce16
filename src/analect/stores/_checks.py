"""What every store refuses."""

from __future__ import annotations

import numpy as np

from analect.errors import StoreError
from analect.types import Entry


def check_vectors(entry: Entry, *, dim: int) -> None:
    """Raise `StoreError` unless the entry has one finite float32 vector of `dim` for each of its chunks."""
    vectors = entry.vectors
    wanted = (len(entry.chunks), dim)
    if entry.chunks and (vectors.shape != wanted or vectors.dtype != np.float32 or not np.isfinite(vectors).all()):
        raise StoreError(
            f"document {entry.document.id!r}: its vectors are {vectors.dtype} {vectors.shape}, "
            f"expected finite float32 {wanted}; nothing was written"
        )
