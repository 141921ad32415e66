"""The one place where Ray's errors become ours: what may happen to a call on its way to a replica and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from grpc import StatusCode
from grpc.aio import AioRpcError
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentResponseGenerator

from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, Overloaded
from serve.observability import request_context

LOGGER = logging.getLogger(__name__)

REFUSED = "Unexpected error (StatusCode."
"""How Ray Serve says that a connection broke before a replica took the call."""


class ReplicaLost(Exception):
    """The replica died with the call."""


@contextlib.contextmanager
def map_ray_errors(name: str, response: DeploymentResponseGenerator[object], timeout_s: float) -> Iterator[None]:
    """Around the reading of what the ensemble ``name`` answers; whoever stops waiting cancels the work.

    Raises Lost, or an error of ours.
    """
    try:
        yield
    except AtelierError:
        raise
    except TimeoutError:
        _cancel(response)
        late = "the time that the request had" if request_context.current().is_over else f"{timeout_s:g} s"
        raise DeadlineExceeded(f"no answer within {late}") from None
    except GeneratorExit:
        _cancel(response)
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():  # `serve.cluster.routing` has ended the call
            raise ReplicaLost from None
        _cancel(response)
        raise
    except BackPressureError:
        raise Overloaded("too many requests are waiting; try again later") from None
    except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError, TaskCancelledError):
        raise ReplicaLost from None  # none that is cancelled from here is read on
    except AioRpcError as error:
        if error.code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.INTERNAL):
            raise ReplicaLost from None  # its server ends, or was in the midst of an answer
        raise EngineFailure(f"no answer of the {name} could be sent: {error.code().name}") from error
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error).startswith(REFUSED):
            raise ReplicaLost from None
        # A replica answers what its ensemble raises as a value: this is of the hop itself, such as a call between two
        # versions that do not understand each other. Ray's text is a trace with addresses: it stays in the log.
        LOGGER.exception("a call of the %s failed on its way", name)
        raise EngineFailure(f"an internal error on the way to the {name}; the log has it") from error


def _cancel(response: DeploymentResponseGenerator[object]) -> None:
    response.cancel()  # type: ignore[no-untyped-call]
    assigned = response._replica_result_future
    if assigned.done() and not assigned.cancelled() and assigned.exception() is None:
        # At this very moment: the response does not know it yet.
        assigned.result().cancel()  # type: ignore[no-untyped-call]
