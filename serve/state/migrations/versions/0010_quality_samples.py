"""Conversions recorded for training."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "quality_samples",
        sa.Column("seq", number, autoincrement=True, nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("trials", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("predicted_quality", sa.Float(), nullable=False),
        sa.Column("actual_quality", sa.Float(), nullable=False),
        sa.Column("prediction_error", sa.Float(), nullable=False),
        sa.Column("engine_versions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("with_picture", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
            name=op.f("fk_quality_samples_generation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_quality_samples")),
    )
    op.create_index(op.f("ix_quality_samples_generation_id"), "quality_samples", ["generation_id"])
