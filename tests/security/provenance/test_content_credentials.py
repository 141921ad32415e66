"""Content Credentials, read back with the library that viewers use (USERS_ASK 12)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import stat
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from illustrator_standin import IllustratorStandIn
from PIL import Image
from standin import StandIn

from serve.api.app import create_app
from serve.ensembles.illustrator.encoding import Encoding, encode_all
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.provenance import GENERATED, is_marked
from serve.errors import EngineUnavailable, InvalidRequest, StateUnavailable
from serve.jobs.direct.service import DirectService
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.security.signing.content_credentials import FILE, ContentCredentialsSigner, signer_of, site_certificate
from serve.settings import DatabaseSettings, ProvenanceSettings, Settings, load
from serve.state import State
from tests.api.drawn_pictures import content, infotext, record

c2pa = pytest.importorskip("c2pa")

KINDS = ["png", "jpeg", "webp", "svg"]
OPENAI = "/v1/images/generations"
PROMPT = "an apple, flat"


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    """The tests do not depend on the kind of database."""
    return sqlite_settings


def signing(settings: Settings, when: str = "on_request", **more: Any) -> Settings:
    chosen = ProvenanceSettings(**{"c2pa": when, **more})
    return settings.model_copy(update={"provenance": chosen})


async def illustration() -> Illustration:
    return await IllustratorStandIn().draw(IllustrateOptions(PROMPT, seed=7, n=2))


async def signed(settings: Settings, encoding: Encoding) -> list[bytes]:
    return await encode_all(await illustration(), encoding, StandIn(), signer_of(settings))


def read(data: bytes, media_type: str) -> tuple[dict[str, Any], set[str], str]:
    """The manifest, the codes of its validation errors, and the validation state."""
    with c2pa.Reader(media_type, io.BytesIO(data)) as reader:
        report = json.loads(reader.json())
        wrong = {one["code"] for one in report.get("validation_status", [])}
        return report["manifests"][report["active_manifest"]], wrong, reader.get_validation_state()


@pytest.mark.parametrize("kind", KINDS)
async def test_signed_file_names_its_generator(settings: Settings, kind: str) -> None:
    encoding = Encoding(kind, c2pa=True)
    for data in await signed(signing(settings), encoding):
        manifest, wrong, state = read(data, encoding.media_type)
        assert (wrong, state) == ({"signingCredential.untrusted"}, "Valid")
        (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if "c2pa.actions" in one["label"]]
        assert [(one["action"], one["digitalSourceType"]) for one in actions] == [("c2pa.created", GENERATED)]
        assert actions[0]["softwareAgent"]["name"] == "mini"
        assert manifest["claim_generator_info"][0]["name"] == "Atelier"
        assert "apple" not in json.dumps(manifest)
        assert is_marked(data)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_signing_keeps_other_metadata(settings: Settings, kind: str) -> None:
    (plain, _), (data, _) = [await signed(signing(settings), Encoding(kind, c2pa=wanted)) for wanted in (False, True)]
    before, after = (Image.open(io.BytesIO(one)) for one in (plain, data))
    assert infotext(after) == infotext(before) != None  # noqa: E711
    assert record(after) == record(before) != None  # noqa: E711
    assert after.info["xmp"] == before.info["xmp"]
    assert after.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", KINDS)
async def test_changed_byte_invalidates_the_credentials(settings: Settings, kind: str) -> None:
    encoding = Encoding(kind, c2pa=True)
    data = bytearray((await signed(signing(settings), encoding))[0])
    place = (
        data.rindex(b"</svg>") - 8 if kind == "svg" else len(data) - 40
    )  # within the drawing's, or the pixels', own data
    data[place] ^= 1
    _, wrong, state = read(bytes(data), encoding.media_type)
    assert any("mismatch" in code for code in wrong)
    assert state == "Invalid"


async def test_changed_pixel_invalidates_the_credentials(settings: Settings) -> None:
    """In an otherwise valid PNG: all other chunks are unchanged and every checksum is correct."""
    (data, _) = await signed(signing(settings), Encoding(c2pa=True))
    with Image.open(io.BytesIO(data)) as image:
        before = image.convert("RGB")
    changed = with_other_pixels(data)
    with Image.open(io.BytesIO(changed)) as image:
        after = image.convert("RGB")
    differing = [place for place in np.ndindex(after.size) if after.getpixel(place) != before.getpixel(place)]
    assert differing == [(63, 63)]
    _, wrong, state = read(changed, "image/png")
    assert "assertion.dataHash.mismatch" in wrong
    assert state == "Invalid"


def with_other_pixels(png: bytes) -> bytes:
    """The same picture with another blue value in its last pixel."""
    chunks, place = [], 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + size]))
        place += size + 12
    rows = bytearray(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))
    rows[-1] ^= 8
    kept = [(kind, data) for kind, data in chunks if kind not in (b"IDAT", b"IEND")]
    again = [*kept, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in again
    )


async def test_resaved_picture_has_no_credentials(settings: Settings) -> None:
    """Rewriting PNG's text chunks breaks the credentials (nika 177)."""
    (data, _) = await signed(signing(settings), Encoding(c2pa=True))
    again = io.BytesIO()
    Image.open(io.BytesIO(data)).save(again, "PNG")
    with pytest.raises(c2pa.C2paError):
        read(again.getvalue(), "image/png")


