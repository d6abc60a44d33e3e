"""Rows of a label shard: which are made anew, and what each of them says."""

from collections.abc import Container, Iterator, Mapping

from jobs.label_recipe import LabelRecipe
from model.label_pass import MapCodes
from pipeline.depth_codec import BITS, QuantisedMap, encode
from pipeline.errors import ShardCorruptError
from pipeline.labels import read_label_rows
from pipeline.records import ImageRecord, LabelRecord, ShardRef
from pipeline.shards import read_image_rows, read_sample_keys, row_group_rows
from pipeline.storage import Store


def row_of_codes(image: ImageRecord, codes: MapCodes, *, recipe: LabelRecipe) -> LabelRecord:
    """The label of an image, or its quarantine where the network did not say numbers."""
    if not codes.is_finite:
        return quarantined_row(image, "non_finite_output")
    height, width = codes.codes_HW.shape
    quantised = QuantisedMap(codes.codes_HW, codes.minimum, codes.maximum, BITS[recipe.codec])
    return LabelRecord(
        sample_id=image.sample_id,
        sha256=image.sha256,
        status="labelled",
        codec=recipe.codec,
        disparity=encode(quantised),
        minimum=codes.minimum,
        maximum=codes.maximum,
        height=height,
        width=width,
        geometry=recipe.geometry,
        saturated=codes.saturated,
        flat=codes.flat,
        flip_correlation=codes.flip_correlation,
    )


def quarantined_row(image: ImageRecord, reason: str | None) -> LabelRecord:
    """Why an image has no label."""
    return LabelRecord(
        sample_id=image.sample_id, sha256=image.sha256, status="quarantined", reason=reason
    )


def kept_rows(store: Store, shard: ShardRef, *, previous: str | None) -> dict[int, LabelRecord]:
    """The labelled rows of an earlier label shard, by their place; none without one.

    Raises:
        ShardCorruptError: Its rows are not those of the image shard.
    """
    if previous is None:
        return {}
    samples = [(name, sha256) for name, sha256, _ in read_sample_keys(store, shard.key)]
    rows = list(read_label_rows(store, previous))
    if len(rows) != len(samples):
        raise ShardCorruptError(f"{previous}: {len(rows)} rows, {shard.key} has {len(samples)}")
    for place, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        if (row.sample_id, row.sha256) != sample:
            raise ShardCorruptError(
                f"{previous}: row {place} is of sample {row.sample_id} (sha256 {row.sha256}), "
                f"{shard.key} has {sample[0]} (sha256 {sample[1]}) there"
            )
    return {place: row for place, row in enumerate(rows) if row.status == "labelled"}


def images_to_label(
    store: Store, shard: ShardRef, *, kept: Container[int]
) -> Iterator[tuple[int, ImageRecord]]:
    """Place and image of each row that is not kept; row groups without any are not read."""
    starts = _row_groups(store, shard.key)
    wanted = {
        group: [place for place in places if place not in kept] for group, places in starts.items()
    }
    groups = [group for group, places in wanted.items() if places]
    places = iter([place for group in groups for place in starts[group]])
    for record in read_image_rows(store, shard.key, row_groups=groups, truth=False):
        place = next(places)
        if place not in kept:
            yield place, record


def _row_groups(store: Store, key: str) -> Mapping[int, range]:
    """The places of the rows of each row group."""
    ranges, start = {}, 0
    for group, rows in enumerate(row_group_rows(store, key)):
        ranges[group] = range(start, start + rows)
        start += rows
    return ranges
