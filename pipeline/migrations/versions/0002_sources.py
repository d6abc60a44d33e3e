"""Terms of sources, pieces of data sets that need not be read again, and withdrawals.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDICES = (
    ("work", ["label_set", "source", "state", "images"]),
    ("label_shards", ["label_set", "source", "labelled", "rows", "bytes"]),
    ("quarantine", ["label_set", "source", "reason", "images"]),
    ("snapshot_members", ["snapshot_id", "label_set", "source"]),
    ("snapshot_members", ["shard_id"]),
)


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("sources", sa.Column("preset", sa.Text(), nullable=True))
    op.add_column("sources", sa.Column("terms", sa.JSON(), nullable=True))
    op.add_column("sources", sa.Column("withdrawn_at", sa.Double(), nullable=True))
    op.add_column("image_shards", sa.Column("withdrawn_at", sa.Double(), nullable=True))
    op.create_table(
        "ingest_pieces",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("piece_id", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ingest_runs.run_id"], name=op.f("fk_ingest_pieces_run_id")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name=op.f("fk_ingest_pieces_source")),
        sa.PrimaryKeyConstraint("source", "piece_id", name=op.f("pk_ingest_pieces")),
    )
    op.create_table(
        "withdrawals",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=True),
        sa.Column("replaced_by", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name=op.f("fk_withdrawals_source")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_withdrawals")),
    )
    op.create_index(op.f("ix_withdrawals_source"), "withdrawals", ["source"], unique=False)

    withdrawn = sa.text("withdrawn_at IS NOT NULL")
    op.create_index(
        op.f("ix_image_shards_withdrawn_at"),
        "image_shards",
        ["withdrawn_at"],
        unique=False,
        sqlite_where=withdrawn,
        postgresql_where=withdrawn,
    )
    for table, columns in INDICES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns, unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_image_shards_withdrawn_at"), table_name="image_shards")
    for table, columns in INDICES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
    op.drop_index(op.f("ix_withdrawals_source"), table_name="withdrawals")
    op.drop_table("withdrawals")
    op.drop_table("ingest_pieces")
    for table, column in (
        ("image_shards", "withdrawn_at"),
        ("sources", "withdrawn_at"),
        ("sources", "terms"),
        ("sources", "preset"),
    ):
        op.drop_column(table, column)
