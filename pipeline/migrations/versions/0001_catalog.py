"""The catalog as it began.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "evaluations",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_digest", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("valid_pixels", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_evaluations")),
    )
    op.create_index(
        op.f("ix_evaluations_model_sha256"), "evaluations", ["model_sha256"], unique=False
    )
    op.create_table(
        "label_sets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("teacher", sa.Text(), nullable=False),
        sa.Column("teacher_sha256", sa.Text(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("recipe_hash", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_label_sets")),
    )
    op.create_index(
        op.f("ix_label_sets_teacher_sha256"), "label_sets", ["teacher_sha256"], unique=False
    )
    op.create_table(
        "snapshots",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("attribution", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "role IN ('unlabelled', 'labelled', 'benchmark')", name=op.f("ck_sources_role")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sources")),
    )
    op.create_table(
        "ingest_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed', 'stopped', 'lost')",
            name=op.f("ck_ingest_runs_state"),
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name=op.f("fk_ingest_runs_source")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_ingest_runs")),
        sa.UniqueConstraint("source", "epoch", name=op.f("uq_ingest_runs_source_epoch")),
    )
    op.create_table(
        "runs",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed', 'stopped')", name=op.f("ck_runs_state")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.snapshot_id"], name=op.f("fk_runs_snapshot_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
    )
    op.create_index(op.f("ix_runs_name_number"), "runs", ["name", "number"], unique=False)
    op.create_table(
        "snapshot_members",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("label_set", sa.Text(), nullable=True),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("image_key", sa.Text(), nullable=False),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("label_key", sa.Text(), nullable=True),
        sa.Column("label_sha256", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('labelled', 'pseudo')", name=op.f("ck_snapshot_members_role")),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.snapshot_id"], name=op.f("fk_snapshot_members_snapshot_id")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "position", name=op.f("pk_snapshot_members")),
    )
    op.create_table(
        "image_drops",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ingest_runs.run_id"], name=op.f("fk_image_drops_run_id")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name=op.f("fk_image_drops_source")),
        sa.PrimaryKeyConstraint("source", "batch_id", "reason", name=op.f("pk_image_drops")),
    )
    op.create_table(
        "image_shards",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("committed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ingest_runs.run_id"], name=op.f("fk_image_shards_run_id")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name=op.f("fk_image_shards_source")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_image_shards")),
        sa.UniqueConstraint("shard_id", name=op.f("uq_image_shards_shard_id")),
    )
    op.create_index(
        op.f("ix_image_shards_source_number"), "image_shards", ["source", "number"], unique=False
    )
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("geometry", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("(key IS NULL) <> (uri IS NULL)", name=op.f("ck_models_place")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_models_run_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_sha256"), "models", ["sha256"], unique=False)
    op.create_table(
        "label_shards",
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("forward_s", sa.Double(), nullable=False),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("committed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_set"], ["label_sets.name"], name=op.f("fk_label_shards_label_set")
        ),
        sa.ForeignKeyConstraint(
            ["shard_id"], ["image_shards.shard_id"], name=op.f("fk_label_shards_shard_id")
        ),
        sa.PrimaryKeyConstraint("label_set", "shard_id", name=op.f("pk_label_shards")),
    )
    op.create_table(
        "quarantine",
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_set"], ["label_sets.name"], name=op.f("fk_quarantine_label_set")
        ),
        sa.ForeignKeyConstraint(
            ["shard_id"], ["image_shards.shard_id"], name=op.f("fk_quarantine_shard_id")
        ),
        sa.PrimaryKeyConstraint("label_set", "shard_id", "reason", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "work",
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'leased', 'done', 'failed')", name=op.f("ck_work_state")
        ),
        sa.ForeignKeyConstraint(["label_set"], ["label_sets.name"], name=op.f("fk_work_label_set")),
        sa.ForeignKeyConstraint(
            ["shard_id"], ["image_shards.shard_id"], name=op.f("fk_work_shard_id")
        ),
        sa.PrimaryKeyConstraint("label_set", "shard_id", name=op.f("pk_work")),
    )
    op.create_index(
        op.f("ix_work_label_set_state_attempts_number"),
        "work",
        ["label_set", "state", "attempts", "number"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_work_label_set_state_attempts_number"), table_name="work")
    op.drop_table("work")
    op.drop_table("quarantine")
    op.drop_table("label_shards")
    op.drop_index(op.f("ix_models_sha256"), table_name="models")
    op.drop_table("models")
    op.drop_index(op.f("ix_image_shards_source_number"), table_name="image_shards")
    op.drop_table("image_shards")
    op.drop_table("image_drops")
    op.drop_table("snapshot_members")
    op.drop_index(op.f("ix_runs_name_number"), table_name="runs")
    op.drop_table("runs")
    op.drop_table("ingest_runs")
    op.drop_table("sources")
    op.drop_table("snapshots")
    op.drop_index(op.f("ix_label_sets_teacher_sha256"), table_name="label_sets")
    op.drop_table("label_sets")
    op.drop_index(op.f("ix_evaluations_model_sha256"), table_name="evaluations")
    op.drop_table("evaluations")
