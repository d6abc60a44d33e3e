"""`factory export`: what a name stands for, and who exports such things."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.evaluate_config import DATA_FORMATS, MODEL_FORMATS, ExportConfig
from jobs.licence_policy import origins_of
from jobs.workspace import check_store_exists, open_workspace
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.origins import Kind
from pipeline.storage import Store

_KINDS: tuple[Kind, ...] = ("model", "label-set", "source")


def export(config: ExportConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Write a model (`export_model`), or a label set or source (`export_label_set`).

    Raises:
        ConfigError: The name stands for several things, or for one that has no such format; and
            whatever either of the two refuses.
        CatalogMissingError: Nothing has that name, in a format that models do not have.
    """
    kind, name = _find(config)
    _check_format(config, kind)
    config = replace(config, target=name)
    if kind == "model":
        from jobs.export_model import export_model  # torch, which label sets do without

        return export_model(config, reporter=reporter)
    from jobs.export_label_set import export_label_set

    return export_label_set(config, kind=kind, reporter=reporter)


def _find(config: ExportConfig) -> tuple[Kind, str]:
    """Kind and name; whatever the catalog does not know can only be a model from elsewhere."""
    can_be_model = config.format in MODEL_FORMATS
    if can_be_model and ("://" in config.target or _no_store(config)):
        return "model", config.target
    check_store_exists(config)
    with open_workspace(config) as workspace:
        try:
            kind, name = origins_of(workspace.catalog).find(config.target)
        except CatalogMissingError:
            if not can_be_model or config.target.startswith(tuple(f"{kind}:" for kind in _KINDS)):
                raise
            return "model", config.target
        except CatalogConflictError as error:
            if config.format not in DATA_FORMATS:  # only one of them is a model
                return "model", config.target
            raise ConfigError([str(error)]) from error
    if kind != "model" and can_be_model and _is_model_folder(config.target):
        said = f"{config.target!r} is a {_words(kind)} and a folder with a model: "
        raise ConfigError([f"{said}say {kind}:{name} or ./{name}"])
    return kind, name


def _no_store(config: ExportConfig) -> bool:
    """A store is not made for one look."""
    folder = Store(config.store).local_path("")
    return config.catalog is None and folder is not None and not folder.exists()


def _is_model_folder(target: str) -> bool:
    return (Path(target).expanduser() / "config.json").is_file()


def _check_format(config: ExportConfig, kind: Kind) -> None:
    problems = []
    formats = MODEL_FORMATS if kind == "model" else DATA_FORMATS
    if config.format not in formats:
        problems.append(
            f"{config.target} is a {_words(kind)}: --format can be {', '.join(formats)}"
        )
    if kind == "model" and config.labels_only:
        problems.append("--labels-only is for label sets: a model comes without images")
    if kind != "model" and config.images:
        problems.append("--images is for models: a label set comes with its own")
    if kind == "source" and config.labels_only:
        problems.append(
            "--labels-only is for label sets: ground truth belongs to the owners of the images"
        )
    if problems:
        raise ConfigError(problems)


def _words(kind: Literal["source", "label-set", "model"]) -> str:
    return kind.replace("-", " ")
