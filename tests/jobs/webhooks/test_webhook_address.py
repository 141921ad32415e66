"""Addresses that webhooks may call: never the site's own network, whatever a URL or a name server says."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from webhook_receiver import Receiver

from loadtests.load.stack import free_ports
from serve.errors import InvalidRequest
from serve.jobs.webhooks.client import WebhookClient, check_webhook_url
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.settings import Settings, WebhookSettings
from serve.settings.egress_policy import Destinations, is_public

SECRET = SecretStr("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")

ANYWHERE = Destinations(anywhere=True).may_call
PUBLIC_ALONE = Destinations().may_call


def settings(secret: SecretStr | None = SECRET, **values: Any) -> Settings:
    return Settings(webhooks=WebhookSettings(secret=secret, **values))


PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.127.255.255", "0.0.0.0", "0.1.2.3", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2002:7f00:1::",
    "2002:808:808::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "100::1", "5f00::1",
    "4000::1", "2606:4700::1111%1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1",
    "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not is_public(address)
    host = f"[{address.replace('%', '%25')}]" if ":" in address else address
    with pytest.raises(InvalidRequest) as refused:
        check_webhook_url(f"https://{host}/hook", settings())
    assert refused.value.field == "webhook_url"


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)
    check_webhook_url(f"https://{f'[{address}]' if ':' in address else address}/hook", settings())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "must begin with https"),
        ("ftp://example.com/", "must begin with https"),
        ("//example.com/", "must begin with https"),
        ("example.com", "must begin with https"),
        ("", "must begin with https"),
        ("https://ana@example.com/", "user name"),
        ("https://ana:secret@example.com/", "user name"),
        ("https://:secret@example.com/", "user name"),
        ("https://example.com/#there", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com/a b", "spaces"),
        ("https://example.com/\n", "control"),
        ("https://exa\0mple.com/", "control"),
        ("https://example.com/" + "x" * 2048, "2048"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "not a URL"),
        ("https://example.com:https/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://example.com\\@127.0.0.1/", "not a URL"),
        ("https:///hook", "host"),
        ("https://example..com/", "host"),
        (f"https://{'a' * 64}.com/", "host"),
        (f"https://{'a.' * 127}com/", "host"),
        ("https://%31%32%37.0.0.1/", "host"),
        ("https://2130706433/", "host"),
        ("https://0x7f.1/", "host"),
        ("https://0x7f000001/", "host"),
        ("https://127.1/", "host"),
        ("https://0177.0.0.1/", "host"),
        ("https://127.0.0.1./", "open Internet"),
        ("https://127。0。0。1/", "open Internet"),
        ("https://localhost/", "open Internet"),
        ("https://LocalHost./", "open Internet"),
        ("https://ⓛocalhost/", "open Internet"),
        ("https://db.localhost:5432/", "open Internet"),
    ],
)
def test_invalid_webhook_urls_are_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        check_webhook_url(url, settings())
    assert refused.value.field == "webhook_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/a?b=c%20d",
        "HTTPS://Hooks.Example.com./x",
        "https://bücher.de/ä",
    ],
)
def test_valid_webhook_urls_are_accepted(url: str) -> None:
    check_webhook_url(url, settings())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "https://10.0.0.1/", "http://[::1]/", "http://receiver/"])
def test_private_network_can_be_allowed(url: str) -> None:
    check_webhook_url(url, settings(allow_private=True))
    with pytest.raises(InvalidRequest, match="host"):
        check_webhook_url("http://2130706433/", settings(allow_private=True))


def test_webhooks_without_a_secret_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"webhooks\.secret"):
        check_webhook_url("https://example.com/", settings(secret=None, allow_private=True))


@given(
    st.text()
    | st.text().map("https://{}".format)
    | st.from_regex(r"https?://[\w.:@\[\]%\\?#-]{1,40}/?", fullmatch=True)
)
def test_arbitrary_text_is_accepted_or_refused(url: str) -> None:
    try:
        check_webhook_url(url, settings())
    except InvalidRequest as error:
        refused: InvalidRequest | None = error
    else:
        refused = None
    assert url.lower().startswith("https://") if refused is None else refused.field == "webhook_url"


def answering(*addresses: str) -> Callable[..., Any]:
    """A resolver that returns these addresses in one response."""

    def look_up(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    return look_up


@pytest.mark.parametrize("addresses", [["10.0.0.5"], ["1.1.1.1", "127.0.0.1"], ["::ffff:10.0.0.1"], ["64:ff9b::a00:1"]])
async def test_name_with_a_private_address_is_not_called(addresses: list[str]) -> None:
    names = PinnedResolver(PUBLIC_ALONE, answering(*addresses))
    async with WebhookClient(settings(), names) as client:
        answer = await client.call("m", "https://hooks.example.com/", b"{}")
    assert answer.status is None
    assert not answer.is_last  # the DNS record may be corrected
    assert "open Internet" in answer.reason


async def test_names_are_resolved() -> None:
    names = PinnedResolver(ANYWHERE)
    (address, *_) = await names.resolve("localhost", 443)
    assert ipaddress.ip_address(address["host"]).is_loopback
    assert address["port"] == 443
    with pytest.raises(OSError, match="open Internet"):
        await PinnedResolver(PUBLIC_ALONE).resolve("localhost", 443)
    with pytest.raises(OSError):  # noqa: PT011
        await names.resolve("nowhere.invalid")


async def test_slow_name_server_blocks_no_other_thread() -> None:
    """Name lookups have their own threads."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(60)
        return []

    names = PinnedResolver(ANYWHERE, slow)
    waiting = [asyncio.create_task(names.resolve(f"h{n}.example")) for n in range(100)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 60) == "done"
        assert not any(task.done() for task in waiting)
    finally:
        release.set()
        await asyncio.gather(*waiting)
        await names.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of hooks.example.com."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*plain) + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_dns_rebinding_is_refused(certificate: Path, server_tls: ssl.SSLContext) -> None:
    """127.0.0.2 stands for the public Internet, 127.0.0.1 for the internal network; both listen on one port."""
    lookups: list[str] = []
    addresses = iter(["127.0.0.2", "127.0.0.1"])

    def look_up(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        lookups.append(host)
        return answering(next(addresses))(host, port, family)

    names = PinnedResolver(lambda _, address: address != "127.0.0.1", look_up)
    client = WebhookClient(settings(), names, ssl.create_default_context(cafile=certificate))
    async with (
        Receiver(host="127.0.0.2", port=free_ports(1)[0]).listening(server_tls) as outer,  # free at both
        Receiver(port=outer.port).listening(server_tls) as inner,
        client,
    ):
        url = f"https://hooks.example.com:{outer.port}/hook"
        first = await client.call("m", url, b"{}")
        second = await client.call("m", url, b"{}")
    assert first.accepted
    assert not second.accepted
    assert "open Internet" in second.reason
    assert (len(outer.calls), len(inner.calls)) == (1, 0)
    assert lookups == ["hooks.example.com"] * 2  # no second lookup by the HTTP client itself


async def test_foreign_certificate_is_refused(certificate: Path, server_tls: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    look_up = answering("127.0.0.1")
    async with Receiver().listening(server_tls) as receiver:
        async with WebhookClient(settings(), PinnedResolver(ANYWHERE, look_up), trusting) as client:
            wrong_name = await client.call("m", f"https://other.example.com:{receiver.port}/", b"{}")
        async with WebhookClient(settings(), PinnedResolver(ANYWHERE, look_up)) as client:
            unknown = await client.call("m", f"https://hooks.example.com:{receiver.port}/", b"{}")
    assert "Certificate" in wrong_name.reason
    assert "Certificate" in unknown.reason
    assert receiver.calls == []


async def test_private_address_is_refused_on_delivery() -> None:
    """The job may have been submitted while the site allowed the address."""
    async with Receiver().listening() as receiver, WebhookClient(settings()) as client:
        answer = await client.call("m", receiver.url, b"{}")
    assert answer.is_rejected
    assert answer.is_last
    assert receiver.calls == []
