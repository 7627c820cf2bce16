"""The rows of an index: ids, metadata and vectors side by side, blocks to scan, and the rows of each field's values."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.filters import matches
from analect.indexes._scan import Block, CodeBlock, FloatBlock
from analect.types import Condition, Matrix, Metadata, Value

BLOCK_ROWS = 1 << 16  # of a block: long enough to scan at full speed, short enough to build again
_STREAMED_BYTES = 1 << 26  # of all codes: from here on blocks are scanned beside each other, not each by all cores
_CODED_ROWS = 2048  # below it, float32 rows fit the cache and need no codes


class Rows:
    """Parallel rows, only ever appended to: who looked at the first n earlier still sees the same n."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool  # of a thread for each core
        self.ids: list[str] = []
        self._metadata: list[Sequence[Metadata]] = []  # a part for each `append`
        self.vectors: Matrix = np.empty((0, 0), dtype=np.float32)
        self.norm = 0.0  # of the longest vector
        self.row_of: dict[str, int] = {}
        self.blocks: list[Block] = []
        self._fields: dict[str, _FieldRows] = {}
        self._fields_lock = threading.Lock()

    def append(self, ids: Sequence[str], metadata: Sequence[Metadata], *, vectors: Matrix, expected: int = 0) -> None:
        """Add rows; `expected` is how many there will be in all, as far as that is known."""
        start, stop = len(self.ids), len(self.ids) + len(ids)
        if stop > len(self.vectors):
            # Room to grow costs no memory before it is written to, and saves copying everything for a few rows more.
            capacity = max(stop, expected, len(self.vectors)) * 3 // 2
            grown = np.empty((capacity, vectors.shape[1]), dtype=np.float32)
            if start:
                grown[:start] = self.vectors[:start]
            self._touch(grown[stop:expected])
            self.vectors = grown
        self.vectors[start:stop] = vectors
        self.norm = max(self.norm, float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0))))
        self.ids.extend(ids)
        self._metadata.append(metadata)
        self.row_of.update(zip(ids, range(start, stop), strict=True))

    def _touch(self, rows: Matrix) -> None:
        """Have the system give the memory of rows to come, on every core at once.

        Of a virtual machine each page comes from the host when it is first written to: for a million rows that takes
        one core about as long as reading them from the corpus.
        """
        list(self._pool.map(lambda part: part.fill(0), np.array_split(rows, cores())))

    def build_blocks(self) -> None:
        """Make blocks of the rows that have none yet; a block no larger than what follows it is made anew with it."""
        start, stop = self.blocks[-1].stop if self.blocks else 0, len(self.ids)
        while self.blocks and self._size(-1) <= stop - start and self._size(-1) + stop - start <= BLOCK_ROWS:
            start = self.blocks.pop().start
        count = -(-(stop - start) // BLOCK_ROWS)
        if count > 1:
            count += -count % cores()  # equal shares for every core
        edges = np.linspace(start, stop, count + 1).astype(int).tolist()
        self.blocks += self._pool.map(self._block, edges[:-1], edges[1:])

    @property
    def streamed(self) -> bool:
        """Whether the codes of all rows are more than the processor's cache holds."""
        return bool(self.vectors.shape[1] * len(self.ids) >= _STREAMED_BYTES)

    def _block(self, first: int, last: int) -> Block:
        rows = self.vectors[first:last]
        if last - first < _CODED_ROWS:
            return FloatBlock(rows, start=first)
        return CodeBlock(rows, start=first, streamed=self.streamed)

    def _size(self, place: int) -> int:
        return self.blocks[place].stop - self.blocks[place].start

    def holding(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows that pass a condition, in order."""
        with self._fields_lock:
            rows = self._fields.setdefault(condition.field, _FieldRows(condition.field))
            rows.extend(self._metadata)
            return rows.holding(condition)

    def without(self, dead: set[int]) -> Rows:
        """Return new rows that leave those out."""
        kept = [row for row in range(len(self.ids)) if row not in dead]
        fresh = Rows(self._pool)
        if kept:
            metadata = [each for part in self._metadata for each in part]
            fresh.append([self.ids[row] for row in kept], [metadata[row] for row in kept], vectors=self.vectors[kept])
        return fresh


class _FieldRows:
    """The rows of every value of one metadata field: a filter looks at the values that there are, not at the rows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: dict[tuple[type, Value], list[int]] = {}
        self._parts = 0
        self._known = 0

    def extend(self, metadata: list[Sequence[Metadata]]) -> None:
        """Take in the parts that came since; what had to be parsed is kept parsed, for the next field."""
        for place in range(self._parts, len(metadata)):
            metadata[place] = list(metadata[place])
            for row, each in enumerate(metadata[place], start=self._known):
                value = each.get(self._name)
                if value is not None:
                    self._rows.setdefault((type(value), value), []).append(row)  # True, 1 and 1.0 are different values
            self._known += len(metadata[place])
            self._parts = place + 1

    def holding(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows whose value passes, in order."""
        one = (condition,)
        found = [rows for (_, value), rows in self._rows.items() if matches(one, {self._name: value})]
        return np.sort(np.fromiter((row for rows in found for row in rows), dtype=np.int64))
