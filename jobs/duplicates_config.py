"""The configuration of `factory catalog duplicates`; see `jobs.config` for the fields."""

from dataclasses import dataclass, field

from jobs.config import Common, option

DISTANCE = 4  # why: see `pipeline.perceptual_hash`


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogDuplicatesConfig(Common):
    """Find images that are in the store twice, and benchmark images among those for training.

    Of images that are alike the first one counts: benchmarks before the rest, then sources as they
    are named here (default: all; labelled ones first), then as they were ingested. What belongs to
    a benchmark is never withdrawn.
    """

    sources: tuple[str, ...] = field(
        default=(), metadata={"help": "Sources to compare (default: all).", "argument": True}
    )
    near: bool = option(
        "Also find images that look alike: copies made smaller, compressed again, in grey.", False
    )
    distance: int = option(
        "For --near: bits of 64 in which the hashes of two images may differ. More finds more "
        "copies that were cut or edited; beyond 4, of millions of images many are alike by chance.",
        DISTANCE,
        minimum=0,
        maximum=10,
    )
    withdraw: str | None = option(
        "Take images out of their sources: `leaks`, those of a benchmark that training would see; "
        "`duplicates`, all but the first of those that are alike. `catalog gc` then frees space.",
        choices=("leaks", "duplicates"),
    )
    out: str | None = option("Write every pair to this file (.csv or .parquet).", is_local=True)
    html: str | None = option(
        "Write a page that shows pairs side by side, the least alike first.", is_local=True
    )
    actors: int | None = option(
        "Processes that look at images, on Ray (default: on this machine's CPUs without Ray, or "
        "with --ray one process per machine).",
        minimum=1,
    )
