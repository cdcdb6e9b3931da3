"""Tokens by chance: good ones, and good ones with something changed, to compare two readers of tokens."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from harness.issuer import encode_segment
from harness.keys import KeyPair

AUDIENCE = "postgres"
ISSUER = "https://issuer.example"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
# Far enough from now that no run is slow enough to pass it.
HOUR = 3600

Change = Callable[[random.Random, "Draft"], None]


def make_keys() -> dict[str, KeyPair]:
    """One for each algorithm, named after it."""
    return {name: KeyPair.generate(name, name) for name in ALGORITHMS}


@dataclass
class Draft:
    """A token while it is made: what is said, and the bytes that say it."""

    key: KeyPair
    header: dict[str, Any]
    claims: dict[str, Any]
    # Text of the two in place of what json.dumps makes of them.
    header_text: str | bytes | None = None
    claims_text: str | bytes | None = None
    # After the signature was made.
    edits: list[Callable[[str], str]] = field(default_factory=list)

    def token(self) -> str:
        texts = (self.header_text, self.header), (self.claims_text, self.claims)
        header, claims = (_bytes(text, value) for text, value in texts)
        signed = f"{encode_segment(header)}.{encode_segment(claims)}"
        algorithm = jwt.get_algorithm_by_name(self.key.algorithm)
        signature = algorithm.sign(signed.encode(), self.key.private)
        token = f"{signed}.{encode_segment(signature)}"
        for edit in self.edits:
            token = edit(token)
        return token


def _bytes(text: str | bytes | None, value: dict[str, Any]) -> bytes:
    text = json.dumps(value) if text is None else text
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def random_token(chance: random.Random, keys: dict[str, KeyPair]) -> str:
    """Half of them have nothing, or something harmless, changed."""
    key = chance.choice(list(keys.values()))
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + HOUR, "iat": now - HOUR}
    draft = Draft(key, {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}, claims)
    for change in chance.choices(CHANGES, k=chance.choice([0, 1, 1, 1, 2])):
        change(chance, draft)
    return draft.token()


def _value(chance: random.Random) -> Any:
    now = int(time.time())
    return chance.choice(
        [
            *(
                None,
                True,
                False,
                0,
                -1,
                1,
                2.5,
                "",
                "alice",
                "bob",
                [],
                {},
                ["alice"],
                {"sub": "alice"},
                "é",
                "\0",
            ),
            *(
                now + HOUR,
                now - HOUR,
                now + HOUR + 0.5,
                str(now + HOUR),
                float(now + HOUR),
                -now,
                10**10,
                10**11,
            ),
            *(
                10**12,
                10**20,
                2**63,
                2**64,
                1e300,
                "https://issuer.example/",
                AUDIENCE,
                [AUDIENCE],
                ["x", AUDIENCE],
            ),
            *([AUDIENCE, 7], [[AUDIENCE]], "postgres\0", "POSTGRES", ISSUER, "none", "x" * 64, "日本"),
        ]
    )


def _harmless(chance: random.Random, draft: Draft) -> None:
    name = chance.choice(["email", "roles", "a.b", "typ", "nonce", "é", "exp ", "scope"])
    draft.claims[name] = _value(chance)


def _claim(chance: random.Random, draft: Draft) -> None:
    draft.claims[chance.choice(["iss", "aud", "sub", "exp", "nbf", "iat", "jti"])] = _value(chance)


def _good_claim(chance: random.Random, draft: Draft) -> None:
    now = int(time.time())
    name, value = chance.choice(
        [
            *(
                ("aud", ["x", AUDIENCE]),
                ("nbf", now - HOUR),
                ("nbf", now - HOUR - 0.5),
                ("jti", "7"),
                ("sub", "bob"),
            ),
            *(
                ("exp", float(now + HOUR)),
                ("iat", 0),
                ("sub", '日本 "x"'),
                ("exp", now + 50 * 365 * 24 * HOUR),
            ),
        ]
    )
    draft.claims[name] = value


def _no_claim(chance: random.Random, draft: Draft) -> None:
    draft.claims.pop(chance.choice(["iss", "aud", "sub", "exp", "iat"]), None)


def _header(chance: random.Random, draft: Draft) -> None:
    name = chance.choice(["typ", "cty", "x", "jwk", "jku", "crit", "b64", "zip", "enc", "x5c"])
    draft.header[name] = chance.choice(
        [None, True, False, "JWT", "at+jwt", [], ["b64"], ["exp"], {}, "DEF", 7]
    )


def _algorithm(chance: random.Random, draft: Draft) -> None:
    others = ["none", "None", "HS256", "ES512", "ES256K", "", None, 7, "rs256"]
    draft.header["alg"] = chance.choice([*ALGORITHMS, *others])


def _kid(chance: random.Random, draft: Draft) -> None:
    draft.header["kid"] = chance.choice([*ALGORITHMS, "other", "", None, 7, ["RS256"]])


def _text(chance: random.Random, draft: Draft) -> None:
    """JSON that says the same in another way, or not quite."""
    good = json.dumps(draft.claims)
    draft.claims_text = chance.choice(
        [
            f" {good}\n",
            json.dumps(draft.claims, indent=2),
            json.dumps(draft.claims, ensure_ascii=False),
            good.replace("alice", "\\u0061lice"),
            good.replace("{", '{"sub":"alice",', 1),
            good.replace("{", '{"x":1,"x":1,', 1),
            good.replace("{", '{"x":NaN,', 1),
            good.replace("{", '{"x":-Infinity,', 1),
            good.replace("{", '{"x":1e999,', 1),
            good.replace("{", '{"x":"\\ud800",', 1),
            good.replace("{", f'{{"x":{"[" * 60}{"]" * 60},', 1),
            good.replace("{", f'{{"x":{"[" * 200}{"]" * 200},', 1),
            good.encode("utf-16"),
            good.encode("utf-8-sig"),
            good.encode() + b"\xff",
            good + "x",
            f"[{good}]",
            "null",
            "",
            good.replace('"', "'"),
        ]
    )


def _header_text(chance: random.Random, draft: Draft) -> None:
    good = json.dumps(draft.header)
    draft.header_text = chance.choice(
        [
            f"\t{good} ",
            good.replace("{", '{"alg":"none",', 1),
            good.replace("{", '{"x":{"a":1,"a":2},', 1),
            good.replace('"alg"', '"\\u0061lg"'),
            good.encode("utf-16-le"),
            f"[{good}]",
            good[:-1],
        ]
    )


def _edit(chance: random.Random, draft: Draft) -> None:
    """Bytes of the finished token."""
    where, letter = chance.random(), chance.choice("ABCwxyz019-_+/=. ~%é")
    kind = chance.choice(["replace", "insert", "remove", "append", "prepend", "last"])

    def edit(token: str) -> str:
        at = int(where * len(token))
        if kind == "last":
            part = int(where * 3)
            segments = token.split(".")
            if part < len(segments) and segments[part]:
                segments[part] = segments[part][:-1] + letter
            return ".".join(segments)
        return {
            "replace": token[:at] + letter + token[at + 1 :],
            "insert": token[:at] + letter + token[at:],
            "remove": token[:at] + token[at + 1 :],
            "append": token + letter,
            "prepend": letter + token,
        }[kind]

    draft.edits.append(edit)


def _padded(chance: random.Random, draft: Draft) -> None:
    """The same bytes in another base64."""
    part = chance.randrange(3)
    standard = chance.random() < 0.5

    def edit(token: str) -> str:
        segments = token.split(".")
        if part < len(segments):
            text = segments[part] + "=" * (-len(segments[part]) % 4)
            segments[part] = text.replace("-", "+").replace("_", "/") if standard else text
        return ".".join(segments)

    draft.edits.append(edit)


def _borrowed(chance: random.Random, draft: Draft) -> None:
    """Parts in another order, or not all of them."""
    pattern = chance.choice([(0, 1), (0, 1, 2, 2), (1, 0, 2), (0, 2, 2), (0, 0, 2), (2, 1, 0)])
    draft.edits.append(
        lambda token: ".".join(token.split(".")[n] for n in pattern if n < token.count(".") + 1)
    )


CHANGES: list[Change] = [
    *(_harmless, _harmless, _good_claim, _good_claim, _claim, _claim, _no_claim, _header, _algorithm, _kid),
    *(_text, _header_text, _edit, _edit, _padded, _borrowed),
]


def decoded(segment: str) -> bytes | None:
    """A segment as RFC 7515 section 2 has it: no padding, no other alphabet, no bits left over."""
    try:
        raw = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return raw if encode_segment(raw) == segment else None
