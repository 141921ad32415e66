"""The one tree of errors that reach a client.

Every error carries its HTTP status and its gRPC code as class attributes, and takes positional arguments only,
passed whole to ``Exception``: an instance then survives pickling between Ray processes.

    AtelierError
    ├── InvalidRequest          400  INVALID_ARGUMENT
    │   ├── BadImage            422  INVALID_ARGUMENT
    │   ├── TooLarge            413  INVALID_ARGUMENT
    │   ├── KeyReused           422  INVALID_ARGUMENT
    │   ├── UnsupportedOperation 400 UNIMPLEMENTED
    │   └── ModerationBlocked   400  INVALID_ARGUMENT
    ├── NotFound                404  NOT_FOUND
    │   └── Gone                410  NOT_FOUND
    ├── UnsupportedMedia        415  INVALID_ARGUMENT
    ├── Unsupported             501  UNIMPLEMENTED
    ├── Overloaded              503  UNAVAILABLE         (Retry-After)
    ├── EngineUnavailable       503  UNAVAILABLE         (Retry-After)
    │   ├── Asleep              503  UNAVAILABLE         (Retry-After)
    │   ├── EngineLost          503  UNAVAILABLE         (Retry-After)
    │   └── Unjudged            503  UNAVAILABLE         (Retry-After)
    ├── StateUnavailable        503  UNAVAILABLE         (Retry-After)
    ├── OutOfSpace              507  RESOURCE_EXHAUSTED  (Retry-After)
    │   └── QuotaExceeded       507  RESOURCE_EXHAUSTED
    ├── TooManyJobs             429  RESOURCE_EXHAUSTED  (Retry-After)
    ├── TooManyAttempts         429  RESOURCE_EXHAUSTED  (Retry-After)
    ├── TooManyRequests         429  RESOURCE_EXHAUSTED  (Retry-After)
    ├── Conflict                409  FAILED_PRECONDITION
    ├── Forbidden               403  PERMISSION_DENIED
    ├── Unauthorized            401  UNAUTHENTICATED     (WWW-Authenticate)
    ├── DeadlineExceeded        504  DEADLINE_EXCEEDED   (Retry-After)
    ├── Cancelled               499  CANCELLED
    └── EngineFailure           500  INTERNAL
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class AtelierError(Exception):
    """``message`` says what is wrong and what to do; ``field`` names the input at fault, if one is."""

    status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal error"
    kind: ClassVar[str] = ""
    """The name that clients see in problem bodies and error codes; by default that of the class, `not-found`."""
    retry_after_s: int | None = None

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    @property
    def extra_fields(self) -> Mapping[str, str | float]:
        """What an answer tells besides, by name."""
        return {}

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequest(AtelierError):
    status = 400
    grpc_code = "INVALID_ARGUMENT"
    title = "Invalid request"


class BadImage(InvalidRequest):
    status = 422
    title = "Image cannot be used"


class TooLarge(InvalidRequest):
    status = 413
    title = "Input too large"


class UnsupportedMedia(InvalidRequest):
    status = 415
    title = "Media type not supported"


class KeyReused(InvalidRequest):
    """An idempotency key that stands for another request."""

    status = 422
    title = "Idempotency key reused"


class UnsupportedOperation(InvalidRequest):
    """What no model here can do, asked for in a vocabulary whose clients take 501 for a fault that passes."""

    grpc_code = "UNIMPLEMENTED"
    title = "Operation not supported"


class ModerationBlocked(InvalidRequest):
    """The site does not draw this: ``category``, and how sure that is, 0 to 1. It never repeats the prompt."""

    title = "Refused by moderation"

    def __init__(self, message: str, field: str | None = None, category: str = "", score: float = 1.0) -> None:
        super().__init__(message, field)
        self.args = (message, field, category, score)  # what a pickled error is made from again
        self.category = category
        self.score = score

    @property
    def extra_fields(self) -> Mapping[str, str | float]:
        return {"category": self.category, "score": self.score}


class NotFound(AtelierError):
    status = 404
    grpc_code = "NOT_FOUND"
    title = "Not found"


class Gone(NotFound):
    """What there will never be any more, such as the result of a job that was cancelled."""

    status = 410
    title = "Gone"


class Unsupported(AtelierError):
    status = 501
    grpc_code = "UNIMPLEMENTED"
    title = "Not supported"


class Overloaded(AtelierError):
    """More is asked for than there is room for; ``retry_after_s`` is about when there is."""

    status = 503
    grpc_code = "UNAVAILABLE"
    title = "Overloaded"

    def __init__(self, message: str, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field)
        self.args = (message, field, retry_after_s)  # what a pickled error is made from again
        self.retry_after_s = retry_after_s


class EngineUnavailable(AtelierError):
    status = 503
    grpc_code = "UNAVAILABLE"
    title = "Engine unavailable"
    retry_after_s = 2


class ScaledToZero(EngineUnavailable):
    """It had no replica, and the one that starts now was not there in time."""

    title = "Starting"
    kind = "asleep"
    retry_after_s = 10


class EngineLost(EngineUnavailable):
    """Whoever worked on this died of it, or with it, each time that it was asked."""


class PictureNotClassified(EngineUnavailable):
    """What was drawn is not shown: the safety engine does not say what it is."""

    kind = "unjudged"


class StateUnavailable(AtelierError):
    """The database or the object store does not answer."""

    status = 503
    grpc_code = "UNAVAILABLE"
    title = "State unavailable"
    retry_after_s = 5


class OutOfSpace(AtelierError):
    """The disk of the database or of the object store is full."""

    status = 507
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Insufficient storage"
    retry_after_s: int | None = 60


class QuotaExceeded(OutOfSpace):
    """A user keeps as much as one user may: nothing changes that but deleting some of it."""

    title = "Storage quota exceeded"
    retry_after_s = None


class TooManyRequests(AtelierError):
    """A rate limit is reached; ``retry_after_s`` is when it opens again."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many requests"

    def __init__(self, message: str, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field)
        self.args = (message, field, retry_after_s)
        self.retry_after_s = retry_after_s


