"""All metrics; docs/METRICS.md is generated from this list. No label contains a user, a key or a prompt.

Labels: ``door``: http, websocket or grpc. ``route``: the declared path, parameters in braces. ``ensemble``: vectorize
or illustrate. ``engine``: a folder of the model repository. ``model``: a family. ``lane``: of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator

from serve.observability.metrics.metric import Age, Counter, Gauge, Histogram, Metric, PassThrough, Sample

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""From one inference of a small engine to a large picture."""
LONG_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
QUALITY = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 1.0)
ERROR = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
REQUESTS_EACH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

# Doors.
REQUESTS = Counter(
    "atelier_requests_total",
    "Requests that were answered, without probes of health; over gRPC `route` is the method and `status` the code. "
    "499: the client went away. late: it was not done by the end that its client had set.",
    ("door", "route", "status"),
)
REQUEST_SECONDS = Histogram(
    "atelier_request_duration_seconds", "From a request's arrival to the end of its answer.", SECONDS, ("door", "route")
)
REQUESTS_IN_PROGRESS = Gauge("atelier_requests_in_progress", "Requests whose answer has not ended.", ("door",))
REFUSALS = Counter(
    "atelier_refusals_total",
    "Requests that were answered with an error, by its kind, as `serve.errors` names it.",
    ("door", "reason"),
)
RATE_LIMITED = Counter(
    "atelier_rate_limited_total", "Requests over a rate limit: `by` is address or user.", ("by",),
    known=(("address",), ("user",)),
)  # fmt: skip
PREVIEWS = Counter("atelier_previews_total", "Previews that a picture under way has shown.", ("model",))
ORCHESTRATED = Counter(
    "atelier_orchestrated_total",
    "Drawings of several models at once: `outcome` is best, ranked (below the best) or failed.",
    ("model", "outcome"),
)
ORCHESTRATED_SCORE = Histogram(
    "atelier_orchestrated_score",
    "Score of a drawing among those of several models, from 0 to 1.",
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    ("model",),
)
DOWNLOADS = Counter("atelier_downloads_total", "Files that were asked for: `kind` is result or thumbnail.", ("kind",))

# Ensembles.
QUEUE_SECONDS = Histogram(
    "atelier_queue_wait_seconds",
    "How long work waited in a replica, until its turn or until it left the queue without one.",
    SECONDS,
    ("ensemble",),
)
OLDEST_WAITING = Age(
    "atelier_queue_oldest_seconds", "How long the work has waited that waits longest for its turn.", ("ensemble",)
)
WAITING = Gauge("atelier_queue_waiting", "Work that waits for its turn in a replica.", ("ensemble",))
WORKING = Gauge("atelier_work_in_progress", "Work that has its turn in a replica.", ("ensemble",))
ENSEMBLE_SECONDS = Histogram(
    "atelier_ensemble_duration_seconds",
    "What an ensemble took, without its queue; `outcome` is ok, error or cancelled.",
    SECONDS,
    ("ensemble", "outcome"),
)
STAGE_SECONDS = Histogram(
    "atelier_stage_duration_seconds",
    "Stages of an ensemble's work: those of an answer's `timings_s`; of each picture encode, denoise and decode.",
    SECONDS,
    ("ensemble", "stage"),
)
STEP_SECONDS = Histogram(
    "atelier_denoising_step_seconds", "One step of one picture, its wait in Triton with it.", SECONDS, ("model",)
)
PICTURES = Counter("atelier_pictures_total", "Pictures that were drawn.", ("model",))
DRAWINGS = Counter(
    "atelier_svgs_total", "Drawings that were traced, by the tier that was chosen and the tracer.", ("tier", "tracer")
)
SVG_QUALITY = Histogram(
    "atelier_svg_quality_ratio", "SSIM of a drawing against its picture, where it was measured.", QUALITY, ("tier",)
)
SVG_QUALITY_ERROR = Histogram(
    "atelier_svg_quality_prediction_error_ratio",
    "By how much the predicted SSIM was above or below the measured one, where both are known.",
    ERROR,
    ("direction",),
)
"""Two histograms by direction, since a sum that can decrease would be taken for a counter reset."""
DEGRADED = Counter("atelier_degraded_total", "Answers that could not be given as asked.", ("ensemble",))
MODERATION = Counter(
    "atelier_moderation_total",
    "What moderation did: flag, blur, refuse. Without an answer of the engine the category is unchecked.",
    ("category", "action"), known=(("unchecked", "refuse"),),
)  # fmt: skip

