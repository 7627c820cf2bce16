"""`analect models`: what is here, fetching from a hub, trying a model."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_running import Run

from analect.embedders.local import LocalEmbedder
from embedders import tiny_bert
from hub_server import hub


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder, an empty cache, and the local embedder chosen."""
    tiny_bert.write(folder / "tiny", pooling="mean_tokens")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "local")
    return folder / "tiny"


def test_list_names_places_and_states(tiny: Path, folder: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALECT_EMBEDDER_MODEL", str(tiny))
    monkeypatch.setattr("analect.models._packages", lambda known: iter(()))
    cache = folder / "cache" / "analect" / "models"
    shutil.copytree(tiny, cache / "all-MiniLM-L6-v2")  # other weights under a known name
    shutil.copytree(tiny, cache / "org__own")
    (cache / "damaged").mkdir()
    (cache / ".pull-x").mkdir()
    found = {each["name"]: each for each in analect("models", "list", "--json").json["models"]}
    assert {name: (each["place"], each["state"], each["used"]) for name, each in found.items()} == {
        str(tiny): ("folder", "unpinned", True),
        "all-MiniLM-L6-v2": ("cache", "wrong", False),
        "damaged": ("cache", "broken", False),
        "org/own": ("cache", "unpinned", False),
    }
    own = found["org/own"]
    assert (own["dim"], own["max_tokens"], own["pooling"]) == (tiny_bert.HIDDEN, tiny_bert.LIMIT, "mean")
    assert own["weights"] == "model.safetensors"
    assert "lacks model.safetensors" in found["damaged"]["error"]
    lines = analect("models", "list").out.splitlines()
    assert lines[1].split()[:4] == ["*", str(tiny), "32", "24"]
    shutil.rmtree(cache)
    assert "get it: analect models pull all-MiniLM-L6-v2" in analect("models", "list").out


def test_the_default_model_is_pinned_and_in_use(tiny: Path, analect: Run, local_embedder: LocalEmbedder) -> None:
    (first, *_) = analect("models", "list", "--json").json["models"]
    assert (first["name"], first["state"], first["used"]) == ("all-MiniLM-L6-v2", "pinned", True)
    assert first["folder"] == str(local_embedder.folder)


@pytest.mark.parametrize("graph", [None, "onnx/model.onnx", "openvino/openvino_model.xml"])
def test_pull_fetches_from_the_hub_into_the_cache(tiny: Path, folder: Path, shell: Run, graph: str | None) -> None:
    if graph:
        tiny_bert.as_graph(tiny, graph)
    (tiny / "training_log.bin").write_bytes(b"not wanted")
    with hub({"org/tiny": tiny}) as endpoint:
        ran = shell("models", "pull", "org/tiny", "--json", env={"HF_ENDPOINT": endpoint})
    assert (ran.code, ran.err) == (0, ""), ran
    kept = folder / "cache" / "analect" / "models" / "org__tiny"
    assert ran.json["folder"] == str(kept)
    files = {each.relative_to(tiny).as_posix() for each in tiny.rglob("*") if each.is_file()} - {"training_log.bin"}
    assert {each.relative_to(kept).as_posix() for each in kept.rglob("*") if each.is_file()} == files
    assert [each.name for each in kept.parent.iterdir()] == ["org__tiny"]
    there = shell("models", "pull", "org/tiny", env={"HF_ENDPOINT": "http://127.0.0.1:9"})  # nothing to fetch
    assert there.out.startswith("org__tiny is in ")
    vector = shell("vector", "the garden", "--json", env={"ANALECT_EMBEDDER_MODEL": "org/tiny"})
    assert vector.json["dim"] == tiny_bert.HIDDEN


def test_pull_keeps_nothing_that_is_not_the_pinned_model(tiny: Path, folder: Path, shell: Run) -> None:
    with hub({"sentence-transformers/all-MiniLM-L6-v2": tiny, "org/empty": folder / "cache"}) as endpoint:
        wrong = shell("models", "pull", "all-MiniLM-L6-v2", env={"HF_ENDPOINT": endpoint})
        none = shell("models", "pull", "org/none", env={"HF_ENDPOINT": endpoint})
        empty = shell("models", "pull", "org/empty", env={"HF_ENDPOINT": endpoint})
    away = shell("models", "pull", "all-MiniLM-L6-v2", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    for ran, message in (
        (wrong, "hub:sentence-transformers/all-MiniLM-L6-v2/model.safetensors is not all-MiniLM-L6-v2: its SHA-256 is"),
        (none, "'org/none' was not fetched from the hub"),
        (empty, "hub:org/empty lacks model.safetensors (or an .onnx"),
        (away, "was not fetched from the hub: "),
    ):
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
        assert message in ran.err
    assert list((folder / "cache" / "analect" / "models").iterdir()) == []


def test_pull_without_the_library_names_the_pip_line(tiny: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ran = analect("models", "pull", "org/tiny")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "pip install 'analect[hub]'" in ran.err


def test_trying_the_default_model(tiny: Path, analect: Run, local_embedder: LocalEmbedder) -> None:
    ran = analect("models", "test", "--json")
    assert ran.code == 0
    assert ran.json["ok"] is True
    assert ran.json["cosine"] == pytest.approx(0.7421, abs=0.003)
    assert ran.json["expected"] == 0.7421
    assert ran.json["precision"] == local_embedder.precision
    assert ran.json["tokens_per_second"] > 0


class Reference:
    """sentence-transformers' interface over the forward pass in numpy."""

    def __init__(self, folder: str, *, device: str, local_files_only: bool) -> None:
        self._weights = tiny_bert.weights_of(Path(folder))

    def encode(self, texts: Sequence[str], *, prompt: str, normalize_embeddings: bool) -> np.ndarray:
        assert normalize_embeddings
        return np.array([tiny_bert.forward(self._weights, prompt + text, pooling="mean_tokens") for text in texts])


def test_vectors_are_compared_with_the_reference(tiny: Path, analect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("sentence_transformers")
    library.SentenceTransformer = Reference  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    monkeypatch.setenv("ANALECT_EMBEDDER_PRECISION", "f32")
    monkeypatch.setenv("ANALECT_EMBEDDER_MODEL", str(tiny))
    ran = analect("models", "test", "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)
    assert ran.json["agreement"] >= 0.9999
    config = tiny / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean_tokens", "cls_token"))  # what the reference does not do
    ran = analect("models", "test")
    assert ran.code == 1
    assert ran.out.splitlines()[-1].startswith("verdict        WRONG")


def test_what_cannot_be_tried_is_one_line(analect: Run, folder: Path) -> None:
    ran = analect("models", "test")
    assert (ran.code, ran.err) == (
        2,
        "analect: the embedder of the settings is 'hashing/256', no local model: name one\n",
    )
    (folder / "empty").mkdir()
    ran = analect("models", "test", "empty")
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_without_a_command_the_help_is_printed(analect: Run) -> None:
    ran = analect("models")
    assert ran.code == 0
    assert {"list", "pull", "test"} <= set(ran.out.split())
