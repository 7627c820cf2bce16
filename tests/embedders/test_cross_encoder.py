"""The cross-encoder: whether a text answers a question, read together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_bert

from analect.batcher import BatchedEmbedder, Batcher
from analect.embedders._cross_encoder import AROUND_TOKENS, BASE, QUESTION_TOKENS, TEXT_TOKENS, apply_change, encode
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.models import known_model

AROUND = "Brackwater Mill. The mill is open to visitors."
# Of each question: the sentence that answers it, and one as near to it that does not.
PAIRS = [
    ("Who built the mill?", "The mill was put up by Josiah Trench.", "The mill was put up in 1804."),
    ("How long does a tour take?", "A tour lasts forty minutes.", "Tours start at the gate at noon."),
    ("Who leads the tours?", "Tours are led by Ana Koller.", "Tours start at the gate at noon."),
    ("How much is a ticket?", "Entrance costs £6 for adults.", "Tickets are sold at the gate until 16:00."),
    ("Where do I buy a ticket?", "Tickets are sold at the gate.", "A ticket costs £6 and is valid all day."),
    ("Why did the wheel stop?", "The wheel broke because its axle had rusted through.", "The wheel stopped in 1931."),
    ("How wide is the wheel?", "The wheel measures five metres across.", "The wheel weighs nine tonnes."),
    ("Is there a lift?", "The upper floor is reached by stairs only.", "The upper floor holds the millstones."),
]


@pytest.mark.parametrize(("question", "answer", "near"), PAIRS)
def test_what_is_asked_is_told_from_what_is_near(
    question: str, answer: str, near: str, local_embedder: LocalEmbedder
) -> None:
    odds = local_embedder.cross_encode(question, [(answer, AROUND), (near, AROUND)])
    assert odds is not None
    assert odds.dtype == np.float32
    assert odds[0] > odds[1]


def test_a_text_is_read_as_it_is_alone(local_embedder: LocalEmbedder) -> None:
    question, texts = PAIRS[0][0], [(text, AROUND) for pair in PAIRS for text in pair[1:]]
    together = local_embedder.cross_encode(question, texts)
    alone = np.array([local_embedder.cross_encode(question, [text]) for text in texts])
    assert together is not None
    assert np.abs(together - alone[:, 0]).max() < 0.3  # of log odds from -8 to 8: bf16 rounds otherwise at other widths


def test_nothing_to_read_is_nothing_said(local_embedder: LocalEmbedder) -> None:
    odds = local_embedder.cross_encode("Who?", [])
    assert odds is not None
    assert odds.shape == (0,)


def test_long_ones_are_cut(local_embedder: LocalEmbedder) -> None:
    tokenizer = local_embedder._tokenizer
    short, long = encode(tokenizer, "who " * 500, [("a mill", "b"), ("mill " * 500, "wheel " * 500)])
    assert len(long) == 1 + QUESTION_TOKENS + 1 + TEXT_TOKENS + 1 + AROUND_TOKENS + 1
    assert tokenizer.decode(short, skip_special_tokens=False).endswith("who [SEP] a mill [SEP] b [SEP]")
    odds = local_embedder.cross_encode("who " * 500, [("mill " * 500, "wheel " * 500)])
    assert np.isfinite(odds).all()


def test_the_change_is_to_the_pinned_weights() -> None:
    known = known_model("all-MiniLM-L6-v2")
    assert known is not None
    assert known.sha256 == BASE


def test_another_model_has_none(tmp_path: Path) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    assert LocalEmbedder(model=str(tmp_path / "tiny")).cross_encode("who", [("the seat", "")]) is None


def test_it_is_reached_through_a_batcher(local_embedder: LocalEmbedder) -> None:
    batcher = Batcher(local_embedder)
    through = BatchedEmbedder(batcher).cross_encode(PAIRS[0][0], [(PAIRS[0][1], AROUND)])
    direct = local_embedder.cross_encode(PAIRS[0][0], [(PAIRS[0][1], AROUND)])
    assert through == pytest.approx(direct)
    assert BatchedEmbedder(Batcher(HashingEmbedder())).cross_encode("who", [("mill", "")]) is None


def test_a_change_is_a_product_or_a_sum() -> None:
    weights = {"a": np.ones((2, 3), dtype=np.float32), "b": np.zeros(2, dtype=np.float32), "c": np.ones(1)}
    change = {
        "a.up": np.array([[8], [16]], dtype=np.int8),
        "a.scale": np.array([1 / 64], dtype=np.float32),
        "a.down": np.array([[8, 0, -8]], dtype=np.int8),
        "b.add": np.array([0.5, 1], dtype=np.float16),
        "head": np.zeros(3, dtype=np.float32),
    }
    changed = apply_change(weights, change)
    assert changed["a"].tolist() == [[2, 1, 0], [3, 1, -1]]
    assert changed["b"].tolist() == [0.5, 1]
    assert changed["c"] is weights["c"]
    assert weights["a"].tolist() == np.ones((2, 3)).tolist()  # the embedder's own are as they were
