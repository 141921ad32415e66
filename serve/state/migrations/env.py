"""Alembic's entry point. The connection, with its transaction, is that of `serve.state.migrate`."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from serve.state.tables import UtcTime, metadata


def render(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Migrations do not import types that may change after them."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=render,
    render_as_batch=context.config.attributes.get("batch", True),
    transactional_ddl=True,
)
context.run_migrations()
