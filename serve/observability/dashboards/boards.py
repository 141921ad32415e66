"""The dashboards of a site."""

from __future__ import annotations

from serve.observability.dashboards.board import (
    RATE,
    Board,
    Panel,
    mean,
    mean_of_both,
    of_gpus,
    per_second,
    quantile,
    quantiles,
    ratio,
)

FAILED = 'atelier_requests_total{status=~"50[02345]|UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED|UNKNOWN"}'
"""Requests failed by the site. Excluded: 499, client errors, deadlines set by the client (late), unsupported requests
(501, UNIMPLEMENTED), and exceeded limits or quotas (507, RESOURCE_EXHAUSTED)."""

DATABASE, STORE = "atelier_database_transaction_seconds", "atelier_object_store_call_seconds"
DISK = "max by (instance) (ray_node_disk_utilization_percentage) / 100"
"""Of a machine's root and of the disk of Ray's folder together."""
MEMORY = "max by (instance) (ray_node_mem_used / ray_node_mem_total)"
GPU_BUSY = of_gpus("nv_gpu_utilization", "(ray_node_gpus_utilization >= 0) / 100")
"""Ray reports -1 for a GPU without this metric."""
GPU_USED = of_gpus("nv_gpu_memory_used_bytes", "ray_node_gram_used * 1048576")
GPU_THERE = of_gpus("nv_gpu_memory_total_bytes", "(ray_node_gram_used + ray_node_gram_available) * 1048576")
"""Ray reports GPU memory in MiB, despite the metric's declared unit."""


BY_ITSELF = 'kind!="delete"'
"""Excludes deletions, which include the object store's time."""
DATABASE_ERRORS = f'{DATABASE}_count{{outcome="error", {BY_ITSELF}}}'
STORE_ERRORS = f'{STORE}_count{{outcome="error"}}'


def failing(errors: str, by: str, window: str = RATE) -> str:
    """Share of failed transactions of the database, or calls of the store."""
    return ratio(errors, errors.partition("{")[0], by, window)


OVERVIEW = Board("atelier-overview", "Atelier: overview", {
    "Now": (
        Panel("Requests", "reqps", {"": per_second("atelier_requests_total")}, "Answered, of any kind.", "number"),
        Panel("Failed", "percentunit", {"": ratio(FAILED, "atelier_requests_total")},
              "Share that failed by the site's fault. The goal is below 1 %.", "number"),
        Panel("p95", "s", {"": quantile(0.95, "atelier_request_duration_seconds")},
              "Of all routes together.", "number"),
        Panel("Under way", "short", {"": "sum(atelier_requests_in_progress)"}, "Without an end yet.", "number"),
        Panel("Users", "short", {"": "max(atelier_active_users)"}, "Active within the last hour.", "number"),
    ),
    "Doors": (
        Panel("Requests by route", "reqps", {"{{door}} {{route}}": per_second("atelier_requests_total", "door, route")},
              "As the route is declared."),
        Panel("Duration", "s", quantiles("atelier_request_duration_seconds"),
              "From arrival to the end of the answer; streams and waits for jobs count whole."),
    ),
    "Trouble": (
        Panel("By status", "reqps", {"{{status}}": per_second("atelier_requests_total", "status")}, "HTTP and gRPC."),
        Panel("Refused, by reason", "reqps", {"{{reason}}": per_second("atelier_refusals_total", "reason")},
              "Errors by their kind. Overloaded and TooManyRequests come with Retry-After."),
        Panel("Over a rate limit", "reqps", {"{{by}}": per_second("atelier_rate_limited_total", "by")},
              "By what was counted: an address or a user."),
    ),
    "Use": (
        Panel("Requests of one user in the last hour", "short", {
            "median": "max(histogram_quantile(0.5, atelier_user_requests_bucket))",
            "p95": "max(histogram_quantile(0.95, atelier_user_requests_bucket))",
        }, "How unequal users are. Nobody is named."),
        Panel("Cache", "percentunit", {
            "hits": ratio('atelier_cache_lookups_total{result="hit"}', "atelier_cache_lookups_total"),
        }, "Share of lookups that found their answer."),
        Panel("Shared", "reqps", {"{{place}}": per_second("atelier_shared_requests_total", "place")},
              "Requests that joined the same one under way."),
    ),
    "State": (
        Panel("Database, p95", "s", {"{{kind}}": quantile(0.95, DATABASE, "kind")},
              "A transaction, its wait for a connection or a turn included; a delete waits for the object store, too."
              " The goal is below 0.1 s."),
        Panel("Object store, p95", "s", {"{{operation}}": quantile(0.95, STORE, "operation")},
              "A call, whatever it carries."),
        Panel("Failing", "percentunit", {
            "database {{kind}}": failing(DATABASE_ERRORS, "kind"),
            "object store {{operation}}": failing(STORE_ERRORS, "operation"),
        }, "Share of transactions and calls that were not answered, or found no space."),
    ),
    "Machines": (
        Panel("Disk", "percentunit", {"{{instance}}": DISK}, "In use: of the root and of Ray's folder, together."),
        Panel("Memory", "percentunit", {"{{instance}}": MEMORY}, "In use, of what the machine or the container has."),
    ),
})  # fmt: skip

