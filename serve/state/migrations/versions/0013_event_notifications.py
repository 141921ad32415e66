"""PostgreSQL notifies of new events, so that workers need not ask."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        """
        CREATE OR REPLACE FUNCTION atelier_notify_events() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('atelier_events', ''); RETURN NULL; END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER atelier_events AFTER INSERT ON events
        FOR EACH STATEMENT EXECUTE FUNCTION atelier_notify_events()
        """
    )
