"""Where the files of a model are, and what they are, without loading them.

A reference is a directory in Hugging Face format, a Hugging Face id (``owner/name``, or
``owner/name@revision`` to pin it), or an original weight file with its variant
(``FILE.pth#v2-s``). Weights in directories are safetensors: nothing is unpickled, no code of a
repository is run.

The authors' own uploads of Depth Anything V1 (``LiheYoung/depth_anything_vits14``) look like such a
directory and are none: ``config.json`` holds the arguments of their class, and the weights have the
original names. They are original files that say themselves which variant they are.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from model.errors import CheckpointError

WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
SAFE_WEIGHTS = "model.safetensors"

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_HUB_TIMEOUT_S = 10.0
_HUB_FILES = [CONFIG, PROCESSOR, "model*.safetensors", "model.safetensors.index.json"]
_V1_WEIGHTS = (SAFE_WEIGHTS, "pytorch_model.bin")
_V1_VARIANTS = {"vits": "v1-s", "vitb": "v1-b", "vitl": "v1-l"}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A directory in Hugging Face format.

    Attributes:
        name: The reference, for messages.
        config: Content of config.json.
        processor: Content of preprocessor_config.json; empty where there is none.
        weights: The safetensors files, in order of name.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    weights: tuple[Path, ...]

    @property
    def model_type(self) -> str:
        """What transformers calls the architecture."""
        return str(self.config.get("model_type"))

    def sha256(self) -> str:
        """Hex digest over the names and bytes of everything that decides the output.

        Configuration is part of it: V1 and V2 networks differ in nothing else.
        """
        extra = (self.path / PROCESSOR,) if self.processor else ()
        return _digest([self.path / CONFIG, *extra, *self.weights])


@dataclass(frozen=True, slots=True)
class OriginalFile:
    """A weight file in the layout of the authors, and which variant it is said to be."""

    name: str
    path: Path
    variant: str

    def sha256(self) -> str:
        """Hex digest over the variant and the bytes of the file; its name is not part of it."""
        return _digest([self.path], label=self.variant)


def find_checkpoint(reference: str, *, variants: str) -> ModelFolder | OriginalFile:
    """Find the files, fetching them from the Hugging Face hub where the reference is an id.

    Args:
        reference: See the module.
        variants: What may stand behind ``#``, for messages.

    Raises:
        CheckpointError: Nothing there, or not in one of the forms above.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        return _in_folder(path, reference)
    if path.is_file():
        raise CheckpointError(_without_variant(path, variants))
    file, mark, variant = reference.rpartition("#")
    if mark:
        original = Path(file).expanduser()
        if not original.is_file():
            raise CheckpointError(f"{reference}: there is no file {original}")
        return OriginalFile(reference, original, variant)
    match = _HUB_ID.fullmatch(reference)
    if match is None or path.suffix in WEIGHT_SUFFIXES:
        raise CheckpointError(f"{reference}: there is no such file or directory")
    return _in_folder(_fetched(match["id"], match["revision"]), reference)


def _without_variant(path: Path, variants: str) -> str:
    if path.suffix not in WEIGHT_SUFFIXES:
        return f"{path}: neither a directory in Hugging Face format nor a weight file"
    return (
        f"{path}: say which variant it is, as in {path.name}#VARIANT, with one of {variants}. "
        "The file cannot tell: different variants have the same keys and shapes, and differ in "
        "which blocks feed the head"
    )


def _in_folder(path: Path, name: str) -> ModelFolder | OriginalFile:
    if not (path / CONFIG).is_file():
        raise CheckpointError(
            f"{name}: has no {CONFIG}: not in Hugging Face format. Name an original weight file "
            "itself, with its variant (FILE.pth#v2-s); on the hub, ids that end in -hf hold the "
            "same weights in that format"
        )
    config = _read_json(path / CONFIG, name)
    if _is_v1_upload(config):
        return _v1_upload(path, config, name)
    processor = _read_json(path / PROCESSOR, name) if (path / PROCESSOR).is_file() else {}
    return ModelFolder(name, path, config, processor, _weights(path, name))


def _is_v1_upload(config: Mapping[str, Any]) -> bool:
    return "encoder" in config and "model_type" not in config


def _v1_upload(path: Path, config: Mapping[str, Any], name: str) -> OriginalFile:
    variant = _V1_VARIANTS.get(str(config["encoder"]))
    odd = [option for option in ("use_bn", "use_clstoken") if config.get(option)]
    if variant is None or odd:
        raise CheckpointError(
            f"{name}: {CONFIG} asks for encoder {config['encoder']!r}{' with '.join(['', *odd])}, "
            f"which no published Depth Anything V1 is: {', '.join(_V1_VARIANTS)}"
        )
    for file in _V1_WEIGHTS:
        if (path / file).is_file():
            return OriginalFile(name, path / file, variant)
    raise CheckpointError(f"{name}: has none of {', '.join(_V1_WEIGHTS)}")


def _weights(path: Path, name: str) -> tuple[Path, ...]:
    single, index = path / SAFE_WEIGHTS, path / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if not index.is_file():
        raise CheckpointError(
            f"{name}: has no model.safetensors (pickled weights in Hugging Face format are not "
            "opened; an original file is named as FILE.bin#VARIANT)"
        )
    shards = sorted(
        {str(shard) for shard in _read_json(index, name).get("weight_map", {}).values()}
    )
    lost = [shard for shard in shards if Path(shard).name != shard or not (path / shard).is_file()]
    if lost or not shards:
        raise CheckpointError(f"{name}: {index.name} names files that are not there: {lost[:4]}")
    return tuple(path / shard for shard in shards)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{name}: has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: {path.name} is not a JSON object")
    return content


def _fetched(repository: str, revision: str | None) -> Path:
    """The local copy; pickled weights are asked for only where nothing else can be there."""
    folder = _from_hub(repository, revision, _HUB_FILES)
    pickled = not (folder / SAFE_WEIGHTS).is_file() and (folder / CONFIG).is_file()
    if pickled and _is_v1_upload(_read_json(folder / CONFIG, repository)):
        folder = _from_hub(repository, revision, [CONFIG, *_V1_WEIGHTS])
    return folder


def _from_hub(repository: str, revision: str | None, files: list[str]) -> Path:
    """The local copy of a repository; the cached one where the hub does not answer.

    The hub is asked a small question first, with a timeout: left to itself, the download client
    goes on trying a hub that does not answer for more than six minutes.
    """
    try:
        HfApi().model_info(repository, revision=revision, timeout=_HUB_TIMEOUT_S)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    # The client's transport library changes with its version, and so do the exceptions.
    except Exception as error:
        try:
            cached = snapshot_download(
                repository,
                revision=revision,
                allow_patterns=files,
                local_files_only=True,
            )
        except (OSError, ValueError):
            raise CheckpointError(
                f"{repository}: neither a local directory nor, for now, a model on the Hugging "
                f"Face hub: {type(error).__name__}: {str(error).strip() or 'no answer'}"
            ) from error
        return Path(cached)


def _digest(paths: Iterable[Path], *, label: str | None = None) -> str:
    """Names, sizes and bytes: a file that moves into its neighbour changes the digest."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        name = path.name if label is None else label
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
