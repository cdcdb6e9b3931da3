"""`[jwt.proof]` through the gateway: the database itself verifies the claims of each session."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import DATABASE, eventually, primary_alone
from harness import wire as w
from harness.gateway import find_gateway
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]
KEY = "a key that only tests know, with enough bytes in it"
CLAIMS = "SELECT jwt.subject(), jwt.tenant(), jwt.claim('level')"
ROWS = "SELECT string_agg(body, ',' ORDER BY body) FROM public.proven"


@pytest.fixture(scope="module")
def database(cluster: Any) -> Iterator[Any]:
    """With the functions, a key and a protected table."""
    script = subprocess.run(
        [find_gateway(), "setup", "sql"], check=True, capture_output=True, text=True
    ).stdout
    with cluster.admin() as admin:
        admin.execute(script)
        admin.execute("SELECT jwt.add_key('1', %s)", [KEY])
        admin.execute("CREATE TABLE proven (tenant_id text, body text)")
        admin.execute("GRANT SELECT ON proven TO subjects")
        admin.execute("INSERT INTO proven VALUES ('acme', 'a1'), ('acme', 'a2'), ('other', 'o1')")
        admin.execute("SELECT jwt.protect('proven')")
    yield cluster
    with cluster.admin() as admin:
        admin.execute("DROP TABLE proven")
        admin.execute("DROP SCHEMA jwt CASCADE")


@pytest.fixture(scope="module", params=["own", "shared", "session"])
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, database: Any) -> Target:
    return make_module_gateway(
        general={
            "default_pool_size": 1,
            "checkout_timeout": 10_000,
            "pooler_mode": "session" if request.param == "session" else "transaction",
        },
        jwt={"proof": {"key": KEY, "claims": "*"}, "shared_pool": request.param == "shared"},
        databases=[primary_alone(database)],
    )


def client(target: Target, user: str = "alice", **claims: Any) -> Wire:
    return target.wire(user, target.issuer.token(user, **claims))


def one(wire: Wire, sql: str) -> tuple[str | None, ...]:
    return next(message.row for message in wire.query(sql) if message.type == "D")


def test_the_database_verifies_the_claims_of_each_session(target: Target) -> None:
    for tenant, rows in (("acme", "a1,a2"), ("other", "o1"), ("nobody", None), ("acme", "a1,a2")):
        with client(target, tenant_id=tenant, level=3) as wire:
            assert one(wire, CLAIMS) == ("alice", tenant, "3")
            assert one(wire, ROWS) == (rows,)
    with client(target) as wire:
        assert one(wire, CLAIMS) == ("alice", None, None)
        assert one(wire, ROWS) == (None,)


def test_sessions_that_take_turns_on_one_server_prove_their_own(target: Target) -> None:
    if target.gateway.config["general"]["pooler_mode"] == "session":
        pytest.skip("in session mode each has a server of its own")
    with client(target, tenant_id="acme") as one_tenant, client(target, tenant_id="other") as other:
        for _ in range(20):
            assert one(one_tenant, ROWS) == ("a1,a2",)
            assert one(other, ROWS) == ("o1",)
            one_tenant.send(w.extended(ROWS))
            assert [message.row for message in one_tenant.until_ready() if message.type == "D"] == [
                ("a1,a2",)
            ]


@pytest.mark.parametrize("holds", [False, True], ids=["free", "holds a server"])
def test_a_renewed_token_proves_its_own_claims(target: Target, holds: bool) -> None:
    with client(target, tenant_id="acme", level=1) as wire:
        if holds:
            wire.query("CREATE TEMPORARY TABLE held (a int)")
        assert one(wire, ROWS) == ("a1,a2",)
        token = target.issuer.token("alice", tenant_id="other", level=2)
        assert w.types_of(wire.query(f"SET \"pgdog_jwt.token\" = '{token}'")) == "CZ"
        assert one(wire, CLAIMS) == ("alice", "other", "2")
        assert one(wire, ROWS) == ("o1",)
        assert wire.value("SELECT count(*) FROM pg_tables WHERE tablename = 'held'") == str(int(holds))


@pytest.mark.parametrize(
    "sql",
    [
        "SET jwt.proof = 'v1.1.e30.x'",
        "RESET jwt.proof",
        "SELECT set_config('jwt.proof', 'x', false)",
        "SELECT 1; RESET ALL",
    ],
)
def test_a_client_cannot_change_its_proof(target: Target, sql: str) -> None:
    with client(target, tenant_id="acme") as wire:
        assert w.error_of(wire.query(sql))["C"] == "42501"
        assert one(wire, ROWS) == ("a1,a2",)


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL"])
def test_what_resets_everything_leaves_the_proof(target: Target, sql: str) -> None:
    with client(target, tenant_id="acme") as wire:
        wire.query(sql)
        assert one(wire, ROWS) == ("a1,a2",)
        for text in ("BEGIN", "RESET ALL", "COMMIT"):
            wire.query(text)
            assert one(wire, ROWS) == ("a1,a2",)


def test_a_proof_of_one_session_is_nothing_in_another(target: Target, database: Any) -> None:
    with client(target, tenant_id="acme") as wire:
        proof = wire.value("SELECT current_setting('jwt.proof')")
    with database.admin() as admin:
        admin.execute("SET ROLE alice")
        admin.execute("SELECT set_config('jwt.proof', %s, false)", [proof])
        assert admin.execute("SELECT jwt.tenant()").fetchone() == (None,)


def test_only_the_claims_that_are_named_are_proven(make_gateway: MakeGateway, database: Any) -> None:
    target = make_gateway(
        jwt={"proof": {"key": KEY, "claims": ["tenant_id"]}}, databases=[primary_alone(database)]
    )
    with client(target, tenant_id="acme", level=3) as wire:
        assert one(wire, CLAIMS) == (None, "acme", None)


def test_another_key_proves_nothing(make_gateway: MakeGateway, database: Any) -> None:
    target = make_gateway(jwt={"proof": {"key": KEY[::-1]}}, databases=[primary_alone(database)])
    with client(target, tenant_id="acme") as wire:
        assert one(wire, CLAIMS) == (None, None, None)
        assert one(wire, ROWS) == (None,)


def test_a_proof_with_a_short_life_is_made_again(make_gateway: MakeGateway, database: Any) -> None:
    target = make_gateway(
        jwt={"proof": {"key": KEY, "claims": "*", "lifetime": 2}},
        general={"default_pool_size": 1},
        databases=[primary_alone(database)],
    )
    with client(target, tenant_id="acme") as wire:
        first = wire.value("SELECT current_setting('jwt.proof')")
        eventually(lambda: wire.value("SELECT current_setting('jwt.proof')") != first, "another proof")
        eventually(lambda: one(wire, ROWS) == ("a1,a2",), "rows by the new proof")


def test_a_database_without_the_functions_lets_nobody_in(make_gateway: MakeGateway, database: Any) -> None:
    bare = {**primary_alone(database), "name": "bare", "database_name": "postgres"}
    target = make_gateway(jwt={"proof": {"key": KEY}}, databases=[primary_alone(database), bare])
    with pytest.raises(ServerError) as refused:
        target.wire("alice", target.issuer.token("alice"), database="bare")
    assert refused.value.sqlstate == "28000"
    assert target.gateway.last_login()["reason"] == "no_proof"
    with client(target, tenant_id="acme") as wire:
        assert wire.value("SELECT current_database()") == DATABASE