ENSEMBLES = Board("atelier-ensembles", "Atelier: ensembles", {
    "Queues": (
        Panel("Waiting and working", "short", {
            "{{ensemble}} waiting": "sum by (ensemble) (atelier_queue_waiting)",
            "{{ensemble}} working": "sum by (ensemble) (atelier_work_in_progress)",
        }, "In all replicas."),
        Panel("Wait for a turn", "s", {
            "{{ensemble}} p95": quantile(0.95, "atelier_queue_wait_seconds", "ensemble"),
            "{{ensemble}} oldest": "max by (ensemble) (atelier_queue_oldest_seconds)",
        }, "In a replica. Growing: more replicas are needed. The oldest has no turn yet."),
    ),
    "Work": (
        Panel("Duration", "s", quantiles("atelier_ensemble_duration_seconds", "ensemble"), "Without the queue."),
        Panel("Outcomes", "ops", {
            "{{ensemble}} {{outcome}}": per_second("atelier_ensemble_duration_seconds_count", "ensemble, outcome"),
        }, "Cancelled ones left within a step."),
    ),
    "Stages": (
        Panel("Mean time of stages", "s", {
            "{{ensemble}} {{stage}}": mean("atelier_stage_duration_seconds", "ensemble, stage"),
        }, "Those of an answer's timings."),
        Panel("Denoising step", "s", quantiles("atelier_denoising_step_seconds", "model"),
              "One step of one picture, its wait for a batch included."),
    ),
    "Processes": (
        Panel("Processors", "short", {"{{role}}": per_second("atelier_process_cpu_seconds_total", "role")},
              "Cores in use, by replicas with all that they started."),
        Panel("Memory", "bytes", {"{{role}}": "sum by (role) (atelier_process_memory_bytes)"},
              "Resident; pages that processes share count for each."),
        Panel("Served by", "reqps", {"{{by}}": per_second("atelier_served_total", "by")},
              "The Illustrator, or who stood in for it."),
    ),
})  # fmt: skip

ENGINES = Board("atelier-engines", "Atelier: engines", {
    "Inference": (
        Panel("Inferences", "ops", {"{{engine}}": per_second("atelier_engine_inference_seconds_count", "engine")},
              "Calls that were answered; one may hold many samples."),
        Panel("p95", "s", {"{{engine}}": quantile(0.95, "atelier_engine_inference_seconds", "engine")},
              "From call to answer, Triton's queue included."),
        Panel("In flight", "short", {"{{engine}}": "sum by (engine) (atelier_engine_inferences_in_flight)"},
              "At the bound an engine refuses."),
    ),
    "Batches": (
        Panel("Mean batch", "short", {"{{model}}": (
            f"{per_second('nv_inference_count', 'model')} / {per_second('nv_inference_exec_count', 'model')}"
        )}, "Samples per execution, by Triton's own counters."),
        Panel("Executions by batch size", "ops", {
            "{{engine}} x {{batch_size}}": per_second("atelier_engine_executions_total", "engine, batch_size"),
        }, "How often Triton ran a batch of this size."),
        Panel("Time in Triton's queue", "s", {"{{model}}": (
            f"{per_second('nv_inference_queue_duration_us', 'model')} / 1e6"
            f" / {per_second('nv_inference_request_success', 'model')}"
        )}, "Mean wait of a request for its batch."),
    ),
    "Health": (
        Panel("Failures", "ops", {
            "{{engine}} {{reason}}": per_second("atelier_engine_failures_total", "engine, reason"),
        }, "Calls that came back with an error."),
        Panel("Starts of Triton", "short", {
            "starts": "sum(increase(atelier_triton_starts_total[1h]))",
            "restarts": "sum(increase(atelier_triton_restarts_total[1h]))",
        }, "In an hour. A restart follows a failed probe."),
        Panel("Loaded", "short", {"{{engine}} {{version}}": "sum by (engine, version) (atelier_engine_info)"},
              "Replicas that have an engine's version."),
    ),
    "GPU": (
        Panel("Utilisation", "percentunit", {"{{gpu_uuid}}": GPU_BUSY}, "As Triton reads it, or else Ray.",
              only_with="gpu"),
        Panel("Memory", "bytes", {"{{gpu_uuid}} used": GPU_USED, "{{gpu_uuid}} there": GPU_THERE},
              "As Triton reads it, or else Ray.", only_with="gpu"),
    ),
})  # fmt: skip

