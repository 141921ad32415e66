"""Whose key it was: in the audit log, and what one user did is found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("audit", sa.Column("key_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_audit_user_id_seq"), "audit", ["user_id", "seq"], unique=False)
