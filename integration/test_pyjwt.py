"""Two readers of tokens that know nothing of each other, the core and PyJWT, agree about thousands of tokens.

What the core takes, PyJWT takes. What PyJWT takes and the core refuses is refused by one of the stricter
rules below, and by the reason that belongs to it. RANDOM_TOKENS: how many; RANDOM_SEED: other ones.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from harness import find_gateway
from harness.external import is_external
from harness.keys import KeyPair
from random_tokens import ALGORITHMS, AUDIENCE, ISSUER, decoded, make_keys, random_token

pytestmark = pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")

COUNT = int(os.environ.get("RANDOM_TOKENS", "4000"))
SEED = int(os.environ.get("RANDOM_SEED", "1"))
# The last second of the year 9999 or less: what PostgreSQL and every calendar can show.
LAST_DATE = 253_402_300_799
MAX_DEPTH = 127


def by_core(tokens: list[str], keys: dict[str, KeyPair], folder: Path) -> list[dict[str, Any]]:
    """One process for all of them."""
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.jwk for key in keys.values()]}))
    done = subprocess.run(
        [
            *(find_gateway(), "token", "verify", "--lines", "--jwks", folder / "jwks.json"),
            *("--audience", AUDIENCE, "--issuer", ISSUER),
        ],
        input="".join(f"{token}\n" for token in tokens),
        capture_output=True,
        text=True,
        timeout=300,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(tokens), done.stderr
    return results


def by_pyjwt(token: str, keys: dict[str, KeyPair]) -> bool:
    """As a careful user of the library would call it: one key, and the algorithms that this key is for."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        if kid not in keys:
            return False
        jwt.decode(
            token,
            keys[kid].private.public_key(),
            algorithms=[name for name in ALGORITHMS if name == kid],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "sub"]},
        )
    except (jwt.PyJWTError, UnicodeError, ValueError, TypeError, RecursionError):
        return False
    return True


class Strict:
    """What the core is stricter about: for each rule whether a token breaks it."""

    def __init__(self, token: str) -> None:
        segments = [decoded(segment) for segment in token.split(".")]
        self.is_encoded = len(segments) == 3 and None not in segments
        objects = [_strict_json(segment) if segment else None for segment in segments]
        self.is_plain_json = len(objects) == 3 and None not in objects[:2]
        self.header, self.claims = ([*objects, None, None][at] or {} for at in range(2))

    def encoding(self) -> bool:
        """RFC 7515 section 2: base64url has one form."""
        return not self.is_encoded

    def json(self) -> bool:
        """RFC 8259, RFC 7519 section 4: UTF-8, no name twice, numbers that are numbers, some depth."""
        return not self.is_plain_json

    def extensions(self) -> bool:
        """RFC 7515 section 4.1.11: what is not understood is not taken."""
        return any(name in self.header for name in ("crit", "b64", "enc", "zip"))

    def types(self) -> bool:
        """RFC 7515 section 4.1.9: what is there is a string."""
        return "typ" in self.header and not isinstance(self.header["typ"], str)

    def kinds(self) -> bool:
        """RFC 8725 section 3.11: an access token, as far as header and claims say."""
        typ = self.header.get("typ", "JWT")
        is_other = isinstance(typ, str) and typ.lower() not in ("jwt", "at+jwt")
        return is_other or "typ" in self.claims

    def dates(self) -> bool:
        """RFC 7519 section 2: a NumericDate is a number of seconds since 1970, no text, no truth value."""
        present = [self.claims[name] for name in ("exp", "nbf", "iat") if name in self.claims]
        return any(
            isinstance(date, bool) or not isinstance(date, (int, float)) or not 0 <= date <= LAST_DATE
            for date in present
        )

    def role(self) -> bool:
        """PostgreSQL: a role has a name of 1 to 63 bytes, without NUL, which is not "none"."""
        name = self.claims.get("sub", "")
        return not 0 < len(name.encode()) <= 63 or "\0" in name or name.lower() == "none"


RULES: dict[str, tuple[Callable[[Strict], bool], set[str]]] = {
    "encoding": (Strict.encoding, {"malformed_token"}),
    "json": (Strict.json, {"malformed_token"}),
    "extensions": (Strict.extensions, {"unsupported_header"}),
    "types": (Strict.types, {"malformed_token"}),
    "kinds": (Strict.kinds, {"token_type_denied", "not_an_access_token"}),
    "dates": (Strict.dates, {"invalid_claim"}),
    "role": (Strict.role, {"invalid_claim", "role_invalid"}),
}


def _strict_json(raw: bytes) -> dict[str, Any] | None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    def no_number(text: str) -> float:
        raise ValueError(text)

    def number(text: str) -> float:
        value = float(text)
        return value if abs(value) != float("inf") else no_number(text)

    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_number, parse_float=number
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _depth(value) <= MAX_DEPTH else None


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, (dict, list)) else 0


def test_the_core_and_pyjwt_agree_about_random_tokens(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    keys = make_keys()
    tokens = [random_token(chance, keys) for _ in range(COUNT)]
    tokens = [token for token in tokens if "\n" not in token]

    seen: Counter[str] = Counter()
    for token, result in zip(tokens, by_core(tokens, keys, tmp_path), strict=True):
        ours, theirs = result["decision"] == "allow", by_pyjwt(token, keys)
        if ours == theirs:
            seen["both accept" if ours else "both refuse"] += 1
            continue
        assert not ours, f"only the core accepts {token}"
        strict = Strict(token)
        broken = [
            name
            for name, (is_broken, reasons) in RULES.items()
            if is_broken(strict) and result["reason"] in reasons
        ]
        assert broken, f"only PyJWT accepts {token}: {result}"
        seen[broken[0]] += 1

    # Each verdict and each rule was met, so that the comparison compares something.
    assert seen["both accept"] > COUNT // 5, seen
    assert seen["both refuse"] > COUNT // 5, seen
    assert COUNT < 4000 or set(RULES) <= set(seen), seen


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_taken_by_both(algorithm: str, tmp_path: Path) -> None:
    keys = make_keys_of(algorithm)
    token = random_token(NoChange(), keys)

    assert by_pyjwt(token, keys)
    assert by_core([token], keys, tmp_path)[0]["decision"] == "allow"


def make_keys_of(algorithm: str) -> dict[str, KeyPair]:
    return {algorithm: KeyPair.generate(algorithm, algorithm)}


class NoChange(random.Random):
    """Chance that changes nothing."""

    def choices(self, *_args: Any, **_options: Any) -> list[Any]:
        return []
