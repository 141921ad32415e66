"""The certificate that a site signs pictures with when it has none: issued by itself, so that nobody knows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serve.errors import StateUnavailable
from serve.security.signing.generated_files import write_once

FILE = "provenance.pem"
"""In `state_dir`, for its owner alone: the certificate, its issuer's, and the key. The issuer's key is nowhere."""
_VALID = timedelta(days=3650)
_LEEWAY = timedelta(days=1)
"""Of other machines' clocks."""
_KEY = b"-----BEGIN PRIVATE KEY-----"
_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def own_certificate(state_dir: Path) -> tuple[bytes, bytes]:
    """The chain and its key in PEM, made at the first need. Blocks. Raises StateUnavailable."""
    path = state_dir / FILE
    try:
        if not path.exists():
            write_once(path, _made())
        found = path.read_bytes()
    except OSError as error:
        raise StateUnavailable(f"{FILE} in state_dir cannot be used: {error.strerror}") from error
    chain, mark, key = found.partition(_KEY)
    if not mark:
        raise StateUnavailable(f"{FILE} in state_dir is damaged: put it back, or remove it and another is made")
    return chain, mark + key


def _made() -> bytes:
    issuer, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    above = _begun("Atelier site issuer", "Atelier site issuer", issuer)
    above = above.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    above = above.add_extension(_use("key_cert_sign", "crl_sign"), critical=True)
    leaf = _begun("Atelier site, self-signed", "Atelier site issuer", key)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_use("digital_signature"), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    leaf = leaf.add_extension(authority, critical=False)
    pem = serialization.Encoding.PEM
    chain = [one.sign(issuer, hashes.SHA256()).public_bytes(pem) for one in (leaf, above)]
    return b"".join(chain) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _begun(name: str, issued_by: str, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(_name(issued_by), _name(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - _LEEWAY).not_valid_after(now + _VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(common: str) -> x509.Name:
    told = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, "Atelier"))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in told])


def _use(*named: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in named for use in _USES})
