"""A second issuer beside the usual one, at one gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .issuer import Issuer
from .target import Target

ADMIN = {"name": "admin", "user": "admin", "password": "secret"}


def beside(make_gateway: Callable[..., Target], issuer: Issuer, name: str) -> Callable[..., Target]:
    """Makes gateways for the usual issuer and one of this name, whose entry says what else it is given."""

    def make(**entry: Any) -> Target:
        known = {"issuer": name, "audiences": [issuer.audience], "jwks_min_refresh_interval": 0}
        return make_gateway(admin=ADMIN, jwt={"issuers": [known | entry]})

    return make


def who(target: Target, token: str, user: str = "alice") -> str | None:
    with target.wire(user, token) as wire:
        return wire.value("SELECT current_user")


def refused(target: Target, token: str) -> bool:
    return target.refusal("alice", token)["C"] == "28000"
