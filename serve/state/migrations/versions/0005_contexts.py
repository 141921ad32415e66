"""To which request, and to which trace, a job and its webhooks belong."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for table in ("jobs", "deliveries"):
        op.add_column(table, sa.Column("context", sa.JSON(none_as_null=True), nullable=True))
