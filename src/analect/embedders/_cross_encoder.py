"""Reads a question together with a text that may answer it: a low-rank change of the default model's weights.

Two vectors tell what a text is about, not whether it says what is asked; a model that attends from one to the other
does (Nogueira & Cho 2019, "Passage Re-ranking with BERT"). Its weights are those of the embedder, each matrix changed
by a product of two thin ones (Hu et al. 2021, "LoRA", section 4.1): 2.8 MB, which come with the package. Made by
`evaluation/train_cross_encoder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analect.embedders._bert import BertConfig, build_model
from analect.embedders._runs import Ids, Runs

BASE = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights that the change is to."""

QUESTION_TOKENS, TEXT_TOKENS, AROUND_TOKENS = 40, 64, 32  # of each that are read
_FILE = "cross_encoder.npz"

Floats = NDArray[np.float32]


class CrossEncoder:
    """Tells how surely texts answer a question. `weights` are the base model's, `tokenizer` its own."""

    def __init__(self, config: BertConfig, *, weights: Mapping[str, Floats], tokenizer: Any, precision: str) -> None:
        self._tokenizer = tokenizer
        with files("analect.embedders").joinpath(_FILE).open("rb") as file, np.load(file) as change:
            self._head = change["head"]
            changed = apply_change(weights, change)
        self._runs = Runs(lambda: build_model(config, changed), precision=precision)

    def read(self, question: str, texts: Sequence[tuple[str, str]]) -> Floats:
        """Return for each (text, what it stands under) the log odds that it answers: float32 (n,)."""
        if not texts:
            return np.empty(0, dtype=np.float32)
        vectors = self._runs.alone(encode(self._tokenizer, question, texts))
        odds: Floats = vectors @ self._head[:-1] + self._head[-1]
        return odds


def encode(tokenizer: Any, question: str, texts: Sequence[tuple[str, str]]) -> Ids:
    """Return the ids of question, text and what is around it for each text, with a separator after each."""
    whole = [question, *(part for text in texts for part in text)]
    ids = [each.ids[1:-1] for each in tokenizer.encode_batch_fast(whole)]
    start, end = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    asked = [start, *ids[0][:QUESTION_TOKENS], end]
    return [
        [*asked, *text[:TEXT_TOKENS], end, *around[:AROUND_TOKENS], end]
        for text, around in zip(ids[1::2], ids[2::2], strict=True)
    ]


def apply_change(weights: Mapping[str, Floats], change: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return the weights with a change applied, by the names of its arrays.

    `NAME.up` int8 (out, rank), `NAME.scale` float32 (rank,) and `NAME.down` int8 (rank, in) are a product; `NAME.add`
    is added as it is.
    """
    changed = dict(weights)
    for key in change:
        name, _, part = key.rpartition(".")
        if part == "scale":
            up, down = change[f"{name}.up"], change[f"{name}.down"]
            changed[name] = weights[name] + (up * change[key]) @ down.astype(np.float32)
        elif part == "add":
            changed[name] = weights[name] + change[key].astype(np.float32)
    return changed
