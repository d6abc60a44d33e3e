"""Drivers at work, and what it takes to say quickly how fast and how well they are.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDICES = (
    ("label_shards", ["label_set", "committed_at", "source", "rows"]),
    ("drivers", ["verb", "target", "number"]),
)


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "drivers",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("heartbeat_s", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed', 'stopped')", name=op.f("ck_drivers_state")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_drivers")),
    )
    op.add_column("work", sa.Column("errored_at", sa.Double(), nullable=True))
    errored = sa.text("errored_at IS NOT NULL")
    op.create_index(
        op.f("ix_work_errored_at"),
        "work",
        ["errored_at"],
        unique=False,
        sqlite_where=errored,
        postgresql_where=errored,
    )
    for table, columns in INDICES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns, unique=False)


def downgrade() -> None:
    for table, columns in INDICES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
    op.drop_index(op.f("ix_work_errored_at"), table_name="work")
    op.drop_column("work", "errored_at")
    op.drop_table("drivers")
