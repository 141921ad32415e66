"""Tags, which group the operations of the document by path, and descriptions of path parameters."""

from __future__ import annotations

from collections.abc import Sequence

TAGS: dict[str, str] = {
    "Vectorizing": "Pictures in as forms, SVG and its reasons out as JSON.",
    "Drawing": "Prompts in, pictures out, while the client waits.",
    "Jobs": "The queue: jobs, batches, their events and previews.",
    "Gallery": "What was made: history, favourites, downloads.",
    "Results": "Single pictures and drawings by their ids: as they are, converted, small.",
    "References": "Pictures of subjects that a user keeps here.",
    "OpenAI": "As OpenAI's clients ask, with its errors.",
    "A1111": "As clients of the A1111 web UI ask.",
    "Open inference": "The open inference protocol as KServe and Triton speak it, with its errors.",
    "Accounts": "Who asks; keys, users and the audit log.",
    "Admin": "For who runs the site.",
    "Health": "Probes, which need no key.",
}
_BY_PATH: Sequence[tuple[str, str]] = (
    ("/health", "Health"),
    ("/v2/health", "Health"),
    ("/v2", "Open inference"),
    ("/sdapi", "A1111"),
    ("/internal", "A1111"),
    ("/controlnet", "A1111"),
    ("/api/admin/keys", "Accounts"),
    ("/api/admin/users", "Accounts"),
    ("/api/admin/audit", "Accounts"),
    ("/v1/me", "Accounts"),
    ("/api/admin", "Admin"),
    ("/api/generate/history", "Gallery"),
    ("/v1/generations", "Gallery"),
    ("/api/generate", "Jobs"),
    ("/v1/jobs", "Jobs"),
    ("/v1/batches", "Jobs"),
    ("/v1/queue", "Jobs"),
    ("/v1/results", "Results"),
    ("/api/references", "References"),
    ("/api/illustrations", "Drawing"),
    ("/api/diffusion", "Drawing"),
    ("/generate", "Drawing"),
    ("/v1", "OpenAI"),
    ("/api", "Vectorizing"),
)
"""The first prefix that matches a path counts."""
OTHERS = "Others"
"""The tag of paths without a rule; a test fails for one."""


def tag_of(path: str) -> str:
    return next((tag for start, tag in _BY_PATH if path == start or path.startswith(f"{start}/")), OTHERS)


PATH_PARAMETERS: dict[str, str] = {
    "job_id": "A job, as the answer that added it names it: 32 hexadecimal digits.",
    "batch_id": "A batch of jobs: 32 hexadecimal digits.",
    "generation_id": "A generation, which for a job is the job's id.",
    "result_id": "A picture or a drawing, as answers tell it.",
    "reference_id": "A reference, as the upload's answer tells it.",
    "key_id": "A key's id, which is no secret.",
    "user_id": "A user's name.",
    "lane": "The queue's part for one kind of job.",
    "model": "One of `GET /v1/models`.",
    "name": "One of `POST /v2/repository/index`.",
    "version": "A version of the model; without one, the current one.",
}
"""Descriptions of path parameters whose routes have none."""
