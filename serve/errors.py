"""The tree of errors that reach a client.

Every error has an HTTP status and a gRPC code as class attributes. It takes positional arguments only, passed to
``Exception``, so that instances can be pickled between Ray processes.
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
    │   ├── ScaledToZero        503  UNAVAILABLE         (Retry-After)
    │   ├── EngineLost          503  UNAVAILABLE         (Retry-After)
    │   └── PictureNotClassified 503 UNAVAILABLE         (Retry-After)
    ├── StateUnavailable        503  UNAVAILABLE         (Retry-After)
    ├── OutOfSpace              507  RESOURCE_EXHAUSTED  (Retry-After)
    │   └── QuotaExceeded       507  RESOURCE_EXHAUSTED
    ├── TooManyJobs             429  RESOURCE_EXHAUSTED  (Retry-After)
    ├── TooManyRequests         429  RESOURCE_EXHAUSTED  (Retry-After)
    │   └── TooManyAttempts     429  RESOURCE_EXHAUSTED  (Retry-After)
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
    """``message``: what is wrong and what to do. ``field``: the input at fault, if any."""

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

    @classmethod
    def label(cls) -> str:
        """``kind`` spelled like a class, `NotFound`: in stored records, metrics, traces and A1111's errors."""
        return "".join(word.capitalize() for word in cls.kind.split("-")) if cls.kind else cls.__name__

    @property
    def extra_fields(self) -> Mapping[str, str | float]:
        """Additional members of the error response."""
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
    """An idempotency key that was used for another request."""

    status = 422
    title = "Idempotency key reused"


class UnsupportedOperation(InvalidRequest):
    """No model here can do this. Status 400 in vocabularies whose clients treat 501 as temporary."""

    grpc_code = "UNIMPLEMENTED"
    title = "Operation not supported"


class ModerationBlocked(InvalidRequest):
    """Refused by moderation: ``category``, and ``score`` from 0 to 1. The message never repeats the prompt."""

    title = "Refused by moderation"

    def __init__(self, message: str, field: str | None = None, category: str = "", score: float = 1.0) -> None:
        super().__init__(message, field)
        self.args = (message, field, category, score)  # for pickling
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
    """Removed for good, such as the result of a cancelled job."""

    status = 410
    title = "Gone"


class Unsupported(AtelierError):
    status = 501
    grpc_code = "UNIMPLEMENTED"
    title = "Not supported"


class Overloaded(AtelierError):
    """No capacity; ``retry_after_s`` estimates when there is."""

    status = 503
    grpc_code = "UNAVAILABLE"
    title = "Overloaded"

    def __init__(self, message: str, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field)
        self.args = (message, field, retry_after_s)  # for pickling
        self.retry_after_s = retry_after_s


class EngineUnavailable(AtelierError):
    status = 503
    grpc_code = "UNAVAILABLE"
    title = "Engine unavailable"
    retry_after_s = 2


class ScaledToZero(EngineUnavailable):
    """Scaled to zero; the replica that is starting was not ready in time."""

    title = "Starting"
    kind = "asleep"
    retry_after_s = 10


class EngineLost(EngineUnavailable):
    """The replica died during the request, in every attempt."""


class PictureNotClassified(EngineUnavailable):
    """The picture is withheld, since the safety engine did not classify it."""

    kind = "unjudged"


class StateUnavailable(AtelierError):
    """The database or the object store does not respond."""

    status = 503
    grpc_code = "UNAVAILABLE"
    title = "State unavailable"
    retry_after_s = 5


class OutOfSpace(AtelierError):
    """The disk of the database or the object store is full."""

    status = 507
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Insufficient storage"
    retry_after_s: int | None = 60


class QuotaExceeded(OutOfSpace):
    """The user's storage quota is used up; only deleting helps."""

    title = "Storage quota exceeded"
    retry_after_s = None


class TooManyRequests(AtelierError):
    """A rate limit is exceeded; ``retry_after_s`` is when it resets."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many requests"

    def __init__(self, message: str, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field)
        self.args = (message, field, retry_after_s)
        self.retry_after_s = retry_after_s


class TooManyAttempts(TooManyRequests):
    """Too many wrong keys."""

    title = "Too many attempts"


class TooManyJobs(AtelierError):
    """A limit of the queue is reached, per user or in total."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many jobs"
    retry_after_s = 10


class Conflict(AtelierError):
    """The request does not fit the state of the resource."""

    status = 409
    grpc_code = "FAILED_PRECONDITION"
    title = "Conflict"


class Forbidden(AtelierError):
    status = 403
    grpc_code = "PERMISSION_DENIED"
    title = "Forbidden"


class Unauthorized(AtelierError):
    """No key or token, or an invalid one."""

    status = 401
    grpc_code = "UNAUTHENTICATED"
    title = "Unauthorized"
    challenge: ClassVar[str] = "Bearer"
    """Value of WWW-Authenticate. Not Basic: a browser would ask for credentials and then send them from any page."""
    basic_challenge: ClassVar[str] = 'Basic realm="atelier"'
    """For the A1111 API, whose clients know only Basic."""


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


def error_from_record(kind: type[AtelierError], record: Mapping[str, Any]) -> AtelierError:
    """Recreate an error from a stored record."""
    message, field = str(record.get("detail") or "the job failed"), record.get("field")
    if issubclass(kind, ModerationBlocked):
        return kind(message, field, str(record.get("category", "")), float(record.get("score", 1.0)))
    return kind(message, field)


@contextlib.contextmanager
def rename_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Translate the ``field`` of errors to the caller's names: ``names`` maps ours to theirs."""
    try:
        yield
    except AtelierError as error:
        if error.field is None or error.field not in names:
            raise
        raise type(error)(error.message, names[error.field], *error.args[2:]) from None
