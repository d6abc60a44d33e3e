"""The configuration of every verb, one frozen dataclass each.

The field's help is the only place where an option is described: the command line, `--config` YAML
and the Python functions all read these classes. Nothing here imports a heavy library, so that
`factory --help` answers at once.

Metadata keys of a field: ``help`` (one line, with the unit), ``argument`` (positional on the
command line), ``env`` (environment variable that sets the default), ``choices``, ``minimum``,
``maximum``, ``is_name`` (it becomes a folder of the store), ``is_local`` (a path of this machine),
``alias`` (another spelling of the flag).
"""

from dataclasses import dataclass, field
from typing import Any

# Of those that are one file with a telling suffix. Named here too, because help must not wait for
# `pipeline.truth`; a test compares.
TRUTH_NAMES = (
    "png-mm", "png-256", "png-5000", "png-10000", "png-cm", "png-sunrgbd", "png-relative",
    "png8-disparity", "pgm-mm", "npy-m", "npy-ray-hypersim", "npz-disparity", "pfm-disparity",
    "pfm-m", "pfm-relative", "png-mm-diml", "npy-m-sky", "dpt-m", "exr-disparity-irs",
    "hdf5-relative", "hdf5-ray-hypersim",
)  # fmt: skip

LAYOUTS = (
    "auto", "images", "tar", "zip", "parquet", "lmdb", "arrow", "video", "webdataset",
    "img2dataset", "pairs",
)  # fmt: skip
# Every data set that is known by name; a test compares with `pipeline.presets`.
PRESETS: tuple[str, ...] = (
    "bdd100k", "bdd100k-videos", "google-landmarks-v2", "imagenet-21k", "lsun", "objects365",
    "open-images-v7", "places365", "sa-1b", "blendedmvs", "diml-indoor", "diml-outdoor", "hrwsi",
    "irs", "megadepth", "tartanair", "hypersim", "vkitti2", "kitti", "nyu-v2", "nyu-v2-raw",
    "nyu-v2-h5", "nyu-v2-png", "sintel", "ddad", "ddad-png", "eth3d", "eth3d-two-view", "diode",
    "da-2k",
)  # fmt: skip

# How a map comes to the size of its image or truth; a test compares with `model.upsampling`.
UPSAMPLINGS = ("bilinear", "bilinear_corners", "bicubic")


