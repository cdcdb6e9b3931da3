"""Certificates that live as long as a test."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class CertificatePair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def self_signed(*names: str, authority: bool = True) -> CertificatePair:
    """A certificate for these host names and addresses, which is its own authority, and may say so."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        _builder(subject, subject, key.public_key(), datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return CertificatePair(_pem(certificate), _key_pem(key))


class Authority:
    """Signs certificates of clients."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key(), datetime.timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = _pem(builder.sign(self._key, hashes.SHA256()))

    def client(
        self,
        common_name: str | None,
        *alternatives: x509.GeneralName,
        lifetime: datetime.timedelta = datetime.timedelta(days=2),
    ) -> CertificatePair:
        """A certificate for a client; a negative lifetime makes one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name is not None else []
        builder = _builder(x509.Name(names), self._name, key.public_key(), lifetime)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not names)
        return CertificatePair(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    end = datetime.datetime.now(datetime.timezone.utc) + lifetime
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(
            min(end, datetime.datetime.now(datetime.timezone.utc)) - datetime.timedelta(hours=1)
        )
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
