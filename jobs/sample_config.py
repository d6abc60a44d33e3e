"""The configuration of `factory catalog withdraw` and `trace`; see `jobs.config` for the fields."""

from dataclasses import dataclass

from jobs.config import Common, option, required


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogWithdrawConfig(Common):
    """Take a source, or some of its samples, out of everything that is made from now on.

    Shards are replaced by others without the samples; labels of those shards count no more. What
    was made with them is named, and stays until it is made again. `catalog gc` removes the objects.
    """

    source: str = required("Name of the source.", argument=True)
    reason: str = required("Why, in one sentence; kept and shown.")
    sample: tuple[str, ...] = option(
        "Only these samples: sample id, sha256 of the image, or path inside the source.", ()
    )
    samples: str | None = option(
        "Only the samples of this file: text with one per line, or CSV or Parquet with a column "
        "sample_id, sha256 or path.",
    )
    dry_run: bool = option("Say what would be withdrawn and made again, and change nothing.", False)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogTraceConfig(Common):
    """Where one image comes from, byte by byte, and what was made of it.

    Samples are not in the catalog: the id columns of shards are read until it is found.
    """

    ref: str = required(
        "SOURCE/PATH, a sample id, SHARD:ROW, the sha256 of an image, or an image file.",
        argument=True,
    )
    source: str | None = option("Look into this source only (default: all).")
    check: bool = option("Read the original bytes again, and compare them with the sha256.", False)