async def test_prompt_is_in_the_manifest_when_configured(settings: Settings) -> None:
    (data, _) = await signed(signing(settings, tell_prompt=True), Encoding(c2pa=True, metadata=False))
    assert PROMPT in json.dumps(read(data, "image/png")[0])


async def test_concurrent_signing(settings: Settings) -> None:
    signer, drawn = ContentCredentialsSigner(signing(settings)), await illustration()
    (data, _) = await encode_all(drawn, Encoding(), StandIn())
    tasks = [asyncio.to_thread(signer.sign, data, "image/png", drawn.parameters) for _ in range(32)]
    assert {read(one, "image/png")[2] for one in await asyncio.gather(*tasks)} == {"Valid"}


def test_signing_without_c2pa_fails_at_start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(EngineUnavailable, match=r"atelier\[provenance\]"):
        DirectService(None, IllustratorStandIn(), StandIn(), signing(settings))
    DirectService(None, IllustratorStandIn(), StandIn(), signing(settings, "off"))


def test_site_certificate_is_created_once(tmp_path: Path) -> None:
    chain, key = site_certificate(tmp_path)
    assert site_certificate(tmp_path) == (chain, key)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    leaf, issuer = x509.load_pem_x509_certificates(chain)
    leaf.verify_directly_issued_by(issuer)
    assert "self-signed" in leaf.subject.rfc4514_string()
    (tmp_path / FILE).write_bytes(chain)
    with pytest.raises(StateUnavailable, match=r"provenance\.pem"):
        site_certificate(tmp_path)


