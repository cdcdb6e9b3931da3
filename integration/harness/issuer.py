"""An issuer of tokens: keys, a place where they are published, and tokens good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

from .jwks_server import JwksServer
from .keys import KeyPair

AUDIENCE = "postgres"
NAME = "https://issuer.example"


class Issuer:
    """Signs with its newest key unless told otherwise."""

    def __init__(self, algorithm: str = "RS256", *, name: str = NAME, serve: bool = True) -> None:
        self.name = name
        self.audience = AUDIENCE
        self.server = JwksServer() if serve else None
        self.keys: list[KeyPair] = []
        self._serial = 0
        self.add_key(algorithm)

    @property
    def key(self) -> KeyPair:
        """The key that signs now."""
        return self.keys[-1]

    @property
    def jwks_url(self) -> str:
        assert self.server
        return self.server.url

    def add_key(self, algorithm: str = "RS256") -> KeyPair:
        """A further key; the older ones stay published."""
        self._serial += 1
        key = KeyPair.generate(f"key-{self._serial}", algorithm)
        self.keys.append(key)
        self._publish()
        return key

    def rotate(self, algorithm: str | None = None) -> KeyPair:
        """A new key in place of all others."""
        old = self.keys
        self.keys = []
        return self.add_key(algorithm or old[-1].algorithm)

    def claims(self, subject: str, *, expires_in: float = 300, **changes: Any) -> dict[str, Any]:
        """What a good token says; a claim that is changed to `None` is left out."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.name,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + int(expires_in),
            "jti": str(uuid.uuid4()),
        }
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        subject: str,
        *,
        key: KeyPair | None = None,
        headers: dict[str, Any] | None = None,
        expires_in: float = 300,
        **changes: Any,
    ) -> str:
        """A signed token for the subject."""
        return (key or self.key).sign(self.claims(subject, expires_in=expires_in, **changes), headers)

    def close(self) -> None:
        if self.server:
            self.server.close()

    def write_private_key(self, folder: Path) -> None:
        """For a runner elsewhere that shares the folder: `Issuer.read` makes the same issuer again."""
        (folder / "private.pem").write_bytes(self.key.private_pem)
        (folder / "public.pem").write_bytes(self.key.public_pem)

    @classmethod
    def read(cls, folder: Path, algorithm: str = "RS256") -> Issuer:
        """The issuer whose keys are in the folder. It publishes nothing."""
        issuer = cls(algorithm, serve=False)
        issuer.keys = [KeyPair.from_pem("key-1", algorithm, (folder / "private.pem").read_bytes())]
        return issuer

    def _publish(self) -> None:
        if self.server:
            self.server.keys = [key.jwk for key in self.keys]


def encode_segment(value: dict[str, Any] | bytes) -> str:
    """One part of a compact JWS."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token made by hand, with whatever signature."""
    return ".".join((encode_segment(header), encode_segment(claims), encode_segment(signature)))


def hmac_signed(secret: bytes, claims: dict[str, Any], kid: str | None = None) -> str:
    """A token whose HMAC secret is something everybody knows, such as the issuer's public key."""
    header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
    signed = f"{encode_segment(header)}.{encode_segment(claims)}"
    return f"{signed}.{encode_segment(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def tampered(token: str, **changes: Any) -> str:
    """The same signature under changed claims."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ".".join((header, encode_segment(claims | changes), signature))
