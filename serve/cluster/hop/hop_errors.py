"""Maps Ray's errors of a call to a replica to `serve.errors`: the only place that does so."""

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

CONNECTION_REFUSED = "Unexpected error (StatusCode."
"""Prefix of Ray Serve's error when the connection broke before a replica accepted the call."""


class ReplicaLost(Exception):
    """The replica died during the call."""


@contextlib.contextmanager
def map_ray_errors(name: str, response: DeploymentResponseGenerator[object], timeout_s: float) -> Iterator[None]:
    """Context for reading the responses of the ensemble ``name``. Leaving it early cancels the call.

    Raises ReplicaLost or an error of `serve.errors`.
    """
    try:
        yield
    except AtelierError:
        raise
    except TimeoutError:
        _cancel(response)
        raise late_error(timeout_s) from None
    except GeneratorExit:
        _cancel(response)
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():  # cancelled by `serve.cluster.routing`
            raise ReplicaLost from None
        _cancel(response)
        raise
    except BackPressureError:
        raise Overloaded("too many requests are waiting; try again later") from None
    except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError, TaskCancelledError):
        raise ReplicaLost from None
    except AioRpcError as error:
        if error.code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.INTERNAL):
            raise ReplicaLost from None  # its server shut down, possibly during a response
        raise EngineFailure(f"no answer of the {name} could be sent: {error.code().name}") from error
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error).startswith(CONNECTION_REFUSED):
            raise ReplicaLost from None
        # Replicas return their ensembles' errors as values, so this is a fault of the hop itself, such as a call
        # between incompatible versions. Ray's text is a trace with addresses: it is only logged.
        LOGGER.exception("a call of the %s failed on its way", name)
        raise EngineFailure(f"an internal error on the way to the {name}; the log has it") from error


def late_error(timeout_s: float) -> DeadlineExceeded:
    """The error of a call without an answer, whose own limit is ``timeout_s``."""
    late = "the time that the request had" if request_context.current().is_over else f"{timeout_s:g} s"
    return DeadlineExceeded(f"no answer within {late}")


def _cancel(response: DeploymentResponseGenerator[object]) -> None:
    response.cancel()  # type: ignore[no-untyped-call]
    assigned = response._replica_result_future
    if assigned.done() and not assigned.cancelled() and assigned.exception() is None:
        # Assigned at this very moment: the response does not know it yet.
        assigned.result().cancel()  # type: ignore[no-untyped-call]
