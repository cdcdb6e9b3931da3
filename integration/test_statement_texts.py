"""What others of the same account can read in `pg_stat_activity`: the texts of the gateway's own statements
are the same for everybody. Roles, claims, proofs and nonces go as parameters.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import find_gateway
from harness import wire as w
from harness.cluster import DATABASE
from harness.line import Line, frames
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

KEY = "a key of this module alone, for proofs"
VARIABLES = {"app.tenant_id": {"value": "{tenant_id}"}}
TOLD = re.compile(rb"alice|bob|of_alice|of_bob|v1\.1\.|[0-9a-f]{32}")


@pytest.fixture
def line(cluster: Any) -> Iterator[Line]:
    line = Line(cluster.primary.port)
    yield line
    line.close()


@pytest.fixture(scope="module")
def proofs(cluster: Any) -> Iterator[None]:
    """The functions that verify claims, with a key."""
    script = subprocess.run(
        [find_gateway(), "setup", "sql"], check=True, capture_output=True, text=True
    ).stdout
    with cluster.admin() as admin:
        admin.execute(script)
        admin.execute("SELECT jwt.add_key('1', %s)", [KEY])
    yield
    with cluster.admin() as admin:
        admin.execute("DROP SCHEMA jwt CASCADE")


def texts(sent: bytes) -> list[bytes]:
    """Of every Query and Parse."""
    found = []
    for frame in frames(sent):
        if frame[:1] == b"Q":
            found.append(frame[5:-1])
        elif frame[:1] == b"P":
            found.append(frame[5:].split(b"\0")[1])
    return found


def client(target: Target, user: str) -> Wire:
    return target.wire(user, target.issuer.token(user, tenant_id=f"of_{user}"))


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("guard", ["strict", "standard"])
def test_no_text_says_who_somebody_is(
    make_gateway: MakeGateway, line: Line, proofs: None, guard: str, proven: bool, mode: str
) -> None:
    target = make_gateway(
        general={
            "default_pool_size": 1,
            "tls_verify": "disabled",
            "idle_healthcheck_delay": 3_600_000,
            "pooler_mode": mode,
            # Other connections would begin with a start-up packet, which is no statement.
            "server_cleaning": "never",
        },
        databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
        jwt={
            "guard": guard,
            "shared_pool": True,
            "session": {"variables": VARIABLES},
            **({"proof": {"key": KEY, "claims": "*"}} if proven else {}),
        },
    )
    for number in range(3):
        for user in ("alice", "bob"):
            with client(target, user) as wire:
                line.forget()
                assert wire.value("SELECT current_user") == user
                wire.query("SET work_mem = '5MB'")
                wire.query("BEGIN; RESET ALL")
                wire.query("COMMIT")
                wire.query("DISCARD ALL")
                wire.send(w.parse("DISCARD ALL"), w.bind(), w.execute(), w.SYNC)
                wire.until_ready()
                if guard == "standard":
                    run = w.parse("DO $$ BEGIN END $$") + w.bind() + w.execute()
                    wire.send(run, w.parse("SELECT 1"), w.bind(), w.execute(), w.SYNC)
                    assert w.types_of(wire.until_ready()) == "12C12DCZ"
                assert wire.value("SELECT current_setting('app.tenant_id')") == f"of_{user}", number
                seen = texts(line.sent)
                assert any(b"set_config($" in text or b"set_config('role',$1" in text for text in seen)
                assert [text for text in seen if TOLD.search(text)] == []
