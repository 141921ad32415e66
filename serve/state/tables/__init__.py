"""Every table of the database. Times are UTC; ids that clients see are random, and ``seq`` gives insertion order.

A ``user_id`` is no foreign key: users may be managed elsewhere. The tables of users, keys, prompts, conversations,
feedback, preferences and audit follow B-081, C-038, C-044, C-050, C-076 and C-150. Imports nothing of `serve`. Begin
with `generations` and `queue`; `schema` has the column helpers. A change here needs a migration in
`serve.state.migrations`.
"""

from serve.state.tables.generations import (
    batches,
    conversations,
    embeddings,
    feedback,
    flights,
    generations,
    idempotency_keys,
    inputs,
    measurements,
    memories,
    preferences,
    prompts,
    quality_samples,
    results,
)
from serve.state.tables.queue import checkpoints, deliveries, events, jobs, lanes, workers
from serve.state.tables.schema import UtcTime, insert_into, metadata, utc_now
from serve.state.tables.site import (
    audit,
    chores,
    counters,
    exposures,
    flags,
    keys,
    replicas,
    rollouts,
    sealed_secrets,
    users,
)
from serve.state.tables.storage import cache, cached_objects, loras, objects, subject_references
