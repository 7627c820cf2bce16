"""Train the cross-encoder that comes with the package, and write `src/analect/embedders/cross_encoder.npz`.

    pip install -e '.[bench]'; python evaluation/train_cross_encoder.py        (two hours on two cores)

Trained on `other`, `read`, `more`, `spoken` and `twins` of `questions/`, which are about the texts in `texts/`; nothing
about the sample corpus is read here, so that `fit_answers.py` can weigh what it says of questions that it never saw.
Each question chooses among some of its judged sentences and "none of them": the loss is minus the log of what it gives
to the right ones. All weights of the layers are trained, then what changed of each matrix is cut to a low rank.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from cases import ROOT, Case, gathered
from numpy.typing import NDArray
from transformers import AutoModel

from analect.embedders._cross_encoder import encode
from analect.embedders.local import LocalEmbedder

SETS = ("other", "read", "more", "spoken", "twins")
EPOCHS, BATCH, RATE, HEAD_RATE = 4, 8, 6e-5, 1e-3
RIGHT, OFFERED = 2, 6  # right sentences of a question, and sentences in all, that it chooses among
RUN = 24  # pairs of like lengths that go through the model at once
RANK = 64
OUT = ROOT / "src/analect/embedders/cross_encoder.npz"

Offer: TypeAlias = tuple[list[Sequence[int]], int]
"""The ids of the sentences to choose among, and how many of them, the first, are right."""


class CrossEncoder(torch.nn.Module):
    """The base model, mean pooling to unit length, and one number of it."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.base = AutoModel.from_pretrained(folder)
        self.base.embeddings.requires_grad_(False)
        self.head = torch.nn.Linear(self.base.config.hidden_size, 1)
        self.none = torch.nn.Parameter(torch.zeros(1))
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self.scale = self.base.config.hidden_size**0.5

    def forward(self, pairs: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return a number for each pair of ids."""
        order = sorted(range(len(pairs)), key=lambda place: len(pairs[place]))
        found: dict[int, torch.Tensor] = {}
        for first in range(0, len(order), RUN):
            part = order[first : first + RUN]
            width = len(pairs[part[-1]])
            ids = torch.tensor([[*pairs[place], *[0] * (width - len(pairs[place]))] for place in part])
            mask = torch.tensor([[1] * len(pairs[place]) + [0] * (width - len(pairs[place])) for place in part])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                states = self.base(input_ids=ids, attention_mask=mask).last_hidden_state
            column = mask.unsqueeze(-1).float()
            vectors = torch.nn.functional.normalize((states.float() * column).sum(1) / column.sum(1), dim=1)
            found.update(zip(part, self.head(vectors * self.scale).squeeze(-1), strict=True))
        return torch.stack([found[place] for place in range(len(pairs))])


def main() -> None:
    """Train, and write the change."""
    torch.manual_seed(0)
    embedder = LocalEmbedder()
    cases = [case for case in gathered(*SETS) if case.right.any() or not case.question["answerable"]]
    print(f"{len(cases)} questions")
    model = CrossEncoder(str(embedder.folder))
    before = {name: value.detach().clone() for name, value in model.base.named_parameters()}
    train(model, [offered(case, embedder._tokenizer) for case in cases])
    np.savez(OUT, **change_of(model, before))
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size:,} bytes")


def offered(case: Case, tokenizer: Any) -> Offer:
    """Return the ids of the sentences to choose among, and how many of them, the first, are right."""
    right, wrong = np.flatnonzero(case.right)[:RIGHT], np.flatnonzero(~case.right)
    places = [*right, *wrong[: OFFERED - (RIGHT if len(right) else 0)]]
    texts = [(case.judged[place][0].text, case.judged[place][0].around) for place in places]
    return list(encode(tokenizer, case.question["question"], texts)), len(right)


def train(model: CrossEncoder, work: list[Offer]) -> None:
    """Train it, with a rate that rises for a while and then falls to nothing."""
    layers = [value for value in model.base.parameters() if value.requires_grad]
    rates = [{"params": layers, "lr": RATE}, {"params": [*model.head.parameters(), model.none], "lr": HEAD_RATE}]
    descent = torch.optim.AdamW(rates, weight_decay=0.01)
    batches = len(work) // BATCH
    steps = EPOCHS * batches
    rate = torch.optim.lr_scheduler.LambdaLR(
        descent, lambda step: min(1.0, (step + 1) / (0.08 * steps)) * max(0.0, 1 - step / steps)
    )
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        random.Random(epoch).shuffle(work)
        model.train()
        total = 0.0
        for number in range(batches):
            loss = loss_of(model, work[number * BATCH : (number + 1) * BATCH])
            descent.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(layers, 1.0)
            descent.step()
            rate.step()
            total += loss.item()
            if number % 50 == 49:
                print(f"{epoch} {number + 1}/{batches} {total / (number + 1):.3f} {time.perf_counter() - start:.0f} s")
                sys.stdout.flush()


def loss_of(model: CrossEncoder, batch: Sequence[Offer]) -> torch.Tensor:
    """Return the mean over questions of minus the log of what the right choices are given."""
    odds = model([pair for pairs, _ in batch for pair in pairs])
    losses, start = [], 0
    for pairs, right in batch:
        shares = torch.log_softmax(torch.cat([odds[start : start + len(pairs)], model.none]), dim=0)
        losses.append(-torch.logsumexp(shares[:right] if right else shares[-1:], dim=0))
        start += len(pairs)
    return torch.stack(losses).mean()


def change_of(model: CrossEncoder, before: dict[str, torch.Tensor]) -> dict[str, NDArray[np.generic]]:
    """Return the arrays that the package's `CrossEncoder` reads: what changed, cut to `RANK`, and the head."""
    change: dict[str, NDArray[np.generic]] = {}
    for name, value in model.base.named_parameters():
        if not value.requires_grad or "pooler" in name:
            continue
        new = (value.detach() - before[name]).numpy()
        if new.ndim == 1:
            change[f"{name}.add"] = new.astype(np.float16)
        else:
            change.update({f"{name}.{part}": values for part, values in factors(new).items()})
    head = model.head.weight.detach().numpy()[0] * model.scale
    change["head"] = np.append(head, model.head.bias.item() - model.none.item()).astype(np.float32)
    return change


def factors(new: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Return the best approximation of that rank: int8 "up" and "down", and the "scale" of each of its terms."""
    up, sizes, down = np.linalg.svd(new, full_matrices=False)
    up, down = up[:, :RANK], down[:RANK]
    largest = np.abs(up).max(axis=0), np.abs(down).max(axis=1)
    scale = sizes[:RANK] * largest[0] * largest[1] / 127**2
    codes = np.rint(127 * up / largest[0]), np.rint(127 * down / largest[1][:, None])
    return {"up": codes[0].astype(np.int8), "scale": scale.astype(np.float32), "down": codes[1].astype(np.int8)}


if __name__ == "__main__":
    main()