def option(
    help: str,
    default: Any = None,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    env: str = "",
    is_name: bool = False,
    is_local: bool = False,
    alias: str = "",
) -> Any:
    """A field that is a flag."""
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "env": env,
        "is_name": is_name,
        "is_local": is_local,
        "alias": alias,
    }
    if isinstance(default, list | tuple):
        return field(default_factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def required(
    help: str,
    *,
    choices: tuple[str, ...] = (),
    argument: bool = False,
    is_name: bool = False,
    is_local: bool = False,
) -> Any:
    """A field without a default."""
    metadata = {
        "help": help,
        "choices": choices,
        "argument": argument,
        "is_name": is_name,
        "is_local": is_local,
    }
    return field(metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Common:
    """What every verb takes."""

    store: str = option(
        "Where shards, labels and models live: a local path or any fsspec URL.",
        "./factory-store",
        env="FACTORY_STORE",
    )
    catalog: str | None = option(
        "Database that knows what is committed (default: SQLite inside a local store; "
        "postgresql+psycopg://… for teams; a remote store needs it named).",
        env="FACTORY_CATALOG",
    )
    ray: str | None = option(
        "Ray cluster address (default: a private Ray on this machine).", env="RAY_ADDRESS"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(Common):
    """Turn a raw data set into shards: folder, tar, zip, Parquet or synthetic://NAME?n=N&seed=S.

    `--layout PRESET` reads a known data set as it is distributed; `factory catalog presets` lists
    them with what is expected at the URI.
    """

    uri: str = required("The data set: local path, fsspec URL or synthetic://…", argument=True)
    source: str = required("Name of the source in the catalog.", is_name=True)
    role: str | None = option(
        "What it is for (default: the preset's, else unlabelled).",
        choices=("unlabelled", "labelled", "benchmark"),
    )
    layout: str = option(
        "How the data set is laid out, or the name of a preset; `pairs` needs --truth.",
        "auto",
        choices=(*LAYOUTS, *PRESETS),
    )
    truth: str | None = option(
        "How ground truth files are encoded, for --layout pairs (the number says what divides a "
        "value to give metres).",
        choices=TRUTH_NAMES,
    )
    split: str | None = option(
        "Text file that lists the images to take, one path per line, matched at the end of each "
        "path (default: all).",
        is_local=True,
    )
    every: int | None = option(
        "Of a video take every so many-th frame (default: the preset's, else 30).", minimum=1
    )
    licence: str | None = option(
        "Licence of the images, as an SPDX id or a sentence (default: the preset's).",
        alias="--license",
    )
    attribution: str | None = option("Who must be named, where the licence asks for it.")
    by_reference: bool = option("Store uri, offset and length in place of the bytes.", False)
    shard_images: int = option("Images per shard.", 1000, minimum=1)
    dedup: str = option(
        "`exact` drops images whose bytes any source of the store already has (two runs at the "
        "same time do not see each other's); `near` also withdraws those that look alike, "
        "afterwards.",
        "none",
        choices=("none", "exact", "near"),
    )
    actors: int | None = option(
        "Processes that read, on Ray (default: one for every two CPUs where there is work for "
        "more than one, else none: all is read in this process).",
        minimum=0,
    )
    verify: str = option(
        "`header` reads headers and looks for a cut-off end; `decode` decodes every pixel too.",
        "header",
        choices=("header", "decode"),
    )
    min_side: int = option("Drop images whose shorter side is below this, pixels.", 32, minimum=1)
    max_pixels: int = option(
        "Drop images with more pixels than this, before decoding them.", 100_000_000, minimum=1
    )
    max_aspect: float = option(
        "Drop images whose longer side exceeds this many shorter sides.", 8.0, minimum=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelOptions(Common):
    """What decides labels, for making them and for forecasting them."""

    sources: tuple[str, ...] = required("Sources to label.", argument=True)
    teacher: str = required(
        "Catalog name, directory, fsspec URL, Hugging Face id, or original weights as "
        "FILE.pth#v2-s."
    )
    label_set: str | None = option(
        "Name of the label set (default: the teacher's name and -labels).", is_name=True
    )
    size: int | None = option(
        "Shorter side at the network's input, pixels (default: what the model was trained with).",
        minimum=14,
    )
    resize: str = option(
        "`exact`: the official size rule, batched by identical size; `buckets`: fewer sizes for "
        "fuller batches, aspects change by up to 3.8 % at 518 pixels (the recipe says how much).",
        "exact",
        choices=("exact", "buckets"),
    )
    consistency: bool = option(
        "Also label the mirrored image and keep how well the two agree; twice the work.", False
    )
    precision: str = option(
        "Of the forward pass; auto is bf16 on a GPU that has it, else fp32.",
        "auto",
        choices=("auto", "fp32", "bf16"),
    )
    bits: int = option("Bits per label value.", 16, choices=("16", "12"))
    batch_size: int | None = option(
        "Images per forward pass (default: found on the device).", minimum=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig(LabelOptions):
    """Label sources with a teacher: every image exactly once, or quarantined with a reason."""

    retry: tuple[str, ...] = option(
        "Try again what an earlier run gave up: shards that failed, images that were quarantined.",
        (),
        choices=("failed", "quarantined"),
    )
    limit: int | None = option(
        "Stop after about this many images in this run (whole shards).", minimum=1
    )
    dry_run: bool = option("Say what would be done, and do nothing.", False)
    actors: int | None = option(
        "Actors (default: one per GPU, or one per machine where there is none; on a --ray cluster "
        "that number grows with it).",
        minimum=1,
    )
    gpus_per_actor: float | None = option(
        "GPUs per actor, fractions allowed (default: 1 or 0).", minimum=0
    )
    cpus_per_actor: float | None = option(
        "CPUs per actor (default: the machine's, shared out).", minimum=0
    )
    shard_timeout_s: float = option(
        "A shard that takes longer is taken from its actor, seconds; its wait for the actor's "
        "other shard does not count.",
        3600.0,
        minimum=1,
    )
    lease_s: float = option("How long a lease lives without a heartbeat, seconds.", 60.0, minimum=5)
    catalog_patience_s: float = option(
        "How long to go on trying when the catalog does not answer, seconds.", 600.0, minimum=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig(Common):
    """Try a model: writes a 16-bit depth PNG, a float .npy and a colour PNG per image."""

    model: str = required("Model reference, as for label --teacher.", argument=True)
    images: tuple[str, ...] = required("Image files or folders.", argument=True)
    out: str = required("Folder to write into.", is_local=True)
    size: int | None = option(
        "Shorter side at the network's input, pixels (default: the model's).", minimum=14
    )
    precision: str = option("Of the forward pass.", "fp32", choices=("auto", "fp32", "bf16"))
    upsampling: str = option(
        "How maps are brought to the size of their images: bilinear as Depth Anything V1 does, "
        "bilinear_corners as V2, bicubic as transformers (it overshoots beside edges).",
        "bilinear",
        choices=UPSAMPLINGS,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig(Common):
    """One self-contained HTML page about a source, a label set, a training run or a model."""

    target: str = required(
        "Name of a source, label set, model or training run; run:NAME where a model has it too.",
        argument=True,
    )
    out: str = required("HTML file to write.", is_local=True)
    samples: int = option(
        "Images shown as a sample; the worst and those left out are shown besides.", 24, minimum=1
    )


CATALOG_QUESTIONS = {
    "sources": "Every source: role, licence and what it permits, images, what was dropped.",
    "presets": "Every data set that ingest --layout knows: its terms, and what it expects.",
    "shards": "Every shard of a source, or of a label set.",
    "label-sets": "Every label set: teacher, recipe, how much of it is done.",
    "models": "Every model: what it is, where its files are, licences of what it came from.",
    "runs": "Every training run: state, steps, losses.",
    "evaluations": "Every result of a model under a protocol.",
    "lineage": "What a model, label set or source was made from, and what was made from it.",
}
QUESTIONS_WITH_REF = ("shards", "lineage")


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogConfig(Common):
    """Ask the catalog, and repair it."""

    question: str = option("What to list.", "sources", choices=tuple(CATALOG_QUESTIONS))
    ref: str | None = option(
        "For `shards` a source or label set; for `lineage` a source, label set or model."
    )
    limit: int = option("List at most so many shards; 0 lists all.", 1000, minimum=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogVerifyConfig(Common):
    """Read every committed object again and say what is not as it was committed."""

    ref: str | None = field(
        default=None,
        metadata={"help": "Only this source or label set (default: all).", "argument": True},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogGcConfig(Common):
    """Remove objects that were never committed, or that newer ones have replaced.

    What is in use, pinned by a training run or unknown to this catalog stays.
    """

    dry_run: bool = option("Say what would be removed, and remove nothing.", False)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogRebuildConfig(Common):
    """Fill an empty catalog from the store alone, after the database was lost.

    Move a damaged database away first (catalog.sqlite*), or name a new one with --catalog.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig(Common):
    """All of it on this laptop, offline, in minutes, ending in a report."""

    # Not from the environment: nobody wants a demo in the team's store.
    store: str = option("Where shards, labels and models live (default: store inside --out).", "")
    catalog: str | None = option("Database that knows what is committed (default: in the store).")
    images: str | None = option("Folder of your own photographs (default: those of scikit-image).")
    out: str = option("Folder for store, report and pictures.", "./demo-output", is_local=True)
