"""Who comes in, how often, and where the site itself goes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)
from pydantic_core import PydanticCustomError

from serve.settings.egress_policy import destinations
from serve.settings.section import MEBIBYTE, Port, Section


class CostsSettings(Section):
    read: int = Field(1, ge=0, le=1000, description="What a request that only reads takes of a rate limit.")
    write: int = Field(1, ge=0, le=1000, description="The same for one that changes something and draws nothing.")
    vectorize: int = Field(2, ge=0, le=1000, description="The same for a conversion or an inference.")
    draw: int = Field(5, ge=0, le=1000, description="The same for an illustration, or a job of any kind.")


class RatesSettings(Section):
    per_address: bool = Field(True, description="Whether requests are limited by their client's address.")
    address_requests: int = Field(100, ge=1, le=1_000_000_000, description="Requests of one address (C-092).")
    address_period_s: int = Field(900, ge=1, le=31_536_000, description="In which time; IPv6 counts by /64.")
    per_user: bool = Field(True, description="Whether requests with a user's key are limited by user.")
    user_requests: int = Field(1000, ge=1, le=1_000_000_000, description="Requests of one user (C-092).")
    user_period_s: int = Field(86_400, ge=1, le=31_536_000, description="In which time.")
    users_by_address: bool = Field(True, description="Whether requests of users count for their address too.")
    loopback: bool = Field(
        False, description="Whether clients on this machine, which no proxy speaks for, count by address."
    )
    costs: CostsSettings = Field(CostsSettings(), description="What requests take.")
    redis_url: SecretStr | None = Field(
        None, description="redis://host:port/0, rediss://... or unix://...: counts are there; none: in the database."
    )
    timeout_s: float = Field(0.5, gt=0, le=10, description="Longest wait for the counts; then a gateway counts alone.")
    max_tracked: int = Field(
        20_000, ge=100, le=10_000_000, description="Addresses, and users, that a gateway knows of."
    )


class PricesSettings(Section):
    cpu_hour: float | None = Field(
        None, ge=0, le=1e6, description="What an hour of one processor costs; none: not told."
    )
    gpu_hour: float | None = Field(None, ge=0, le=1e6, description="The same of one GPU.")
    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="Of both: a code of ISO 4217.")


class QuotasSettings(Section):
    max_stored_bytes: int = Field(
        10 * 1024 * MEBIBYTE, ge=0, description="What one user keeps: results and references; 0: no bound."
    )
    max_running: int = Field(0, ge=0, le=100_000, description="Work of one user that is done at once; 0: no bound.")


def _callable(allow: tuple[str, ...]) -> tuple[str, ...]:
    try:
        destinations(allow)
    except ValueError:
        raise PydanticCustomError("fetch_allow", "must be networks such as 10.1.0.0/16, or names of hosts") from None
    return allow


class FetchSettings(Section):
    allow: Annotated[tuple[str, ...], AfterValidator(_callable)] = Field(
        (), description="Networks and hosts that may be fetched from though they are not of the open Internet."
    )
    allow_http: bool = Field(False, description="Whether pictures may come by http, too.")
    ports: tuple[Port, ...] = Field((80, 443), description="Ports that may be fetched from; empty: any.")
    max_bytes: int = Field(10 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="Largest picture of a URL.")
    max_redirects: int = Field(3, ge=0, le=20, description="Redirections that are followed.")
    timeout_s: float = Field(20.0, gt=0, le=600, description="Longest time for one picture, redirections included.")
    idle_timeout_s: float = Field(5.0, gt=0, le=600, description="Longest silence of who sends one.")
    at_once: int = Field(8, ge=1, le=1000, description="Pictures that one gateway fetches at once.")


def _long_enough(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(not 32 <= len(secret.get_secret_value()) <= 1024 for secret in secrets):
        told = "must each have 32 to 1024 characters: openssl rand -base64 32"
        raise PydanticCustomError("site_secret", told)
    return secrets


class SecretsSettings(Section):
    keys: Annotated[tuple[SecretStr, ...], AfterValidator(_long_enough)] = Field(
        (),
        description="The site's secrets, the newest first: what older ones signed, sealed or hashed still holds. "
        "None: one in `state_dir`, made at the first need.",
    )
    sign_links: bool = Field(False, description="Whether addresses of results in answers are signed, and expire.")
    link_s: float = Field(3600.0, ge=1, le=31_536_000, description="How long signed addresses open.")


def _word(value: Any) -> Any:
    """YAML takes on and off for true and false."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class AccessSettings(Section):
    required: Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)] = Field(
        "auto", description="Whether every request needs an API key; auto: as soon as others than this machine come."
    )
    insecure: bool = Field(
        False, description="Whether `off` may stand beyond loopback, because something else guards the doors."
    )
    key: SecretStr | None = Field(None, description="The key that this machine's own `atelier` commands show.")
    cache_s: float = Field(
        5.0, ge=0, le=60, description="How long a look at a key holds: so late may a revocation be seen."
    )
    max_failures: int = Field(10, ge=1, le=10_000, description="Wrong keys of one address before it has to wait.")
    wait_s: float = Field(1.0, gt=0, le=3600, description="First wait after too many wrong keys; it doubles each time.")
    wait_max_s: float = Field(
        900.0, gt=0, le=86_400, description="Longest wait after too many wrong keys; so long none are forgotten."
    )
    keep_audit_days: float = Field(365.0, gt=0, description="How long the audit log, and keys that ended, are kept.")
    max_audit_rows: int = Field(1_000_000, ge=1000, description="Most rows of the audit log; the oldest go first.")
