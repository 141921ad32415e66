"""What each request cost, and each job by now: processor and GPU seconds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("jobs", "measurements"):
        op.add_column(table, sa.Column("cpu_seconds", sa.Float(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("gpu_seconds", sa.Float(), server_default="0", nullable=False))
