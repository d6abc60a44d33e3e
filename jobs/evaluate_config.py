"""Options of `factory evaluate` and `factory export`."""

from dataclasses import dataclass

from jobs.config import UPSAMPLINGS, Common, option, required

LEAKAGE_CHECKS = ("auto", "none", "exact", "near")
MODEL_FORMATS = ("hf", "onnx", "torchscript")
# Of label sets and sources; a test compares with `pipeline.export_formats`.
DATA_FORMATS = ("hf", "png16", "webdataset", "iceberg")
EXPORT_FORMATS = tuple(dict.fromkeys((*MODEL_FORMATS, *DATA_FORMATS)))


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(Common):
    """Score models on benchmarks they were not trained on (zero-shot), and compare them."""

    models: tuple[str, ...] = required(
        "Model references, as for label --teacher; several are compared.", argument=True
    )
    benchmark: tuple[str, ...] = required(
        "PROTOCOL=SOURCE, for example nyu-eigen@1=nyu; repeatable."
    )
    size: int | None = option(
        "Shorter side at the network's input, pixels (default: the protocol's, or the model's).",
        minimum=14,
    )
    precision: str = option("Of the forward pass.", "fp32", choices=("auto", "fp32", "bf16"))
    upsampling: str | None = option(
        "How maps are brought to the size of the truth: bilinear as Depth Anything V1 does, "
        "bilinear_corners as V2, bicubic as transformers (default: the protocol's).",
        choices=UPSAMPLINGS,
    )
    leakage: str = option(
        "Name benchmark images that a model was trained on: same bytes (exact), or alike too "
        "(near); auto is near where that needs no new hashes of the training images.",
        "auto",
        choices=LEAKAGE_CHECKS,
    )
    actors: int | None = option(
        "Ray actors (default: one per GPU, or one per machine); 0 works in this process.",
        minimum=0,
    )
    gpus_per_actor: float | None = option(
        "GPUs per actor (default: 1 where there are any).", minimum=0
    )
    cpus_per_actor: float | None = option(
        "CPUs per actor (default: the machine's, shared out).", minimum=0
    )
    batch_size: int | None = option("Images per forward pass (default: found).", minimum=1)
    fresh: bool = option("Score again what an earlier run has scored.", False)
    pictures: int = option("Best and worst images shown per benchmark.", 4, minimum=0)
    out: str | None = option(
        "Also write the results into this folder, as JSON, Markdown and a page.", is_local=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(Common):
    """Hand on a model, or a label set with its images, in a format that others read.

    A model is checked against the original. Of a source, what is exported is its ground truth.
    """

    target: str = required(
        "Model reference, or name of a label set or source; label-set:NAME, source:NAME or "
        "model:NAME where several have it.",
        argument=True,
    )
    format: str = required("What to write.", choices=EXPORT_FORMATS)
    out: str = required(
        "Folder to write into; for a label set or source any fsspec URL, except as iceberg."
    )
    images: tuple[str, ...] = option(
        "Photographs, or folders of them, on which an exported model is held against the original "
        "(default: some of a source in the catalog).",
        (),
    )
    labels_only: bool = option(
        "Of a label set, leave out the images, which their owners may not let others publish; path "
        "and sha256 say which they are.",
        False,
    )
