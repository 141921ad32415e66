"""The error responses of operations, one component for each vocabulary and status; tags, which group operations by
path; and descriptions of path parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serve import errors
from serve.api.http.bodies import BodyTimeout
from serve.api.http.problems import kind_of
from serve.api.library.files import UnsatisfiableRange
from serve.api.openapi.operation import SAMPLES, example_of
from serve.errors import AtelierError
from serve.security.identity.roles import GENERATE, INFERENCE

_KNOWN: tuple[AtelierError, ...] = (
    errors.InvalidRequest("must be from 1 to 4", "n"),
    errors.Unauthorized("send a key"),
    errors.Forbidden("this key may not: it needs the scope generate"),
    errors.NotFound("there is no such thing here", "id"),
    BodyTimeout("the body did not arrive within 30 s"),
    errors.Conflict("is over"),
    errors.Gone("this job was cancelled"),
    errors.TooLarge("the body has more than 16842752 bytes"),
    errors.UnsupportedMedia("must be gzip, deflate or identity", "Content-Encoding"),
    UnsatisfiableRange("there are 48213 bytes", "Range"),
    errors.BadImage("is no picture that can be read", "image"),
    errors.TooManyRequests("too many requests; come again later", None, 12),
    errors.Cancelled("Interrupted"),
    errors.EngineFailure("an internal error; the log has it under this request id"),
    errors.Unsupported("this is not offered here"),
    errors.Overloaded("too many requests are in work; try again later"),
    errors.DeadlineExceeded("it took longer than the time that there was"),
    errors.OutOfSpace("there is no room left"),
)
BY_STATUS: Mapping[int, AtelierError] = {one.status: one for one in _KNOWN}
_WHY = {
    400: "What is wrong, and in which field.",
    401: "No key, or one that is wrong, expired or revoked.",
    403: "The key may not do this.",
    404: "There is none, or it is another user's.",
    408: "The body did not arrive in time.",
    409: "It does not fit the state that it is in.",
    410: "It will never be there any more.",
    413: "The body, or what it stands for, is too large.",
    415: "The body's encoding or type is not supported.",
    416: "The range begins behind the end; `Content-Range` tells where that is.",
    422: "The picture, or what is asked for, cannot be used.",
    429: "A limit is reached; `Retry-After` tells when to come again.",
    499: "It was ended before time.",
    500: "Something is wrong here; the log has it under the request id.",
    501: "Known, and not offered here.",
    503: "Not now; `Retry-After` tells when to come again.",
    504: "It took too long; come again.",
    507: "No room left: of the disk, or of what the user may keep.",
}


def statuses_of(method: str, path: str, scope: str | None, operation: Mapping[str, Any]) -> Iterator[int]:
    """The errors that an operation of this kind may answer, whatever else it says itself."""
    yield from (500, 503)
    if "parameters" in operation or "requestBody" in operation:
        yield 400
    if scope is not None:
        yield from (401, 403, 429, 504)
    if "{" in path:
        yield 404
    if method not in ("get", "head"):  # a body is read, and bounded, whether it is of use or not
        yield from (400, 408, 413, 415)
    if "requestBody" in operation:
        yield 422
    if scope in (GENERATE, INFERENCE):
        yield from (404, 409, 507)


def responses_of(media_type: str, name: str, schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every error in one vocabulary, as responses for `components`; ``name`` is that of its schema there."""
    return {f"{name}{status}": _response(error, media_type, name, schema) for status, error in BY_STATUS.items()}


def _response(error: AtelierError, media_type: str, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    body = {
        "type": f"urn:atelier:problem:{kind_of(error)}", "title": error.title, "status": error.status,
        "detail": error.message, "field": error.field, "param": error.field, "message": str(error),
        "error": str(error), "code": kind_of(error).replace("-", "_"),
    }  # fmt: skip
    if error.status >= 500:
        body["type"] = body["type"] if media_type.endswith("problem+json") else "server_error"
    content = {
        media_type: {
            "schema": {"$ref": f"#/components/schemas/{name}"},
            "example": example_of(schema, "", {**SAMPLES, **body}),
        }
    }
    headers = ["X-Request-Id", *(["Retry-After"] if error.retry_after_s is not None else [])]
    if error.status == 401:
        headers.append("WWW-Authenticate")
    return {
        "description": _WHY[error.status],
        "headers": {one: {"$ref": f"#/components/headers/{one}"} for one in headers},
        "content": content,
    }


TAGS: dict[str, str] = {
    "Vectorizing": "Pictures in as forms, SVG and its reasons out as JSON.",
    "Drawing": "Prompts in, pictures out, while the client waits.",
    "Style transfer": "Pictures painted anew in the style of others; SVGs in a style's colours.",
    "Captions": "What pictures show, in words.",
    "Prompts": "What a prompt means, and how to say it better.",
    "Art director": "Talks about prompts, refines and explains them, proposes what to draw.",
    "Taste": "What users say of what was drawn, what they like, and what may please them.",
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
    ("/api/nlp", "Prompts"),
    ("/api/llm", "Art director"),
    ("/api/feedback", "Taste"),
    ("/api/preferences", "Taste"),
    ("/api/recommendations", "Taste"),
    ("/api/orchestrator", "Drawing"),
    ("/api/style-transfer", "Style transfer"),
    ("/api/captions", "Captions"),
    ("/api/analytics", "Taste"),
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
    "cohort": "A group of users.",
    "conversation_id": "A conversation with the art director.",
    "prompt_id": "An entry of the history of prompts, as `POST /api/nlp/analyze` names it.",
    "key_id": "A key's id, which is no secret.",
    "user_id": "A user's name.",
    "lane": "The queue's part for one kind of job.",
    "model": "One of `GET /v1/models`.",
    "name": "One of `POST /v2/repository/index`.",
    "version": "A version of the model; without one, the current one.",
}
"""Descriptions of path parameters whose routes have none."""
