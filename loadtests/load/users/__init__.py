"""Locust users, one class for each way to ask, named as the mixes of scenarios.yaml name them."""

from __future__ import annotations

from loadtests.load.users.asking import Asking
from loadtests.load.users.jobs import FollowedJob, PolledJob
from loadtests.load.users.native import NativeIllustrate, NativeVectorize
from loadtests.load.users.open_inference import GrpcIllustrate, GrpcVectorize, KServeIllustrate, KServeVectorize
from loadtests.load.users.openai import OpenAIGenerate, OpenAIStream

_ALL: tuple[type[Asking], ...] = (
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

USERS: dict[str, type[Asking]] = {user.__name__: user for user in _ALL}