# Engines.
INFERENCE_SECONDS = Histogram(
    "atelier_engine_inference_seconds", "From the call of an engine to its answer, Triton's queue with it.",
    SECONDS, ("engine",),
)  # fmt: skip
INFERENCES_IN_FLIGHT = Gauge("atelier_engine_inferences_in_flight", "Calls of an engine under way.", ("engine",))
INFERENCE_FAILURES = Counter(
    "atelier_engine_failures_total", "Calls of an engine that failed, by the kind of error.", ("engine", "reason")
)
EXECUTIONS = Counter(
    "atelier_engine_executions_total",
    "How often Triton ran an engine on a batch of so many samples, in all its versions.",
    ("engine", "batch_size"),
)
EXECUTION_SECONDS = Counter(
    "atelier_engine_execution_seconds_total",
    "How long Triton ran an engine on batches of so many samples, in all its versions.",
    ("engine", "batch_size"),
)
ENGINE_INFO = Gauge(
    "atelier_engine_info", "1 for each version of an engine that is loaded, 0 once it has left.", ("engine", "version")
)
TRITON_STARTS = Counter("atelier_triton_starts_total", "Starts of a Triton; every one after the first is a restart.")
TRITON_RESTARTS = Counter(
    "atelier_triton_restarts_total", "Restarts of a Triton that had stopped working, and tries that failed."
)
TRITON_START_SECONDS = Histogram(
    "atelier_triton_start_seconds", "From Triton's start until its engines were loaded.", LONG_SECONDS
)

# State.
DATABASE_SECONDS = Histogram(
    "atelier_database_transaction_seconds",
    "From when the database was asked for until the transaction ended: `kind` is read, poll (asked every"
    " `jobs.poll_s`), write, or delete (of an object, with the store's part in it), `outcome` ok, error or cancelled.",
    SECONDS,
    ("kind", "outcome"),
)
STORE_SECONDS = Histogram(
    "atelier_object_store_call_seconds",
    "What a call of the object store took: `operation` is get, put, delete or list, `outcome` ok, error or cancelled.",
    SECONDS,
    ("operation", "outcome"),
)

# Cache and sharing.
CACHE_LOOKUPS = Counter("atelier_cache_lookups_total", "By `result`: hit or miss.", ("result",))
SHARED = Counter(
    "atelier_shared_requests_total",
    "Requests that joined the same one under way: in this `place`, process, or on another gateway of the site.",
    ("place",),
)

# Jobs.
JOBS = Gauge("atelier_jobs", "Jobs of the whole site, by lane and state; every worker tells all.", ("lane", "state"))
JOB_WAIT_SECONDS = Histogram(
    "atelier_job_wait_seconds", "From when a job could start until a worker took it.", LONG_SECONDS, ("lane",)
)
OLDEST_JOB = Gauge(
    "atelier_jobs_oldest_seconds",
    "How long the job has waited that could start and waits longest, by lane; every worker tells all.",
    ("lane",),
)
JOB_SECONDS = Histogram(
    "atelier_job_attempt_seconds", "What an attempt of a job took.", LONG_SECONDS, ("lane", "outcome")
)
JOBS_ENDED = Counter(
    "atelier_job_attempts_total",
    "Attempts of jobs: completed, failed, retried, let_go (cancelled, paused, or its worker ends), lost (somebody else "
    "has it).",
    ("lane", "outcome"),
)
JOBS_RECOVERED = Counter("atelier_jobs_recovered_total", "Workers that died and whose jobs were given back.")
BEATS = Counter("atelier_worker_beats_total", "Beats of workers of the queue.")
WORKERS = Gauge("atelier_workers", "Workers and gateways that hold a lease, of the whole site; every worker tells all.")
WEBHOOKS = Counter(
    "atelier_webhooks_total", "Calls of webhooks: delivered, retried or failed.", ("outcome",),
    known=(("delivered",), ("retried",), ("failed",)),
)  # fmt: skip

# Fallback.
BREAKER_OPEN = Gauge("atelier_breaker_open", "1 while a breaker is open, 0.5 half-open, 0 closed.", ("service",))
SERVED = Counter(
    "atelier_served_total", "Requests for pictures by who served them: illustrate, or a fallback.", ("by",)
)

# Users, without their names.
ACTIVE_USERS = Gauge(
    "atelier_active_users", "Users who had anything made within the last hour, of the whole site; every worker tells."
)
USER_REQUESTS = Histogram(
    "atelier_user_requests", "How many requests each of them had made in it: a spread, and not a count over time.",
    REQUESTS_EACH,
)  # fmt: skip

# Processes and cost.
PROCESS_CPU = Counter(
    "atelier_process_cpu_seconds_total",
    "Processor time of a replica with all processes below it: its Triton, its tracing workers.",
    ("role",),
)
PROCESS_MEMORY = Gauge(
    "atelier_process_memory_bytes", "Resident memory of the same; what processes share counts for each.", ("role",)
)
COST_CPU = Counter(
    "atelier_cost_cpu_seconds_total", "Processor time that is charged to requests.", ("ensemble", "model")
)
COST_GPU = Counter("atelier_cost_gpu_seconds_total", "GPU time that is charged to requests.", ("ensemble", "model"))

TRITON = PassThrough()
"""`nv_*`: Triton's own metrics, with the label ``ensemble``."""


def metrics() -> list[Metric]:
    return [one for one in globals().values() if isinstance(one, Metric)]


def samples() -> Iterator[Sample]:
    for metric in metrics():
        yield from metric.samples()
    yield from TRITON.samples()
