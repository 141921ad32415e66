"""Embeddings of results. Those that are there already are indexed later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "embeddings",
        sa.Column("result_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), server_default="", nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["result_id"], ["results.id"], name=op.f("fk_embeddings_result_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("result_id", name=op.f("pk_embeddings")),
    )
    op.create_index(op.f("ix_embeddings_engine"), "embeddings", ["engine"])
    op.execute("INSERT INTO embeddings (result_id) SELECT id FROM results")