def write(folder: Path, *, private: Any, public: Any = None, certified: bool = True) -> dict[str, Path]:
    """A certificate and key that a site configures; without ``certified`` the certificate is not valid for signing."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")]), datetime.now(UTC)
    issuer = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
    builder = builder.public_key((public or private).public_key()).serial_number(7)
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
    if certified:
        usage = [index == 0 for index in range(9)]
        builder = builder.add_extension(x509.KeyUsage(*usage), True)
        uses = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(uses, False).add_extension(x509.BasicConstraints(False, None), True)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
        builder = builder.add_extension(above, False)
    pem = serialization.Encoding.PEM
    form = pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(builder.sign(issuer, hashes.SHA256()).public_bytes(pem))
    (folder / "key.pem").write_bytes(private.private_bytes(*form))
    return {"certificate": folder / "cert.pem", "private_key": folder / "key.pem"}


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ec.generate_private_key(ec.SECP384R1()), "Es384"), (rsa.generate_private_key(65537, 2048), "Ps256")],
    ids=["p384", "rsa"],
)
async def test_configured_certificate_signs(settings: Settings, tmp_path: Path, key: Any, algorithm: str) -> None:
    (data, _) = await signed(signing(settings, **write(tmp_path, private=key)), Encoding(c2pa=True))
    manifest, wrong, _ = read(data, "image/png")
    assert manifest["signature_info"]["alg"] == algorithm
    assert wrong == {"signingCredential.untrusted"}


def test_unusable_certificates_are_refused(settings: Settings, tmp_path: Path) -> None:
    def refused(**files: Any) -> str | None:
        with pytest.raises(InvalidRequest) as error:
            ContentCredentialsSigner(signing(settings, **files))
        assert "PRIVATE" not in str(error.value)
        return error.value.field

    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    assert refused(**write(tmp_path, private=key, public=other)) == "provenance.private_key"
    assert refused(**write(tmp_path, private=key, certified=False)) == "provenance.certificate"
    assert refused(**write(tmp_path, private=ec.generate_private_key(ec.SECP256K1()))) == "provenance.private_key"
    files = write(tmp_path, private=key)
    assert refused(**{**files, "certificate": tmp_path / "none.pem"}) == "provenance.certificate"
    files["certificate"].write_text("nothing")
    assert refused(**files) == "provenance.certificate"
    files["private_key"].write_text("nothing")
    assert refused(**files) == "provenance.private_key"
    with pytest.raises(InvalidRequest):
        load(provenance={"certificate": "cert.pem"})


@contextlib.asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    quick = settings.jobs.model_copy(update={"poll_s": 0.01, "beat_s": 0.05})
    settings = settings.model_copy(update={"jobs": quick})
    state, service, illustrator = await State.open(settings), StandIn(), IllustratorStandIn()
    direct = DirectService(state, illustrator, service, settings)
    worker = Worker(state, JobExecutor(state, service, illustrator))
    await worker.start()
    app = create_app(service, settings, illustrator=illustrator, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client
    await worker.close()
    await direct.close()
    await state.close()


def is_signed(data: bytes) -> bool:
    with contextlib.suppress(c2pa.C2paError):
        return read(data, "image/png")[2] == "Valid"
    return False


@pytest.mark.parametrize(
    ("when", "requested", "is_signed_expected"),
    [("off", False, False), ("on_request", False, False), ("on_request", True, True), ("always", False, True)],
)
async def test_every_endpoint_signs_as_configured(
    settings: Settings, when: str, requested: bool, is_signed_expected: bool
) -> None:
    """Direct endpoints with and without a stream, the cache behind them, and jobs."""
    body = {"prompt": PROMPT, "seed": 7, "size": "64x64", **({"c2pa": True} if requested else {})}
    async with client_of(signing(settings, when)) as client:
        for cached in ("miss", "hit"):
            answer = await client.post(OPENAI, json=body)
            assert answer.headers["x-atelier-cache"] == cached
            assert is_signed(content(answer.json()["data"][0]["b64_json"])) == is_signed_expected
        lines = (await client.post(OPENAI, json={**body, "stream": True, "seed": 8})).text.split("\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert is_signed(content(events[-1]["b64_json"])) == is_signed_expected
        values = {name: value for name, value in body.items() if name != "size"}
        job = (await client.post("/v1/jobs", json={"kind": "illustrate", "input": {**values, "seed": 9}})).json()
        while job["status"] not in ("completed", "failed"):
            job = (await client.get(f"/v1/jobs/{job['id']}")).json()
        result = await client.get(job["results"][0]["url"])
        assert is_signed(result.content) == is_signed_expected


async def test_c2pa_request_without_signing_returns_400(settings: Settings) -> None:
    body = {"prompt": PROMPT, "c2pa": True}
    async with client_of(signing(settings, "off")) as client:
        for path in (OPENAI, "/api/diffusion/generate", "/generate"):
            more = {"user_id": "ada"} if path == "/generate" else {}
            answer = await client.post(path, json={**body, **more})
            problem = answer.json()
            assert answer.status_code == 400, path
            assert (problem["error"]["param"] if path == OPENAI else problem["field"]) == "c2pa"
        answer = await client.post("/v1/jobs", json={"kind": "illustrate", "input": body})
        assert (answer.status_code, answer.json()["field"]) == (400, "c2pa")
    with pytest.raises(InvalidRequest):
        await encode_all(await illustration(), Encoding(c2pa=True), StandIn())


async def test_marks_can_be_disabled(settings: Settings) -> None:
    body = {"prompt": PROMPT, "seed": 7, "size": "64x64"}
    async with client_of(signing(settings, "off", mark=False)) as client:
        answer = await client.post(OPENAI, json=body)
        assert not is_marked(content(answer.json()["data"][0]["b64_json"]))
        streamed = await client.post(OPENAI, json={**body, "seed": 8, "stream": True, "partial_images": 1})
        found = [json.loads(line[6:]) for line in streamed.text.split("\n") if line.startswith("data: {")]
        assert len(found) == 2
        assert not any(is_marked(content(one["b64_json"])) for one in found)
