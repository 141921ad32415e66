"""Tables of the site: users and keys, audit log, rate limits, releases, secrets, maintenance."""

from __future__ import annotations

import sqlalchemy as sa

from serve.state.tables.schema import (
    SequenceNumber,
    boolean_column,
    id_column,
    integer_column,
    json_column,
    metadata,
    text_column,
    time_column,
)

users = sa.Table(
    "users",
    metadata,
    id_column(),
    sa.Column("email", sa.Text, nullable=True, unique=True),
    text_column("name", default=""),
    text_column("password_hash", nullable=True),
    text_column("role", default="user"),
    time_column("created_at"),
    time_column("disabled_at", nullable=True),
)
"""Owners of API keys. ``id`` is the ``user_id`` of all other tables."""

keys = sa.Table(
    "keys",
    metadata,
    id_column(),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    text_column("name", default=""),
    sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
    json_column("scopes", nullable=False),
    time_column("created_at"),
    time_column("expires_at", nullable=True),
    time_column("used_at", nullable=True),
    time_column("revoked_at", nullable=True),
)
"""API keys. ``secret_hash`` is keyed with a secret that is not in the database (`serve.security.signing.secret_store`).
"""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    text_column("user_id", nullable=True),
    text_column("key_id", nullable=True),
    text_column("action"),
    text_column("subject", nullable=True),
    json_column("details"),
    text_column("address", nullable=True),
    time_column("created_at"),
    sa.Index(None, "created_at"),
    sa.Index(None, "user_id", "seq"),
)
"""Audit log: who did what to what. ``address``: the client's address, or the name of a command."""

counters = sa.Table(
    "counters",
    metadata,
    id_column("key"),
    sa.Column("used", sa.BigInteger, nullable=False),
    time_column("expires_at"),
    sa.Index(None, "expires_at"),
)
"""Usage of rate limits, where Redis is not configured. A key belongs to one window and is never reused."""

flags = sa.Table(
    "flags",
    metadata,
    id_column("name"),
    boolean_column("enabled"),
    sa.Column("percentage", sa.Float, nullable=False),
    json_column("users", nullable=False),
    time_column("updated_at"),
)
"""Feature flags changed since the settings declared them."""

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("generation_id", sa.Text, primary_key=True),
    text_column("arm"),
    text_column("user_id"),
    time_column("created_at"),
    sa.Index(None, "created_at"),
)
"""The arm of an experiment that a generation had (A-102). It outlives the generation, as its measurement does."""

rollouts = sa.Table(
    "rollouts",
    metadata,
    id_column("engine"),
    text_column("current"),
    text_column("previous", nullable=True),
    text_column("candidate", nullable=True),
    sa.Column("percentage", sa.Float, nullable=False, server_default="0"),
    integer_column("asked"),
    integer_column("revision"),
    text_column("updated_by", nullable=True),
    time_column("updated_at"),
)
"""The served version of an engine, and the share of users that get its candidate (D-083). ``asked`` increases when the
replicas have to examine the candidate again, ``revision`` with every change. An engine without a row serves its lowest
version."""

replicas = sa.Table(
    "replicas",
    metadata,
    id_column(),
    integer_column("beat"),
    json_column("engines", nullable=False),
    time_column("updated_at"),
)
"""Replicas of ensembles: the versions that each serves, and its findings on candidates. A replica whose ``beat`` stops
is gone."""

sealed_secrets = sa.Table(
    "sealed_secrets",
    metadata,
    id_column("name"),
    text_column("sealed"),
    time_column("updated_at"),
)
"""Keys of outside services, encrypted with a key that is not in the database (`serve.security.signing.secret_store`).
"""

chores = sa.Table(
    "chores",
    metadata,
    id_column("name"),
    time_column("done_at"),
)
"""When each periodic maintenance task was last done, by any process."""
