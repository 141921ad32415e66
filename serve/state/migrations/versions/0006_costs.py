"""What each request cost: processor and GPU seconds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("measurements", sa.Column("cpu_seconds", sa.Float(), server_default="0", nullable=False))
    op.add_column("measurements", sa.Column("gpu_seconds", sa.Float(), server_default="0", nullable=False))
