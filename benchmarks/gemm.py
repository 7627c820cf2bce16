"""How far the machine could go: the rate of its bf16 products, and what a token of the model takes of them."""

from __future__ import annotations

import os

import numpy as np
import results_file as results


def gemm_limit() -> float:
    """Return GFLOP/s of bf16 products at the shapes of the model's linear layers (harmonic mean by their FLOPs)."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shapes = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
    work, spent = 0.0, 0.0
    for width, height in shapes:
        left = torch.randn(4096, width, dtype=torch.bfloat16)
        layer = torch.nn.Linear(width, height, bias=False, dtype=torch.bfloat16)
        with torch.no_grad():
            spent += min(results.seconds(lambda left=left, layer=layer: layer(left), runs=30, warm=5))
        work += 2 * 4096 * width * height
    return work / spent / 1e9


def flops_a_token(lengths: np.ndarray) -> float:
    """Return the model's FLOPs a token: linear layers, and attention in proportion to the length."""
    linear = 6 * 2 * (4 * 384 * 384 + 2 * 384 * 1536)
    attention = 6 * 2 * 2 * 384 * lengths
    return float(((linear + attention) * lengths).sum() / lengths.sum())
