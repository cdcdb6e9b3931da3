"""Servers and a gateway that somebody else has started, named in the environment.

    PGDOG_JWT_TEST_GATEWAY   host:port of the gateway; setting it turns this on
    PGDOG_JWT_TEST_TLS       1: connect with TLS
    PGDOG_JWT_TEST_PRIMARY   connection string of a superuser at the primary
    PGDOG_JWT_TEST_KEYS      folder with private.pem, whose public key the gateway trusts

The gateway has the database `demo` (harness/schema.sql), takes tokens of `issuer.NAME` for `issuer.AUDIENCE`,
makes pools for new subjects, and knows the users of `compose/users.toml`.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from .cluster import DATABASE
from .issuer import Issuer
from .target import Target


def is_external() -> bool:
    return "PGDOG_JWT_TEST_GATEWAY" in os.environ


def external_issuer() -> Issuer:
    return Issuer.read(Path(os.environ["PGDOG_JWT_TEST_KEYS"]))


def external_target(issuer: Issuer) -> Target:
    host, _, port = os.environ["PGDOG_JWT_TEST_GATEWAY"].rpartition(":")
    return Target(host, int(port), issuer, tls=os.environ.get("PGDOG_JWT_TEST_TLS") == "1")


class ExternalCluster:
    """As much of `Cluster` as can be had from outside."""

    def admin(self) -> psycopg.Connection[TupleRow]:
        return psycopg.connect(os.environ["PGDOG_JWT_TEST_PRIMARY"], dbname=DATABASE, autocommit=True)
