"""Settings of taste and of the art director."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from serve.settings.section import MEBIBYTE, Section, ServiceUrl


class TasteSettings(Section):
    algorithm: Literal["epsilon_greedy", "ucb", "thompson"] = Field(
        "epsilon_greedy",
        description="How models, styles, samplers and palettes are chosen, unless a user sets another way.",
    )
    compared: tuple[Literal["epsilon_greedy", "ucb", "thompson"], ...] = Field(
        (),
        description="Algorithms that users are divided among, in place of `algorithm`, to compare them (C-058): "
        "GET /api/admin/taste/algorithms has their rewards.",
    )
    epsilon: float = Field(0.1, ge=0, le=1, description="Exploration rate of epsilon_greedy (C-051).")
    no_interaction_s: float = Field(
        86_400.0, gt=0, le=31_536_000, description="A drawing without feedback counts as -0.2 after this time (C-056)."
    )
    half_life: float = Field(
        50.0, gt=0, le=1_000_000, description="Interactions after which one counts half: tastes change."
    )
    prior_strength: float = Field(
        2.0, ge=0, le=1000, description="How many interactions the average of all users counts for."
    )
    population_age_s: float = Field(
        300.0, ge=0, le=86_400, description="How old the averages of all users may be in a gateway."
    )


class DirectorSettings(Section):
    """The defaults are those of C-071."""

    engine: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="An engine on llama.cpp in the Illustrator's model repository (python -m build_engines director); "
        "it wins over base_url.",
    )
    base_url: ServiceUrl | None = Field(
        None,
        description="An OpenAI-compatible API of a language model, such as http://127.0.0.1:11434/v1; none: the art "
        "director works by rules.",
    )
    model: str = Field("default", pattern=r"^[!-~]{1,256}$", description="The model's name there.")
    sees_pictures: bool = Field(
        False, description="Whether the model at base_url takes pictures, as LLaVA or CogVLM do: it describes them."
    )
    api_key: SecretStr | None = Field(None, description="Sent as a Bearer token.")
    llama_options: bool = Field(
        True, description="Whether top_k and repeat_penalty are sent, which OpenAI itself refuses."
    )
    n_ctx: int = Field(2048, ge=512, le=1_000_000, description="Context of the model in tokens; older messages are "
                       "summarised.")  # fmt: skip
    temperature: float = Field(0.7, ge=0, le=2, description="Randomness of answers.")
    top_p: float = Field(0.9, gt=0, le=1, description="Share of the probability that tokens are chosen from.")
    top_k: int = Field(40, ge=0, le=1000, description="How many tokens are chosen from.")
    repeat_penalty: float = Field(1.1, ge=0.5, le=2, description="How much repetition is avoided.")
    max_tokens: int = Field(512, ge=16, le=32_768, description="Longest answer in tokens.")
    timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest time of an answer.")
    idle_timeout_s: float = Field(20.0, gt=0, le=3600, description="Longest time without a piece of an answer.")
    max_bytes: int = Field(MEBIBYTE, ge=1024, description="Largest answer.")
    max_concurrency: int = Field(4, ge=1, le=1000, description="Answers at once per gateway.")
    max_queued: int = Field(16, ge=0, le=10_000, description="Requests that wait for them.")
