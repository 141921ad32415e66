"""Spellings of addresses that the egress policy refuses or allows (F 12, C-102)."""

from __future__ import annotations

import pytest
from forbidden_hosts import FORBIDDEN

from serve.errors import InvalidRequest
from serve.settings import load
from serve.settings.egress_policy import Destinations, checked, destinations, is_public


@pytest.mark.parametrize("host", FORBIDDEN)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_forbidden_hosts_are_refused(scheme: str, host: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked(f"{scheme}://{host}/picture.png", Destinations(plain_http=True), "image_url")
    assert refused.value.field == "image_url"
    assert "127" not in refused.value.message, "what was said is not told again"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "file:///etc/passwd", "ftp://example.com/a.png", "gopher://example.com/", "javascript:0",
        "dict://example.com:11211/", "https:example.com", "https:/example.com", "//example.com/a.png", "jar:https://a.b/",
        "data:image/png;base64,AAAA", "blob:https://example.com/1", "unix:///run/docker.sock", "https://example.com:22/",
        "https://example.com:6379/", "https://example.com:0/", "https://example.com:99999/", "\u00a0https://example.com/",
    ],
)  # fmt: skip
def test_forbidden_schemes_and_ports_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        checked(url, Destinations(ports=frozenset([80, 443])), "url")


@pytest.mark.parametrize("url", ["https://example.com/a.png?b=c", "https://8.8.8.8/", "https://[2606:4700::1111]/"])
def test_public_https_urls_are_allowed(url: str) -> None:
    assert str(checked(url, Destinations(ports=frozenset([443])), "url")) == url


@pytest.mark.parametrize(
    ("host", "address", "allowed_to_call"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.2.0.1", "10.2.0.1", False),
        ("store.internal", "192.168.1.1", True),
        ("STORE.internal.", "192.168.1.1", True),
        ("other.internal", "192.168.1.1", False),
        ("other.internal", "10.1.9.9", True),
        ("other.internal", "::ffff:10.1.9.9", False),
        ("v6.internal", "fd12::5", True),
        ("v6.internal", "fd12::5%1", False),
        ("example.com", "1.1.1.1", True),
    ],
)
def test_allow_list_opens_networks_and_hosts(host: str, address: str, allowed_to_call: bool) -> None:
    allowed = destinations(("10.1.0.0/16", "store.internal", "fd12::/64"))
    assert allowed.may_call(host, address) is allowed_to_call


def test_allow_list_entries_are_networks_or_hosts() -> None:
    assert load(fetch={"allow": ["10.0.0.0/8", "minio", "192.168.1.7"]}).fetch.allow
    for wrong in ("10.0.0.1/8", "https://minio", "10.0.0", "*", ""):
        with pytest.raises(InvalidRequest) as refused:
            load(fetch={"allow": [wrong]})
        assert refused.value.field == "fetch.allow"


def test_cloud_metadata_relay_is_not_public() -> None:
    assert not is_public("168.63.129.16")
    assert is_public("168.63.129.17")
