"""The catalog: what exists, what is committed, who made it from what, and who works on what.

One class for callers, which says nothing by itself: each method is a function of the module that
its group is named after, where its contract stands. Only the driver of a job opens a catalog;
workers get keys and return manifests.

    with Catalog.open("sqlite:///factory-store/catalog.db") as catalog:
        catalog.plan_work("teacher-v1", ["street"])
"""

from pipeline import (
    catalog_drivers,
    catalog_ingest,
    catalog_labels,
    catalog_models,
    catalog_objects,
    catalog_snapshots,
    catalog_sources,
    catalog_standing,
    catalog_withdrawals,
    catalog_withdrawn,
    catalog_work,
    leases,
)
from pipeline.catalog_database import Database
from pipeline.catalog_rows import (
    Amount,
    DriverRow,
    EvaluationRow,
    IngestLease,
    IngestRow,
    LabelProgress,
    LabelSetRow,
    LabelShardRow,
    Lately,
    ModelRow,
    RunRow,
    SnapshotMember,
    SnapshotRow,
    SourceRow,
    SourceWork,
    WorkError,
    WorkLease,
)

__all__ = [
    "Amount",
    "Catalog",
    "DriverRow",
    "EvaluationRow",
    "IngestLease",
    "IngestRow",
    "LabelProgress",
    "LabelSetRow",
    "LabelShardRow",
    "Lately",
    "ModelRow",
    "RunRow",
    "SnapshotMember",
    "SnapshotRow",
    "SourceRow",
    "SourceWork",
    "WorkError",
    "WorkLease",
]


class Catalog(Database):
    """An open catalog; ``Catalog.open(url)`` and a ``with`` block."""

    register_source = catalog_sources.register_source
    set_terms = catalog_sources.set_terms
    source = catalog_sources.source
    sources = catalog_sources.list_sources
    source_digest = catalog_sources.source_digest
    image_shards = catalog_sources.image_shards_of
    image_shard = catalog_sources.image_shard

    begin_ingest = catalog_ingest.begin_ingest
    renew_ingest = catalog_ingest.renew_ingest
    commit_image_shard = catalog_ingest.commit_image_shard
    commit_drops = catalog_ingest.commit_drops
    commit_piece = catalog_ingest.commit_piece
    pieces = catalog_ingest.pieces_of
    shards_from = catalog_ingest.shards_from
    finish_ingest = catalog_ingest.finish_ingest
    release_ingest_of = catalog_ingest.release_ingest_of
    live_ingest = catalog_ingest.live_ingest
    ingests = catalog_ingest.list_ingests

    withdraw_shard = catalog_withdrawals.withdraw_shard
    withdraw_source = catalog_withdrawals.withdraw_source
    withdrawals = catalog_withdrawn.list_withdrawals
    check_not_withdrawn = catalog_withdrawn.check_not_withdrawn
    withdrawn_objects = catalog_withdrawn.withdrawn_objects
    withdrawn_shards = catalog_withdrawn.withdrawn_shards
    withdrawn_members = catalog_withdrawn.withdrawn_members

    open_label_set = catalog_labels.open_label_set
    label_set = catalog_labels.label_set
    label_sets = catalog_labels.list_label_sets
    label_shards = catalog_labels.label_shards_of

    plan_work = catalog_work.plan_work
    progress = catalog_work.progress
    progress_by_source = catalog_work.progress_by_source
    work_ahead = catalog_work.work_ahead
    failed_work = catalog_work.failed_work
    retry_failed = catalog_work.retry_failed
    retry_quarantined = catalog_work.retry_quarantined
    live_owners = catalog_work.live_owners

    lease = leases.lease
    renew = leases.renew
    release = leases.release
    release_owner = leases.release_owner
    charge = leases.charge
    commit_label_shard = leases.commit_label_shard

    drop_batches = catalog_objects.drop_batches
    replaced_members = catalog_objects.replaced_members

    pin_snapshot = catalog_snapshots.pin_snapshot
    snapshot = catalog_snapshots.snapshot

    register_model = catalog_models.register_model
    model = catalog_models.model
    models = catalog_models.list_models
    find_model = catalog_models.find_model
    begin_run = catalog_models.begin_run
    resume_run = catalog_models.resume_run
    finish_run = catalog_models.finish_run
    run = catalog_models.run
    runs = catalog_models.list_runs
    newest_run = catalog_models.newest_run
    record_evaluation = catalog_models.record_evaluation
    evaluations = catalog_models.list_evaluations

    begin_driver = catalog_drivers.begin_driver
    beat_driver = catalog_drivers.beat_driver
    end_driver = catalog_drivers.end_driver
    bury_driver = catalog_drivers.bury_driver
    drivers_of = catalog_drivers.drivers_of
    recent_drivers = catalog_drivers.recent_drivers

    now = catalog_standing.now
    unfinished_label_sets = catalog_standing.unfinished_label_sets
    teachers_of_label_sets = catalog_standing.teachers_of_label_sets
    label_sets_over = catalog_standing.label_sets_over
    quarantined_by_source = catalog_standing.quarantined_by_source
    labelled_lately = catalog_standing.labelled_lately
    ingested_by = catalog_standing.ingested_by
    ingested_lately = catalog_standing.ingested_lately
    newest_ingests = catalog_standing.newest_ingests
    newest_errors = catalog_standing.newest_errors
