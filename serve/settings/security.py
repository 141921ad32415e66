"""Settings of access, rate limits, quotas, prices, egress, secrets, moderation and provenance."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serve.settings.egress_policy import destinations
from serve.settings.section import MEBIBYTE, Port, ProjectPath, Section, setting_error


class CostsSettings(Section):
    read: int = Field(1, ge=0, le=1000, description="Rate limit cost of a read-only request.")
    write: int = Field(1, ge=0, le=1000, description="Rate limit cost of a request that changes state.")
    vectorize: int = Field(2, ge=0, le=1000, description="Rate limit cost of a conversion or an inference.")
    draw: int = Field(5, ge=0, le=1000, description="Rate limit cost of an illustration, or a job of any kind.")


class RatesSettings(Section):
    per_address: bool = Field(True, description="Whether requests are limited by their client's address.")
    address_requests: int = Field(100, ge=1, le=1_000_000_000, description="Requests of one address (C-092).")
    address_period_s: int = Field(900, ge=1, le=31_536_000, description="In which time; IPv6 counts by /64.")
    per_user: bool = Field(True, description="Whether requests with a user's key are limited by user.")
    user_requests: int = Field(1000, ge=1, le=1_000_000_000, description="Requests of one user (C-092).")
    user_period_s: int = Field(86_400, ge=1, le=31_536_000, description="In which time.")
    users_by_address: bool = Field(True, description="Whether requests of users count for their address too.")
    loopback: bool = Field(False, description="Whether direct clients on this machine are limited by address.")
    costs: CostsSettings = Field(CostsSettings(), description="Costs of requests.")
    redis_url: SecretStr | None = Field(
        None, description="redis://host:port/0, rediss://... or unix://...: shared counters; none: in the database."
    )
    timeout_s: float = Field(
        0.5, gt=0, le=10, description="Timeout of the shared counters; then a gateway counts locally."
    )
    max_tracked: int = Field(20_000, ge=100, le=10_000_000, description="Addresses, and users, tracked per gateway.")


class PricesSettings(Section):
    cpu_hour: float | None = Field(
        None, ge=0, le=1e6, description="Price of one CPU core per hour; none: no costs in money."
    )
    gpu_hour: float | None = Field(None, ge=0, le=1e6, description="Price of one GPU per hour.")
    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="ISO 4217 code of both prices.")


class QuotasSettings(Section):
    max_stored_bytes: int = Field(
        10 * 1024 * MEBIBYTE, ge=0, description="Storage per user: results and references; 0: no limit."
    )
    max_running: int = Field(0, ge=0, le=100_000, description="Concurrent work per user; 0: no limit.")


def _callable(allow: tuple[str, ...]) -> tuple[str, ...]:
    try:
        destinations(allow)
    except ValueError:
        raise PydanticCustomError("fetch_allow", "must be networks such as 10.1.0.0/16, or names of hosts") from None
    return allow


class FetchSettings(Section):
    allow: Annotated[tuple[str, ...], AfterValidator(_callable)] = Field(
        (), description="Networks and hosts outside the public Internet that may be fetched from."
    )
    allow_http: bool = Field(False, description="Whether pictures may also be fetched by http.")
    ports: tuple[Port, ...] = Field((80, 443), description="Ports that may be fetched from; empty: any.")
    max_bytes: int = Field(10 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="Largest picture of a URL.")
    max_redirects: int = Field(3, ge=0, le=20, description="Redirections that are followed.")
    timeout_s: float = Field(20.0, gt=0, le=600, description="Longest time for one picture, redirections included.")
    idle_timeout_s: float = Field(5.0, gt=0, le=600, description="Longest pause of a sender.")
    at_once: int = Field(8, ge=1, le=1000, description="Concurrent fetches per gateway.")


def _long_enough(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(not 32 <= len(secret.get_secret_value()) <= 1024 for secret in secrets):
        message = "must each have 32 to 1024 characters: openssl rand -base64 32"
        raise PydanticCustomError("site_secret", message)
    return secrets


class SecretsSettings(Section):
    keys: Annotated[tuple[SecretStr, ...], AfterValidator(_long_enough)] = Field(
        (),
        description="The site's secrets, the newest first: what older ones signed, sealed or hashed still holds. "
        "None: one in `state_dir`, made at the first need.",
    )
    sign_links: bool = Field(False, description="Whether links to results in answers are signed and expire.")
    link_s: float = Field(3600.0, ge=1, le=31_536_000, description="Lifetime of signed links.")


def _word(value: Any) -> Any:
    """YAML parses on and off as booleans."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class AccessSettings(Section):
    required: Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)] = Field(
        "auto", description="Whether requests need an API key; auto: if other machines can reach the stack."
    )
    insecure: bool = Field(
        False, description="Whether `off` is allowed beyond loopback, because something else restricts access."
    )
    key: SecretStr | None = Field(None, description="The key used by this machine's own `atelier` commands.")
    cache_s: float = Field(5.0, ge=0, le=60, description="Cache time of keys: the maximum delay of a revocation.")
    max_failures: int = Field(10, ge=1, le=10_000, description="Wrong keys per address before it is delayed.")
    wait_s: float = Field(1.0, gt=0, le=3600, description="First wait after too many wrong keys; it doubles each time.")
    wait_max_s: float = Field(
        900.0,
        gt=0,
        le=86_400,
        description="Longest wait after too many wrong keys; failures are remembered for this long.",
    )
    keep_audit_days: float = Field(365.0, gt=0, description="How long the audit log, and keys that ended, are kept.")
    max_audit_rows: int = Field(1_000_000, ge=1000, description="Most rows of the audit log; the oldest go first.")


