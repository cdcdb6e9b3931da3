"""`[jwt.session]` and `[jwt.claims]`: what a token says follows the session, and no client can change it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

VARIABLES = {
    "app.tenant_id": "{tenant_id}",
    "app.roles": {"value": "{realm_access.roles|csv}", "type": "csv"},
    "app.level": {"value": "{level}", "type": "int", "default": "0"},
    "app.label": "tenant {tenant_id}",
}
TENANT = "SELECT current_setting('app.tenant_id')"
ALL = (
    "SELECT current_user, current_setting('app.tenant_id'), current_setting('app.roles'),"
    " current_setting('app.level')"
)


@pytest.fixture(scope="module", params=["own", "shared", "session"])
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Any) -> Target:
    """One server for everybody, or for each subject."""
    mode = "session" if request.param == "session" else "transaction"
    return make_module_gateway(
        general={"default_pool_size": 1, "checkout_timeout": 10_000, "pooler_mode": mode},
        jwt={"session": {"variables": VARIABLES}, "shared_pool": request.param == "shared"},
        databases=[primary_alone(cluster)],
    )


def client(target: Target, user: str = "alice", **claims: Any) -> Wire:
    return target.wire(user, target.issuer.token(user, **claims))


def one(wire: Wire, sql: str) -> tuple[str | None, ...]:
    return next(message.row for message in wire.query(sql) if message.type == "D")


def is_refused(wire: Wire, sql: str) -> bool:
    return w.error_of(wire.query(sql))["C"] == "42501"


def test_claims_are_settings(target: Target) -> None:
    with client(target, tenant_id='it\'s \\ "42" ü', realm_access={"roles": ["a", "b"]}, level=7) as wire:
        assert one(wire, ALL) == ("alice", 'it\'s \\ "42" ü', "a,b", "7")
        assert wire.value("SELECT current_setting('app.label')") == 'tenant it\'s \\ "42" ü'
        assert wire.value("SHOW app.tenant_id") == 'it\'s \\ "42" ü'


def test_a_claim_that_is_missing_is_nothing_and_never_the_last_ones(target: Target) -> None:
    for _ in range(3):
        with client(target, tenant_id="acme", level=3) as wire:
            assert one(wire, ALL)[1:] == ("acme", "", "3")
        with client(target) as wire:
            assert one(wire, ALL) == ("alice", "", "", "0")
            assert wire.value("SELECT current_setting('app.label')") == ""
        with client(target, tenant_id=None) as wire:
            assert one(wire, ALL) == ("alice", "", "", "0")


@pytest.mark.parametrize(
    "sql",
    [
        "SET app.tenant_id = 'evil'",
        "SET LOCAL app.tenant_id = 'evil'",
        'SET "app"."tenant_id" TO evil',
        "SET APP.Tenant_ID = 'evil'",
        "RESET app.tenant_id",
        "SELECT set_config('app.tenant_id', 'evil', false)",
        "SELECT set_config('App.Tenant_Id', 'evil', true)",
        "SELECT set_config('app.' || 'tenant_id', 'evil', false)",
        "BEGIN; SET app.tenant_id = 'evil'; COMMIT",
        "PREPARE p AS SELECT set_config('app.tenant_id', 'evil', false)",
        "ALTER ROLE alice SET app.tenant_id = 'evil'",
        "SELECT 1; RESET ALL",
        "SET app.roles TO DEFAULT",
        "SET app.label FROM CURRENT",
    ],
)
def test_a_client_cannot_change_them(target: Target, sql: str) -> None:
    with client(target, tenant_id="acme") as wire:
        replies = wire.query(sql)
        assert any(message.type == "E" for message in replies)
        assert wire.value(TENANT) == "acme"


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL"])
def test_what_resets_everything_leaves_them(target: Target, sql: str) -> None:
    with client(target, tenant_id="acme") as wire:
        wire.query("SET work_mem = '5MB'")
        assert w.types_of(wire.query(sql)) == "CZ"
        assert one(wire, f"{TENANT}, current_setting('work_mem') = '5MB'") == ("acme", "f")
        wire.send(w.extended(sql))
        assert "E" not in w.types_of(wire.until_ready())
        assert wire.value(TENANT) == "acme"


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("extended", [False, True])
def test_so_does_a_reset_in_a_transaction(target: Target, extended: bool, end: str) -> None:
    with client(target, tenant_id="acmé", level=3) as wire:
        for savepoint in ("SELECT 1", "SAVEPOINT s"):
            for sql in ("BEGIN", savepoint):
                wire.query(sql)
            wire.send(w.extended("RESET ALL") if extended else w.query("RESET ALL"))
            assert "E" not in w.types_of(wire.until_ready())
            assert one(wire, ALL) == ("alice", "acmé", "", "3")
            if savepoint == "SAVEPOINT s":
                wire.query("ROLLBACK TO s")
                assert one(wire, ALL) == ("alice", "acmé", "", "3")
            wire.query(end)
            assert one(wire, ALL) == ("alice", "acmé", "", "3")
        wire.send(w.query("BEGIN"), w.query("RESET ALL"), w.query(ALL), w.query(end), w.query(ALL))
        rows = [message.row for _ in range(5) for message in wire.until_ready() if message.type == "D"]
        assert rows == [("alice", "acmé", "", "3")] * 2


def test_settings_of_the_clients_own_live_beside_them(target: Target) -> None:
    with client(target, tenant_id="acme") as wire:
        wire.query("SET app.theme = 'dark'")
        assert one(wire, f"{TENANT}, current_setting('app.theme')") == ("acme", "dark")


@pytest.mark.parametrize(
    "parameters",
    [
        {"app.tenant_id": "evil"},
        {"APP.tenant_id": "evil"},
        {"options": "-c app.tenant_id=evil"},
        {"options": "--app.tenant_id=evil"},
    ],
    ids=str,
)
def test_a_start_up_packet_cannot_name_them(target: Target, parameters: dict[str, str]) -> None:
    with pytest.raises(ServerError) as refused:
        target.wire("alice", target.issuer.token("alice", tenant_id="acme"), **parameters)
    assert refused.value.fields["C"] == "28000"


def test_tenants_take_turns_on_one_server(target: Target) -> None:
    if target.gateway.config["general"]["pooler_mode"] == "session":
        pytest.skip("in session mode each has a server of its own")
    names = [f"tenant {number}" for number in range(12)]
    ready = threading.Barrier(len(names))

    def talk(name: str) -> None:
        rng = random.Random(name)
        with client(target, tenant_id=name, level=len(name)) as wire:
            ready.wait(20)
            for _ in range(40):
                kind = rng.randrange(5)
                if kind == 0:
                    wire.query("BEGIN")
                    assert wire.value(TENANT) == name
                    wire.query("ROLLBACK")
                elif kind == 1:
                    wire.send(w.extended(TENANT), w.extended(TENANT))
                    rows = [m.row for _ in range(2) for m in wire.until_ready() if m.type == "D"]
                    assert rows == [(name,)] * 2
                elif kind == 2:
                    assert w.error_of(wire.query("SELECT 1/0"))["C"] == "22012"
                elif kind == 3:
                    wire.query(f"SET app.own = '{name}'")
                    assert one(wire, f"SELECT current_setting('app.own'), ({TENANT})") == (name, name)
                else:
                    assert one(wire, ALL) == ("alice", name, "", str(len(name)))

    with ThreadPoolExecutor(len(names)) as threads:
        for done in [threads.submit(talk, name) for name in names]:
            done.result(60)


def test_what_a_function_left_is_gone_when_another_tenant_comes(target: Target, cluster: Any) -> None:
    with cluster.admin() as admin:
        admin.execute(
            "CREATE OR REPLACE FUNCTION scratch.forge() RETURNS void LANGUAGE sql "
            "AS $$SELECT set_config('app.tenant_id', 'forged', false),"
            " set_config('app.left', 'behind', false)$$"
        )
    try:
        with client(target, tenant_id="acme") as wire:
            wire.query("SELECT scratch.forge()")
        with client(target, tenant_id="other") as wire:
            assert one(wire, f"{TENANT}, current_setting('app.left', true)")[0] == "other"
            assert wire.value("SELECT current_setting('app.left', true)") in (None, "")
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP FUNCTION scratch.forge")


@pytest.mark.parametrize(
    ("variable", "claims", "reason"),
    [
        ({"value": "{tenant_id}", "required": True}, {}, "missing_variable"),
        ({"value": "{tenant_id}", "required": True}, {"tenant_id": ""}, "missing_variable"),
        ({"value": "{tenant_id}", "type": "uuid"}, {"tenant_id": "acme"}, "invalid_variable"),
        ({"value": "{tenant_id}", "max_length": 3}, {"tenant_id": "acme"}, "invalid_variable"),
        ({"value": "{tenant_id|csv}"}, {"tenant_id": ["a,b"]}, "invalid_claim"),
        ("{tenant_id}", {"tenant_id": ["a"]}, "invalid_claim"),
        ("{tenant_id}", {"tenant_id": "a\0b"}, "invalid_variable"),
    ],
)
def test_a_token_without_a_usable_value_is_refused(
    make_gateway: MakeGateway, variable: Any, claims: dict[str, Any], reason: str
) -> None:
    target = make_gateway(jwt={"session": {"variables": {"app.tenant_id": variable}}})
    with pytest.raises(ServerError) as refused:
        client(target, **claims)
    assert refused.value.fields["C"] == "28000"
    assert "tenant" not in str(refused.value)
    assert any(event.get("reason") == reason for event in fields(target))


def fields(target: Target) -> list[dict[str, Any]]:
    return [{**event, **event.get("fields", {})} for event in target.gateway.log()]


def test_presets(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"session": {"preset": ["postgrest", "orochi", "app"]}})
    claims = {"tenant_id": "acme", "roles": ["a"], "metadata": {"tenant_id": "evil", "region": "eu"}}
    with client(target, **claims) as wire:
        said = json.loads(wire.value("SELECT current_setting('request.jwt.claims')") or "")
        assert (said["sub"], said["tenant_id"]) == ("alice", "acme")
        for name, value in {
            "request.jwt.claim.sub": "alice",
            "orochi.tenant_id": "acme",
            "orochi.metadata.tenant_id": "evil",
            "orochi.metadata.region": "eu",
            "app.user_id": "alice",
            "app.roles": "a",
        }.items():
            assert wire.value(f"SELECT current_setting('{name}')") == value
        for name in (
            "request.jwt.claim.sub",
            "request.jwt.claim.new",
            "orochi.metadata.new",
            "orochi.read_only",
        ):
            assert is_refused(wire, f"SET {name} = 'x'"), name
    with client(target) as wire:
        assert wire.value("SELECT current_setting('orochi.metadata.region', true)") in (None, "")


# [jwt.claims]

POLICY = {
    "read_only": "read_only",
    "database": "database",
    "permission_level": "permission_level",
    "permission_levels": ["refuse", "read_only", "read_write", "role:bob"],
    "pool_mode": "pool_mode",
    "pool_modes": ["transaction", "statement"],
    "max_connections": "max_connections",
    "max_connections_ceiling": 3,
}


@pytest.fixture(scope="module")
def policed(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(jwt={"claims": POLICY})


def reason_of(target: Target, **claims: Any) -> str | None:
    """Why a login is refused, as the audit log says."""
    seen = len(target.gateway.log())
    with pytest.raises(ServerError) as refused:
        client(target, **claims)
    assert refused.value.fields["C"] in ("28000", "53300")
    events = eventually(
        lambda: [event for event in fields(target)[seen:] if event.get("reason")], "the audit event"
    )
    return events[-1]["reason"]


def test_a_permission_level_is_enforced(policed: Target) -> None:
    assert reason_of(policed) == "permission_denied"
    assert reason_of(policed, permission_level=0) == "permission_denied"
    assert reason_of(policed, permission_level=9) == "permission_denied"
    assert reason_of(policed, permission_level="2") == "invalid_claim"
    write = "INSERT INTO notes (body) VALUES ('by level')"
    with client(policed, permission_level=1) as wire:
        assert w.error_of(wire.query(write))["C"] == "25006"
        assert wire.value("SELECT pg_is_in_recovery()") == "t"
    with client(policed, permission_level=2) as wire:
        assert w.types_of(wire.query(write)) == "CZ"
        assert wire.value("SELECT current_user") == "alice"
    with client(policed, permission_level=3) as wire:
        assert wire.value("SELECT current_user") == "bob"
        # It leads back to whom the level has made of the session.
        # PostgreSQL 13 says besides that nobody has become a superuser.
        assert [each.tag for each in wire.query("RESET ROLE") if each.type == "C"] == ["RESET"]
        assert wire.value("SELECT current_user") == "bob"
        assert is_refused(wire, "SET ROLE alice")


def test_read_only_wins(policed: Target) -> None:
    for level in (2, 3):
        with client(policed, permission_level=level, read_only=True) as wire:
            assert wire.value("SELECT pg_is_in_recovery()") == "t"
            assert (
                w.error_of(wire.query("/* pgdog_role: primary */ UPDATE notes SET body = ''"))["C"] == "25006"
            )
    assert reason_of(policed, permission_level=2, read_only="true") == "invalid_claim"


def test_sessions_of_one_subject_with_other_claims_do_not_meet(policed: Target) -> None:
    """The same user at the same time: a reader, a writer, and one with another role."""
    with (
        client(policed, permission_level=1) as reader,
        client(policed, permission_level=2) as writer,
        client(policed, permission_level=3) as other,
    ):
        for _ in range(20):
            assert one(reader, "SELECT current_user, pg_is_in_recovery()") == ("alice", "t")
            assert one(writer, "SELECT current_user FROM notes FOR UPDATE LIMIT 1") == ("alice",)
            assert one(other, "SELECT current_user FROM notes FOR UPDATE LIMIT 1") == ("bob",)


def test_a_token_for_a_database_opens_no_other(policed: Target) -> None:
    for database in ("demo", ["other", "demo"]):
        with client(policed, permission_level=2, database=database) as wire:
            assert wire.value("SELECT 1") == "1"
    for database in ("other", [], "DEMO"):
        assert reason_of(policed, permission_level=2, database=database) == "database_denied"


def test_sessions_of_a_subject_are_counted(policed: Target) -> None:
    claims = {"permission_level": 2, "max_connections": 2}
    with client(policed, **claims), client(policed, **claims):
        assert reason_of(policed, **claims) == "too_many_sessions"
        with client(policed, "bob", **claims) as wire:
            assert wire.value("SELECT 1") == "1"
    eventually(lambda: can_log_in(policed, **claims), "room after the others have left")


def can_log_in(target: Target, **claims: Any) -> bool:
    try:
        client(target, **claims).close()
    except ServerError:
        return False
    return True


def test_nobody_has_more_sessions_than_the_ceiling(policed: Target) -> None:
    claims = {"permission_level": 2, "max_connections": 1000}
    with (
        client(policed, "carol", **claims),
        client(policed, "carol", **claims),
        client(policed, "carol", **claims),
    ):
        with pytest.raises(ServerError) as refused:
            client(policed, "carol", **claims)
        assert refused.value.fields["C"] == "53300"


def test_a_token_may_choose_among_the_modes_that_are_allowed(policed: Target) -> None:
    with client(policed, permission_level=2, pool_mode="statement") as wire:
        wire.query("BEGIN")
        assert "transaction blocks are not allowed" in wire.receive().fields["M"]
    assert reason_of(policed, permission_level=2, pool_mode="session") == "invalid_claim"
    assert reason_of(policed, permission_level=2, pool_mode=1) == "invalid_claim"