JOBS = Board("atelier-jobs", "Atelier: jobs", {
    "Queue": (
        Panel("Jobs", "short", {"{{lane}} {{state}}": "max by (lane, state) (atelier_jobs)"}, "Of the whole site."),
        Panel("Wait", "s", {
            "{{lane}} p95": quantile(0.95, "atelier_job_wait_seconds", "lane"),
            "{{lane}} oldest": "max by (lane) (atelier_jobs_oldest_seconds)",
        }, "From when a job could start until a worker took it. The oldest still waits."),
    ),
    "Work": (
        Panel("Attempts", "ops", {"{{lane}} {{outcome}}": per_second("atelier_job_attempts_total", "lane, outcome")},
              "One job may take several."),
        Panel("An attempt takes", "s", quantiles("atelier_job_attempt_seconds", "lane"),
              "Progress is kept between them."),
    ),
    "Workers": (
        Panel("With a lease", "short", {"": "max(atelier_workers)"}, "Workers and gateways of the site."),
        Panel("Beats", "cps", {"": per_second("atelier_worker_beats_total")}, "Still: their jobs are given to others."),
        Panel("Jobs of the dead", "short", {"": "sum(increase(atelier_jobs_recovered_total[1h]))"},
              "How often in an hour a worker's jobs were given back."),
        Panel("Webhooks", "ops", {"{{outcome}}": per_second("atelier_webhooks_total", "outcome")}, "By how they went."),
    ),
})  # fmt: skip

QUALITY = Board("atelier-quality", "Atelier: quality", {
    "SVG": (
        Panel("Tiers", "ops", {"tier {{tier}}, {{tracer}}": per_second("atelier_svgs_total", "tier, tracer")},
              "What was chosen, and who traced."),
        Panel("Measured SSIM", "short", {
            "median, tier {{tier}}": quantile(0.5, "atelier_svg_quality_ratio", "tier"),
            "worst tenth, tier {{tier}}": quantile(0.1, "atelier_svg_quality_ratio", "tier"),
        }, "Where drawings were rendered and compared."),
        Panel("Predicted minus measured", "short", {
            "mean": mean_of_both("atelier_svg_quality_prediction_error_ratio"),
            "p95, {{direction}}": quantile(0.95, "atelier_svg_quality_prediction_error_ratio", "direction"),
        }, "A mean away from zero: the predictor has drifted from what is sent to it."),
    ),
    "Answers": (
        Panel("Not as asked", "ops", {"{{ensemble}}": per_second("atelier_degraded_total", "ensemble")},
              "Answered with less than the request named, and said so."),
        Panel("Moderation", "ops", {
            "{{action}} {{category}}": per_second("atelier_moderation_total", "action, category"),
        }, "What was flagged, blurred or refused."),
        Panel("Pictures", "ops", {"{{model}}": per_second("atelier_pictures_total", "model")}, "That were drawn."),
    ),
})  # fmt: skip

COST = Board("atelier-cost", "Atelier: cost", {
    "Charged": (
        Panel("Processors", "short", {
            "{{ensemble}} {{model}}": per_second("atelier_cost_cpu_seconds_total", "ensemble, model"),
        }, "Processor seconds per second that requests are charged with."),
        Panel("GPUs", "short", {
            "{{ensemble}} {{model}}": per_second("atelier_cost_gpu_seconds_total", "ensemble, model"),
        }, "GPU seconds per second that requests are charged with.", only_with="gpu"),
    ),
    "Each": (
        Panel("Processor time of one answer", "s", {"{{ensemble}}": (
            f"{per_second('atelier_cost_cpu_seconds_total', 'ensemble')}"
            f" / {per_second('atelier_ensemble_duration_seconds_count', 'ensemble')}"
        )}, "Mean."),
        Panel("GPU time of one answer", "s", {"{{ensemble}}": (
            f"{per_second('atelier_cost_gpu_seconds_total', 'ensemble')}"
            f" / {per_second('atelier_ensemble_duration_seconds_count', 'ensemble')}"
        )}, "Mean.", only_with="gpu"),
        Panel("Charged share", "percentunit", {"": (
            f"{per_second('atelier_cost_cpu_seconds_total')} / {per_second('atelier_process_cpu_seconds_total')}"
        )}, "Of all processor time of replicas; the rest is what the house itself takes."),
    ),
})  # fmt: skip

BOARDS = (OVERVIEW, ENSEMBLES, ENGINES, JOBS, QUALITY, COST)
