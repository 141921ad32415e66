"""Locust users, one class per kind of client, with the names that the mixes of scenarios.yaml use.

Begin with ``load_user``, their base class.
"""

from __future__ import annotations

from loadtests.load.users.jobs import FollowedJob, PolledJob
from loadtests.load.users.load_user import LoadUser
from loadtests.load.users.native import NativeIllustrate, NativeVectorize
from loadtests.load.users.open_inference import GrpcIllustrate, GrpcVectorize, KServeIllustrate, KServeVectorize
from loadtests.load.users.openai import OpenAIGenerate, OpenAIStream

_ALL: tuple[type[LoadUser], ...] = (
    NativeVectorize,
    NativeIllustrate,
    OpenAIGenerate,
    OpenAIStream,
    GrpcVectorize,
    GrpcIllustrate,
    KServeVectorize,
    KServeIllustrate,
    FollowedJob,
    PolledJob,
)

USERS: dict[str, type[LoadUser]] = {user.__name__: user for user in _ALL}
