"""Settings of the ensembles: Vectorizer and Illustrator."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from serve.settings.section import MEBIBYTE, AutoscalingSettings, ProjectPath, ScaledSection, Section


class ImageLimitsSettings(Section):
    max_bytes: int = Field(10 * MEBIBYTE, ge=1, le=1024 * MEBIBYTE, description="Largest encoded picture (C-130).")
    max_pixels: int = Field(4096 * 4096, ge=1, description="Most pixels of a picture, checked before it is decoded.")
    max_side_px: int = Field(4096, ge=1, description="Longest side of a picture.")
    min_side_px: int = Field(2, ge=1, description="Shortest side of a picture.")


class EnsembleSettings(ScaledSection):
    """What every ensemble has: its engines, and what a replica reserves."""

    model_repository: ProjectPath = Field(Path("model_repository"), description="Folder with one folder per engine.")
    engines_url: str | None = Field(
        None, description="host:port (gRPC) of an outside Triton; none: each replica runs its own, embedded."
    )
    tritonserver: ProjectPath | None = Field(
        None,
        description="Folder of a tritonserver with backends of its own, such as /opt/tritonserver in NVIDIA's "
        "container; none: the embedded one.",
    )
    num_gpus: float = Field(0.0, ge=0, le=64, description="GPUs that Ray reserves for one replica.")


class SamplesSettings(Section):
    """What conversions leave for training the engine `quality` (D-080)."""

    collect: bool = Field(
        False,
        description="Whether conversions whose quality was measured are recorded: features, parameters, predicted and "
        "measured quality, hash of the picture.",
    )
    pictures: bool = Field(
        False, description="Whether the pictures of recorded conversions may be exported too, while they are stored."
    )
    max_rows: int = Field(20_000, ge=1, le=10_000_000, description="Recorded conversions that are kept, the newest.")


class LearningSettings(Section):
    """Continuous learning of the engine `quality` (D-080 to D-083, D-092); it needs `vectorizer.samples.collect`."""

    enabled: bool = Field(
        False, description="Whether workers add a job of the kind retrain when the predictions have drifted."
    )
    every_h: float = Field(6.0, ge=0.1, le=8760, description="How often that is looked at.")
    window: int = Field(200, ge=30, le=10_000, description="Conversions whose errors are compared with the manifest.")
    least_conversions: int = Field(200, ge=50, le=100_000, description="Recorded conversions, to retrain at all.")
    shadow_conversions: int = Field(
        50,
        ge=0,
        le=1_000,
        description="Conversions that a retrained version predicts in the shadow before users get it; 0: none. Not 1.",
    )
    percentage: float = Field(10.0, gt=0, le=100, description="Users that get a retrained version on trial.")
    trial_conversions: int = Field(100, ge=30, le=100_000, description="Of each version, to judge a trial.")
    trial_max_h: float = Field(336.0, gt=0, le=8760, description="Longest trial; then the version is taken back.")
    epochs: int = Field(20, ge=1, le=20, description="Of a retraining (D-081).")
    preset: Literal["quick", "full"] = Field("full", description="How many original pictures it learns from, too.")
    timeout_s: float = Field(10_800.0, gt=0, le=86_400, description="Longest time of a retraining.")
    python: ProjectPath | None = Field(
        None, description="Interpreter with the training's packages (atelier[build]); none: the worker's own."
    )

    @field_validator("shadow_conversions")
    @classmethod
    def _judgeable(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0, or at least 2: one conversion has no deviation to judge by")
        return value


class VectorizerSettings(EnsembleSettings):
    engine_timeout_s: float = Field(10.0, gt=0, le=600, description="Longest wait for one inference.")
    engine_start_timeout_s: float = Field(120.0, gt=0, le=3600, description="Longest wait for the embedded Triton.")
    workers: int = Field(0, ge=0, le=1024, description="Tracing processes per replica; 0: one per core.")
    min_replicas: int = Field(1, ge=0, le=1000, description="Fewest Vectorizer replicas; 0: scales to zero when idle.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most Vectorizer replicas.")
    autoscaling: AutoscalingSettings = Field(AutoscalingSettings(), description="Autoscaling of Vectorizers.")
    num_cpus: float = Field(1.0, ge=0, le=1024, description="CPUs that Ray reserves for one replica.")
    max_ongoing_requests: int = Field(32, ge=1, le=10_000, description="Concurrent requests per replica.")
    max_queued_requests: int = Field(
        256, ge=1, le=100_000, description="Requests that may wait for one replica; beyond it the answer is 503."
    )
    timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest time for one conversion, queueing included.")
    trace_timeout_s: float = Field(20.0, gt=0, le=600, description="Longest tracing; then VTracer takes over.")
    image: ImageLimitsSettings = Field(ImageLimitsSettings(), description="Limits of input pictures.")
    samples: SamplesSettings = Field(SamplesSettings(), description="Conversions recorded for training.")
    learning: LearningSettings = Field(LearningSettings(), description="Retraining by drift.")


class IllustratorSettings(EnsembleSettings):
    families: tuple[str, ...] = Field(
        (), description="Illustration models to serve, the default first; none: all in the repository."
    )
    engine_timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest wait for one step.")
    engine_start_timeout_s: float = Field(120.0, gt=0, le=3600, description="Longest wait for the embedded Triton.")
    min_replicas: int = Field(1, ge=0, le=1000, description="Fewest Illustrator replicas; 0: scales to zero when idle.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most Illustrator replicas.")
    autoscaling: AutoscalingSettings = Field(AutoscalingSettings(), description="Autoscaling of Illustrators.")
    num_cpus: float = Field(0.5, ge=0, le=1024, description="CPUs that Ray reserves for one replica.")
    max_ongoing_requests: int = Field(16, ge=1, le=10_000, description="Concurrent requests per replica.")
    max_queued_requests: int = Field(
        64, ge=1, le=100_000, description="Requests that may wait for one replica; beyond it the answer is 503."
    )
    timeout_s: float = Field(300.0, gt=0, le=3600, description="Longest time for one request, queueing included.")
    search_engines: str = Field(
        "search",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="The pair of engines NAME_picture and NAME_text of search by likeness.",
    )
    prompt_engine: str | None = Field(
        "prompt_text",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="The engine that judges concepts, mood and sentiment of prompts together with the rules (python -m "
        "build_engines text); none, or one that is not in the repository: by rules alone.",
    )
    ranking_engines: str | None = Field(
        "search",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="The pair of engines NAME_picture and NAME_text that rank pictures of several models, and "
        "candidates of models without a judge, by their prompt; none: neither is done.",
    )
    optimising_engines: str = Field(
        "vgg",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="The pair of engines NAME_describe and NAME_gradient of style transfer by optimisation "
        "(python -m build_engines vgg).",
    )
    adapters_max_bytes: int = Field(
        8 * 1024**3, ge=1024, description="Disk for the LoRAs that one replica uses; the longest unused go first."
    )


class PicturesSettings(Section):
    embed_metadata: bool = Field(
        True, description="Whether pictures contain generation parameters as metadata, unless a request decides."
    )
    heartbeat_s: float = Field(10.0, gt=0, le=300, description="Longest silence of a stream of previews.")
    styles: ProjectPath | None = Field(
        None, description="Folder of TOML files with the site's own styles; none: the built-in ones alone."
    )
    style_pictures: ProjectPath | None = Field(
        None,
        description="Folder with a styles.toml and the pictures of the site's own styles of style transfer; none: the "
        "built-in ones alone.",
    )