class TooManyJobs(AtelierError):
    """A bound of the queue is reached, for one user or for all."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many jobs"
    retry_after_s = 10


class TooManyAttempts(AtelierError):
    """Too many wrong keys. How long to wait differs, so it goes with the error."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many attempts"

    def __init__(self, message: str, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field)
        self.args = (message, field, retry_after_s)  # what a pickled error is made from again
        self.retry_after_s = retry_after_s


class Conflict(AtelierError):
    """What was asked does not fit the state that it is in."""

    status = 409
    grpc_code = "FAILED_PRECONDITION"
    title = "Conflict"


class Forbidden(AtelierError):
    status = 403
    grpc_code = "PERMISSION_DENIED"
    title = "Forbidden"


class Unauthorized(AtelierError):
    """No key or token, or a wrong one."""

    status = 401
    grpc_code = "UNAUTHENTICATED"
    title = "Unauthorized"
    challenge: ClassVar[str] = "Bearer"
    """The header WWW-Authenticate of the answer. Not Basic: a browser would ask for it, and send it from any page."""
    basic_challenge: ClassVar[str] = 'Basic realm="atelier"'
    """Where the vocabulary has it so: A1111's clients know nothing else."""


class DeadlineExceeded(AtelierError):
    status = 504
    grpc_code = "DEADLINE_EXCEEDED"
    title = "Deadline exceeded"
    retry_after_s = 2


class Cancelled(AtelierError):
    status = 499
    grpc_code = "CANCELLED"
    title = "Cancelled"


class EngineFailure(AtelierError):
    status = 500
    grpc_code = "INTERNAL"
    title = "Engine failed"


def error_from_record(kind: type[AtelierError], told: Mapping[str, Any]) -> AtelierError:
    """An error that was written down."""
    message, field = str(told.get("detail") or "the job failed"), told.get("field")
    if issubclass(kind, ModerationBlocked):
        return kind(message, field, str(told.get("category", "")), float(told.get("score", 1.0)))
    return kind(message, field)


@contextlib.contextmanager
def rename_fields(names: Mapping[str, str]) -> Iterator[None]:
    """An error that names a field names it as its caller does: ``names`` has the caller's word by ours."""
    try:
        yield
    except AtelierError as error:
        if error.field is None or error.field not in names:
            raise
        raise type(error)(error.message, names[error.field], *error.args[2:]) from None