def _together(values: tuple[Any, Any], reason: str) -> None:
    if (values[0] is None) != (values[1] is None):
        raise setting_error("together", reason)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Category = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]{0,63}$")]
Phrase = Annotated[str, Field(min_length=1, max_length=256)]


class ModerationRule(Section):
    category: Category = Field(description="Category of a matching prompt.")
    score: Share = Field(1.0, description="Its score.")
    words: tuple[Phrase, ...] = Field((), max_length=100_000, description="Words, and phrases of them.")
    patterns: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=1000, description="Regular expressions of RE2, of the prompt in lower case."
    )


class ModerationSettings(Section):
    policy: Annotated[Literal["off", "flag", "blur", "refuse"], BeforeValidator(_word)] = Field(
        "off", description="Action on prompts and pictures found to be of a category."
    )
    rules: Annotated[tuple[ModerationRule, ...], Field(max_length=1000)] = Field(
        (), description="For prompts: lists of `words` and RE2 `patterns`, each with a `category` and a `score`."
    )
    lookalikes: bool = Field(True, description="Whether look-alike letters and digits are matched too.")
    engine: str | None = Field(
        None,
        description="Engine that classifies pictures, in the illustrator's repository; none: no check.",
    )
    categories: Annotated[tuple[Category, ...], Field(max_length=256)] = Field(
        (), description="Categories of the engine's scores, in order."
    )
    side_px: int = Field(224, ge=16, le=1024, description="Width and height of the engine's input.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for the engine.")
    threshold: Share = Field(0.5, description="Minimum score of a category.")
    thresholds: dict[Category, Share] = Field({}, description="Minimum scores of single categories.")
    low_threshold: Share = Field(0.85, description="The least threshold of requests with `moderation: low`.")
    on_failure: Literal["refuse", "allow"] = Field(
        "refuse", description="Action on pictures when the engine fails; refuse: 503."
    )

    @model_validator(mode="after")
    def _categories_are_known(self) -> ModerationSettings:
        _together((self.engine, self.categories or None), "engine and categories go together")
        unknown = set(self.thresholds) - {*self.categories, *(rule.category for rule in self.rules)}
        if unknown:
            raise setting_error("category", f"thresholds: there is no category {min(unknown)}")
        return self


class ProvenanceSettings(Section):
    mark: bool = Field(True, description="Whether pictures are marked as generated in XMP: IPTC's DigitalSourceType.")
    c2pa: Annotated[Literal["off", "on_request", "always"], BeforeValidator(_word)] = Field(
        "off", description="Whether pictures get a signed C2PA manifest; it needs atelier[provenance]."
    )
    certificate: ProjectPath | None = Field(
        None, description="PEM of the signer's certificate, then its issuers'; none: the site's own, in `state_dir`."
    )
    private_key: ProjectPath | None = Field(None, description="PEM of the key of that certificate, without a password.")
    tell_prompt: bool = Field(False, description="Whether the manifest contains the prompt.")

    @model_validator(mode="after")
    def _certificate_has_key(self) -> ProvenanceSettings:
        _together((self.certificate, self.private_key), "certificate and private_key go together")
        return self
