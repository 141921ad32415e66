"""`ContentCredentialsSigner`: embeds Content Credentials (a C2PA manifest) in files, after all other changes.

The manifest states that the file was created (``c2pa.created``) as trained algorithmic media, by which software and
model. Without a configured certificate a site signs with a self-issued one: later changes are detected, and viewers
report the signer as unknown. Source: the C2PA Technical Specification, on actions and on certificates.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serve.ensembles.illustrator.illustration import Parameters
from serve.ensembles.illustrator.provenance import GENERATED
from serve.errors import EngineFailure, EngineUnavailable, InvalidRequest, StateUnavailable
from serve.security.signing.secret_store import write_once
from serve.settings import Settings

FILE = "provenance.pem"
"""In `state_dir`, readable by its owner only: the certificate, its issuer's, and the key. The issuer's key is not
stored."""
_VALID = timedelta(days=3650)
_LEEWAY = timedelta(days=1)
"""For other machines' clocks."""
_KEY = b"-----BEGIN PRIVATE KEY-----"
_KEY_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def site_certificate(state_dir: Path) -> tuple[bytes, bytes]:
    """The chain and its key in PEM, created when first needed. Blocks. Raises StateUnavailable."""
    path = state_dir / FILE
    try:
        if not path.exists():
            write_once(path, _generate())
        content = path.read_bytes()
    except OSError as error:
        raise StateUnavailable(f"{FILE} in state_dir cannot be used: {error.strerror}") from error
    chain, marker, key = content.partition(_KEY)
    if not marker:
        raise StateUnavailable(f"{FILE} in state_dir is damaged: put it back, or remove it and another is made")
    return chain, marker + key


def _generate() -> bytes:
    issuer, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    issuer_certificate = _certificate_builder("Atelier site issuer", "Atelier site issuer", issuer)
    issuer_certificate = issuer_certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    issuer_certificate = issuer_certificate.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    leaf = _certificate_builder("Atelier site, self-signed", "Atelier site issuer", key)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_key_usage("digital_signature"), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    leaf = leaf.add_extension(authority, critical=False)
    pem = serialization.Encoding.PEM
    chain = [one.sign(issuer, hashes.SHA256()).public_bytes(pem) for one in (leaf, issuer_certificate)]
    return b"".join(chain) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _certificate_builder(name: str, issued_by: str, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        _x509_name(issued_by), _x509_name(name), key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now - _LEEWAY).not_valid_after(now + _VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _x509_name(common: str) -> x509.Name:
    attributes = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, "Atelier"))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _key_usage(*usages: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in usages for usage in _KEY_USAGES})


_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class ContentCredentialsSigner:
    """Blocks, and may be called from several threads. Raises InvalidRequest for an unusable certificate or key,
    StateUnavailable where the site's own cannot be created, EngineUnavailable without c2pa-python."""

    def __init__(self, settings: Settings) -> None:
        try:
            import c2pa  # an optional extra of 50 MB
        except ImportError:
            attributes = "c2pa-python is not installed: pip install 'atelier[provenance]'"
            raise EngineUnavailable(attributes, "provenance.c2pa") from None
        self._c2pa: Any = c2pa
        provenance = settings.provenance
        self._tell_prompt = provenance.tell_prompt
        if provenance.certificate is not None and provenance.private_key is not None:
            chain, key = (
                _read_file(provenance.certificate, "certificate"),
                _read_file(provenance.private_key, "private_key"),
            )
        else:
            chain, key = site_certificate(settings.state_dir)
        self._algorithm, self._key = _validate_key(chain, key)
        self._chain = chain
        self._self_test()

    def sign(self, data: bytes, media_type: str, parameters: Parameters) -> bytes:
        """``data`` with the manifest embedded. Raises EngineFailure."""
        c2pa, signed = self._c2pa, io.BytesIO()
        try:
            info = c2pa.C2paSignerInfo(self._algorithm.encode(), self._chain, self._key, None)
            with (
                c2pa.Context.from_dict(_SETTINGS) as context,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(self._manifest(media_type, parameters), context) as builder,
            ):
                builder.sign(signer, media_type, io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise EngineFailure(f"the picture could not be signed: {error}") from error
        return signed.getvalue()

    def _manifest(self, media_type: str, parameters: Parameters) -> dict[str, Any]:
        created: dict[str, Any] = {
            "action": "c2pa.created",
            "digitalSourceType": GENERATED,
            "softwareAgent": {"name": parameters.model},
        }
        if self._tell_prompt:
            created["parameters"] = {"prompt": parameters.prompt, "negative_prompt": parameters.negative_prompt}
        return {
            "claim_generator_info": [{"name": "Atelier", "version": version("atelier")}],
            "format": media_type,
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
        }

    def _self_test(self) -> None:
        """Signs an empty picture, so that a certificate that C2PA rejects is found at start."""
        svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'
        dummy = Parameters("", "", "none", 1, 1, 1, 1.0, 0.0, "euler", 0)
        try:
            self.sign(svg, "image/svg+xml", dummy)
        except EngineFailure as error:
            raise InvalidRequest(f"does not do for C2PA: {error.message}", "provenance.certificate") from error


def signer_of(settings: Settings) -> ContentCredentialsSigner | None:
    """None: signing is off."""
    return None if settings.provenance.c2pa == "off" else ContentCredentialsSigner(settings)


def _read_file(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror}", f"provenance.{name}") from None


def _validate_key(chain: bytes, key: bytes) -> tuple[str, bytes]:
    """C2PA's name of the algorithm, and the key as PKCS #8."""
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):  # the message may quote the file
        raise InvalidRequest("is no private key in PEM without a password", "provenance.private_key") from None
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise InvalidRequest("is no certificate in PEM", "provenance.certificate") from None
    if leaf.public_key() != private.public_key():
        raise InvalidRequest("is not the key of the first certificate", "provenance.private_key")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        algorithm = _CURVES[private.curve.name]
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    elif isinstance(private, rsa.RSAPrivateKey):
        algorithm = "ps256"
    else:
        raise InvalidRequest("must be of P-256, P-384, P-521, Ed25519 or RSA", "provenance.private_key")
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return algorithm, private.private_bytes(*encoding)
