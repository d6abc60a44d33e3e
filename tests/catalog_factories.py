"""Small entries for a catalog under test: sources with shards, label sets, manifests."""

import hashlib

from sqlalchemy import text

from pipeline.catalog import Catalog, WorkLease
from pipeline.records import LabelManifest, ShardRef

OWNER = "here:1"


def sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def image_shard(source: str, number: int, *, rows: int = 10) -> ShardRef:
    shard_id = f"s{sha256(f'{source} {number}')[:20]}"
    key = f"sources/{source}/{shard_id}.parquet"
    return ShardRef(source, shard_id, key, rows, rows * 1000, sha256(key))


def begin_ingest(catalog: Catalog, source: str, *, owner: str = OWNER, **changes):
    options = {"ttl_s": 60.0, "uri": f"/data/{source}", "config": {}, "code_version": "1"}
    return catalog.begin_ingest(source, owner=owner, **options | changes)


def fill_source(
    catalog: Catalog, source: str, count: int, *, role: str = "unlabelled", first: int = 0
) -> list[ShardRef]:
    """Register a source and commit ``count`` shards of ten images to it."""
    catalog.register_source(source, role=role, uri=f"/data/{source}", layout="images")
    lease = begin_ingest(catalog, source)
    shards = [image_shard(source, first + number) for number in range(count)]
    for shard in shards:
        catalog.commit_image_shard(lease, shard, dropped={})
    catalog.finish_ingest(lease, {})
    return shards


def open_label_set(catalog: Catalog, name: str, *, teacher: str = "teacher", **changes):
    recipe = {"teacher": sha256(teacher), "side": 518}
    options = {
        "teacher": teacher,
        "teacher_sha256": sha256(teacher),
        "recipe": recipe,
        "recipe_hash": sha256(str(recipe)),
        "code_version": "1",
    }
    return catalog.open_label_set(name, **options | changes)


def manifest(lease: WorkLease, **quarantined: int) -> LabelManifest:
    """What a worker would say that wrote the labels of a lease."""
    key = f"labels/{lease.label_set}/{lease.shard.shard_id}/{lease.epoch}-{lease.owner}.parquet"
    labelled = lease.shard.rows - sum(quarantined.values())
    return LabelManifest(
        label_set=lease.label_set,
        shard_id=lease.shard.shard_id,
        key=key,
        sha256=sha256(key),
        bytes=500,
        rows=lease.shard.rows,
        labelled=labelled,
        quarantined=quarantined,
        forward_s=0.5,
        wall_s=1.0,
    )


def label_all(catalog: Catalog, label_set: str, sources: list[str], **quarantined: int) -> None:
    """Plan and commit all shards of some sources."""
    catalog.plan_work(label_set, sources)
    for lease in catalog.lease(label_set, owner=OWNER, limit=1000, ttl_s=60.0):
        catalog.commit_label_shard(lease, manifest(lease, **quarantined))


def register_model(catalog: Catalog, name: str, **changes):
    options = {
        "key": f"models/{name}",
        "sha256": sha256(name),
        "family": "depth-anything",
        "geometry": "disparity_affine_invariant",
        "kind": "trained",
    }
    return catalog.register_model(name, **options | changes)


def expire_leases(catalog: Catalog, owner: str | None = None) -> None:
    """Let time pass for the leases of an owner, or of all."""
    mine = "" if owner is None else " WHERE owner = :owner"
    with catalog.write() as connection:
        for table in ("work", "ingest_runs"):
            statement = text(f"UPDATE {table} SET lease_until = 0{mine}")
            connection.execute(statement, {} if owner is None else {"owner": owner})
