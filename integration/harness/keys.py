"""Key pairs that sign tokens, made when they are needed and never written to the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class KeyPair:
    """A private key, the algorithm it signs with, and the `kid` it is published under."""

    kid: str
    algorithm: str
    private: PrivateKey

    @classmethod
    def generate(cls, kid: str, algorithm: str = "RS256") -> KeyPair:
        """RS*, PS*, ES256, ES384 or EdDSA (Ed25519)."""
        private: PrivateKey
        if algorithm == "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == "ES384":
            private = ec.generate_private_key(ec.SECP384R1())
        elif algorithm == "EdDSA":
            private = ed25519.Ed25519PrivateKey.generate()
        else:
            private = rsa.generate_private_key(65537, 2048)
        return cls(kid, algorithm, private)

    @classmethod
    def from_pem(cls, kid: str, algorithm: str, pem: bytes) -> KeyPair:
        """A key that was written with `private_pem`."""
        private = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(private, PrivateKey)
        return cls(kid, algorithm, private)

    @property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as RFC 7517 writes it."""
        to_jwk = get_default_algorithms()[self.algorithm].to_jwk
        public = json.loads(to_jwk(self.private.public_key()))
        public.pop("key_ops", None)
        return public | {"kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
        """A compact JWS. A header of `None` is left out."""
        return self.sign_bytes(json.dumps(claims).encode(), headers)

    def sign_bytes(self, payload: bytes, headers: dict[str, Any] | None = None) -> str:
        """A compact JWS of any payload."""
        wanted = {"typ": "JWT", "kid": self.kid} | (headers or {})
        algorithm = wanted.pop("alg", self.algorithm)
        kept = {name: value for name, value in wanted.items() if value is not None}
        return jwt.PyJWS().encode(payload, self.private, algorithm=algorithm, headers=kept)
