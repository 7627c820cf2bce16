"""The blog's private API, as a peer for benchmarks/server.py: transformers and torch, one text a forward pass.

Run by the interpreter of an environment that has torch, transformers, fastapi and uvicorn: blog_server.py MODEL PORT
"""

from __future__ import annotations

import sys

import torch
import uvicorn
from fastapi import Body, FastAPI
from transformers import AutoModel, AutoTokenizer


def make_app(folder: str) -> FastAPI:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    app = FastAPI()

    def embed(text: str) -> list[float]:
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=1)[0].tolist()

    @app.get("/healthz")
    def health() -> str:
        return "ok"

    @app.post("/v1/embeddings")
    def embeddings(body: dict = Body()) -> dict:  # noqa: B008
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return {"data": [{"index": index, "embedding": embed(text)} for index, text in enumerate(texts)]}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
