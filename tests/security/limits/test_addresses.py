"""Client addresses: forged headers do not change them (A-120)."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from serve.errors import InvalidRequest
from serve.security.limits.addresses import ClientAddresses, is_loopback, rate_limit_key
from serve.settings import HttpSettings, ProxySettings, Settings, load

PROXY, CDN, CLIENT = "10.0.0.1", "198.51.100.7", "203.0.113.9"
TOKEN = "f" * 32


def client_addresses(*trusted: str, header: str = "x-forwarded-for", token: str | None = TOKEN) -> ClientAddresses:
    http = HttpSettings.model_validate({"trusted_proxies": trusted, "forwarded_header": header})
    return ClientAddresses(Settings(http=http, proxy=ProxySettings(token=SecretStr(token) if token else None)))


def forwarded(*values: str, name: str = "x-forwarded-for") -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for value in values]


@pytest.mark.parametrize(
    ("peer", "header", "address"),
    [
        (CLIENT, "1.1.1.1", CLIENT),
        (PROXY, "", PROXY),
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"1.1.1.1, {CLIENT}", CLIENT),
        (PROXY, f"127.0.0.1, {PROXY}, {CLIENT}", CLIENT),
        (PROXY, f"{CLIENT}, {CDN}", CLIENT),
        (PROXY, f"1.1.1.1, {CLIENT}, {CDN}, {PROXY}", CLIENT),
        (PROXY, f"{CLIENT}, junk", PROXY),
        (PROXY, f"{CLIENT}, junk, {CDN}", CDN),
        (PROXY, f"{CLIENT},", PROXY),
        (PROXY, f"{CLIENT}:4711", CLIENT),
        (PROXY, "[2001:db8::1]:443", "2001:db8::1"),
        (PROXY, "2001:db8::1", "2001:db8::1"),
        (PROXY, f"::ffff:{CLIENT}", CLIENT),
        (f"::ffff:{PROXY}", CLIENT, CLIENT),
        (PROXY, "0x7f.1", PROXY),
        (PROXY, "203.0.113.009", PROXY),
        (PROXY, f"{PROXY}, {PROXY}", PROXY),
        (PROXY, ", ".join(["1.1.1.1", *[PROXY] * 100]), PROXY),
        (PROXY, "\xff\x00", PROXY),
        ("", CLIENT, ""),
        ("testclient", CLIENT, ""),
    ],
)
def test_x_forwarded_for_stops_at_the_first_untrusted_hop(peer: str, header: str, address: str) -> None:
    assert client_addresses("10.0.0.0/8", f"{CDN}/32").address_of(peer, forwarded(header)) == address


def test_repeated_headers_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_addresses(PROXY).address_of(PROXY, forwarded("1.1.1.1", CLIENT)) == CLIENT


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={CLIENT};proto=http;by={PROXY}", CLIENT),
        (f'proto=http; for="{CLIENT}:80"', CLIENT),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        (f"for=1.1.1.1, for={CLIENT}", CLIENT),
        (f"for={CLIENT}, for=_hidden", PROXY),
        (f"for={CLIENT}, for=unknown", PROXY),
        (f'for={CLIENT}, for="a, for=1.1.1.1"', PROXY),
        (f"by={CLIENT}", PROXY),
        ('for="', PROXY),
    ],
)
def test_forwarded_header_is_parsed(header: str, address: str) -> None:
    both = [*forwarded(header, name="forwarded"), *forwarded("9.9.9.9")]
    assert client_addresses(PROXY, header="forwarded").address_of(PROXY, both) == address


def test_unconfigured_header_is_ignored() -> None:
    """A proxy that writes one header passes the other through."""
    assert client_addresses(PROXY).address_of(PROXY, forwarded(f"for={CLIENT}", name="forwarded")) == PROXY


def test_no_proxy_is_trusted_by_default() -> None:
    for peer in ("127.0.0.1", "::1", CLIENT):
        assert client_addresses().address_of(peer, forwarded("1.1.1.1")) == peer


def peer_header(value: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-atelier-peer", value.encode())]


def test_own_proxy_is_authenticated_by_its_token() -> None:
    own = peer_header(f"{TOKEN} {CLIENT}")
    assert client_addresses().address_of("127.0.0.1", own) == CLIENT
    assert client_addresses().address_of("127.0.0.1", own + forwarded("1.1.1.1")) == CLIENT
    assert client_addresses(CLIENT).address_of("127.0.0.1", own + forwarded("192.0.2.1")) == "192.0.2.1"
    assert client_addresses("127.0.0.1").address_of("127.0.0.1", own + forwarded("192.0.2.1")) == CLIENT


@pytest.mark.parametrize(
    "headers",
    [
        peer_header(f"{'e' * 32} 1.1.1.1"),
        peer_header(" 1.1.1.1"),
        peer_header("1.1.1.1"),
        peer_header(TOKEN),
        peer_header(f"{TOKEN} junk") * 2,
    ],
)
def test_peer_header_with_a_wrong_token_is_ignored(headers: list[tuple[bytes, bytes]]) -> None:
    assert client_addresses().address_of(CLIENT, headers) == CLIENT
    assert client_addresses(token=None).address_of(CLIENT, headers) == CLIENT


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:DB8:1:3::1%eth0", "2001:db8:1:3::/64"),
        ("", "unknown"),
        ("a\nb", "unknown"),
    ],
)
def test_ipv6_addresses_share_a_key_per_subnet(address: str, key: str) -> None:
    assert rate_limit_key(address) == key


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("192.0.2.1", "", "localhost.example", "2001:db8::1")))


def test_invalid_trusted_proxy_network_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="network") as caught:
        load(http={"trusted_proxies": ["10.0.0.1/8"]})
    assert caught.value.field == "http.trusted_proxies.0"
