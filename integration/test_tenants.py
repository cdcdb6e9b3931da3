"""`[tenants]`: the tenant in the user name, `app_user.acme`: one that the user may open, for good."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import eventually, merged, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

VARIABLE = "app.current_tenant_id"
TENANT = f"SELECT current_setting('{VARIABLE}')"
ITEMS = "SELECT string_agg(body, ',' ORDER BY body) FROM scratch.items"
PASSWORD = "app-secret"
ENTRY = {"database": "demo", "password": PASSWORD}
ANY = {
    "name": "any_tenant",
    **ENTRY,
    "server_user": "app_user",
    "server_password": PASSWORD,
    "tenants": ["*"],
}
USERS = [
    {"name": "app_user", **ENTRY, "tenants": ["tenant_a", "tenant_b", "x.y", "group*"]},
    {"name": "my-role", **ENTRY, "tenants": ["tenant_a"]},
    {"name": "homeless", **ENTRY, "server_user": "app_user", "server_password": PASSWORD},
    {"name": "chief", **ENTRY, "tenants": ["*"]},
    {"name": "exempt", **ENTRY},
    ANY,
]
TENANTS = {"bypass_users": ["exempt"], "claim": "tenant_id"}


@pytest.fixture(scope="module", autouse=True)
def tables(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute(
            f"""
            CREATE ROLE app_user LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE ROLE "my-role" LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE ROLE chief LOGIN SUPERUSER PASSWORD '{PASSWORD}';
            CREATE ROLE exempt LOGIN BYPASSRLS PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE TABLE scratch.items (
                tenant_id text DEFAULT current_setting('{VARIABLE}'), body text NOT NULL);
            ALTER TABLE scratch.items ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON scratch.items
                USING (tenant_id = NULLIF(current_setting('{VARIABLE}', true), ''));
            GRANT SELECT, INSERT, DELETE ON scratch.items TO subjects;
            INSERT INTO scratch.items VALUES
                ('tenant_a', 'a1'), ('tenant_a', 'a2'), ('tenant_b', 'b1'), ('tenant_b', 'b2');
            """
        )
    yield
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.items")
        admin.execute('DROP ROLE app_user, "my-role", chief, exempt')


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Any) -> Target:
    """Everybody shares one server, as far as the mode lets them."""
    size = 1 if request.param == "transaction" else 4
    return make_module_gateway(
        general={"default_pool_size": size, "checkout_timeout": 10_000, "pooler_mode": request.param},
        databases=[primary_alone(cluster)],
        tenants=TENANTS,
        users=USERS,
        admin={"password": "admin-secret"},
    )


def open_tenant(target: Target, user: str, **parameters: str) -> Wire:
    return target.wire(user, PASSWORD, **parameters)


def refused(target: Target, user: str, password: str = PASSWORD, **parameters: str) -> tuple[str, str]:
    """SQLSTATE, and the reason in the audit log."""
    target.gateway.mark()
    fields = target.refusal(user, password, **parameters)
    return fields["C"], target.gateway.last_login(decision="refused", user=user)["reason"]


# Who may open what.


def test_a_tenant_sees_its_own_rows(target: Target) -> None:
    for tenant, rows in (("tenant_a", "a1,a2"), ("tenant_b", "b1,b2"), ("x.y", None), ("group-7", None)):
        with open_tenant(target, f"app_user.{tenant}") as wire:
            assert wire.value("SELECT current_user") == "app_user"
            assert wire.value(TENANT) == tenant
            assert wire.value(ITEMS) == rows
            assert wire.value(ITEMS + " WHERE tenant_id <> current_setting('app.current_tenant_id')") is None


def test_rows_are_written_for_ones_own_tenant_only(target: Target) -> None:
    with open_tenant(target, "app_user.tenant_a") as wire:
        wire.query("BEGIN")
        wire.query("INSERT INTO scratch.items (body) VALUES ('a3')")
        assert wire.value(ITEMS) == "a1,a2,a3"
        wire.query("ROLLBACK")
        error = w.error_of(wire.query("INSERT INTO scratch.items VALUES ('tenant_b', 'stolen')"))
        assert error["C"] == "42501"


def test_a_user_opens_only_what_somebody_says(target: Target) -> None:
    assert refused(target, "app_user.tenant_c") == ("28P01", "tenant_denied")
    assert refused(target, "app_user.TENANT_A") == ("28P01", "tenant_denied")
    assert refused(target, "app_user.tenant_a ") == ("28P01", "tenant_denied")
    assert refused(target, "homeless.tenant_a") == ("28P01", "tenant_denied")
    assert refused(target, "app_user") == ("28P01", "tenant_missing")
    assert refused(target, "app_user.") == ("28P01", "tenant_malformed")
    assert refused(target, "nobody.tenant_a") == ("28000", "malformed_token")
    assert refused(target, ".tenant_a")[0] == "28000"


def test_every_refusal_sounds_the_same(target: Target) -> None:
    heard = {
        str(sorted(target.refusal(user, password).items()))
        for user, password in (
            ("app_user.tenant_c", PASSWORD),
            ("app_user.tenant_a", "wrong"),
            ("app_user", PASSWORD),
            ("app_user.", PASSWORD),
        )
    }
    assert len(heard) == 1, heard


def test_a_wrong_password_opens_nothing(target: Target) -> None:
    assert refused(target, "app_user.tenant_a", "wrong") == ("28P01", "wrong_password")


def test_a_role_with_a_dash_is_a_role(target: Target) -> None:
    with open_tenant(target, "my-role.tenant_a") as wire:
        assert wire.value("SELECT current_user") == "my-role"
        assert wire.value(ITEMS) == "a1,a2"


def test_a_privileged_role_opens_no_tenant(target: Target) -> None:
    """Row-level security would not hold it."""
    assert refused(target, "chief.tenant_a")[1] == "role_privileged"


def test_an_exempt_user_has_no_tenant_and_is_not_watched(target: Target) -> None:
    with open_tenant(target, "exempt") as wire:
        assert wire.value("SELECT current_user") == "exempt"
        assert wire.value(ITEMS) == "a1,a2,b1,b2"
        assert w.types_of(wire.query(f"SET {VARIABLE} = 'tenant_a'")) == "CZ"
    assert refused(target, "exempt.tenant_a") == ("28P01", "tenant_denied")


@pytest.mark.parametrize("method", ["md5", "plain", "scram"])
def test_every_password_method_takes_a_tenant(make_gateway: MakeGateway, cluster: Any, method: str) -> None:
    target = make_gateway(
        jwt={"password_auth_type": method}, databases=[primary_alone(cluster)], tenants=TENANTS, users=USERS
    )
    with target.connect("app_user.tenant_b", PASSWORD) as client:
        assert client.execute(ITEMS).fetchone() == ("b1,b2",)


def test_tenants_work_without_tokens(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(
        general={"auth_type": "scram", "jwt_jwks_url": None, "default_pool_size": 1},
        jwt=None,
        databases=[primary_alone(cluster)],
        tenants={"variables": [VARIABLE]},
        users=USERS,
    )
    for tenant, rows in (("tenant_a", "a1,a2"), ("tenant_b", "b1,b2")):
        with open_tenant(target, f"app_user.{tenant}") as wire:
            assert wire.value(ITEMS) == rows
            assert w.error_of(wire.query(f"SET {VARIABLE} = 'tenant_b'"))["C"] == "42501"
            assert w.error_of(wire.query("SET standard_conforming_strings = off"))["C"] == "42501"
            assert wire.value(TENANT) == tenant


# Tokens.


def token_refused(target: Target, user: str, **claims: Any) -> tuple[str, str]:
    return refused(target, user, target.issuer.token(user.split(".")[0], **claims))


def test_a_token_opens_the_tenants_of_its_claim(target: Target) -> None:
    for claim in ("tenant_a", ["tenant_b", "tenant_a"]):
        with target.wire("alice.tenant_a", target.issuer.token("alice", tenant_id=claim)) as wire:
            assert wire.value("SELECT current_user") == "alice"
            assert wire.value(ITEMS) == "a1,a2"
            assert w.error_of(wire.query(f"SET {VARIABLE} = 'tenant_b'"))["C"] == "42501"


def test_the_audit_log_names_the_tenant(target: Target) -> None:
    target.gateway.mark()
    target.wire("alice", target.issuer.token("alice", tenant_id="tenant_b")).close()
    assert target.gateway.last_login(decision="accepted", user="alice")["tenant"] == "tenant_b"


def test_a_token_with_one_tenant_need_not_type_it(target: Target) -> None:
    with target.wire("alice", target.issuer.token("alice", tenant_id="tenant_b")) as wire:
        assert wire.value(ITEMS) == "b1,b2"
    assert token_refused(target, "alice", tenant_id=["tenant_a", "tenant_b"])[1] == "tenant_missing"
    assert token_refused(target, "alice", tenant_id="a\0b")[1] == "tenant_missing"


def test_a_token_opens_no_other_tenant(target: Target) -> None:
    for claim in (
        "tenant_b",
        ["tenant_b"],
        [],
        "",
        {"tenant_a": 1},
        ["tenant_a", {}],
        True,
        "tenant_*",
        None,
    ):
        assert token_refused(target, "alice.tenant_a", tenant_id=claim) == ("28000", "tenant_denied"), claim
    assert token_refused(target, "alice.tenant_a") == ("28000", "tenant_denied")


def test_subjects_that_share_servers_keep_their_tenants(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(
        general={"default_pool_size": 1},
        jwt={"shared_pool": True},
        databases=[primary_alone(cluster)],
        tenants=TENANTS,
    )
    for _ in range(3):
        for user, tenant, rows in (("alice", "tenant_a", "a1,a2"), ("bob", "tenant_b", "b1,b2")):
            token = target.issuer.token(user, tenant_id=[tenant])
            with target.wire(f"{user}.{tenant}", token) as wire:
                assert wire.rows(f"SELECT current_user, ({TENANT}), ({ITEMS})") == [(user, tenant, rows)]


def test_subjects_of_one_account_keep_their_tenants(make_gateway: MakeGateway, cluster: Any) -> None:
    account = {"name": "app", "value": "app", "server_user": "app_user", "server_password": PASSWORD}
    target = make_gateway(
        general={
            "default_pool_size": 1,
            "jwt_server_user": None,
            "jwt_server_password": None,
            "jwt_user_auto_provision": None,
        },
        jwt={"identity": {"mode": "service_account"}, "role_mappings": [account]},
        databases=[primary_alone(cluster)],
        tenants=TENANTS,
        users=[],
    )
    for _ in range(3):
        for user, tenant, rows in (("ann", "tenant_a", "a1,a2"), ("ben", "tenant_b", "b1,b2")):
            token = target.issuer.token(user, tenant_id=[tenant], role="app")
            with target.wire(f"{user}.{tenant}", token) as wire:
                assert wire.rows(f"SELECT current_user, ({TENANT}), ({ITEMS})") == [
                    ("app_user", tenant, rows)
                ]
                for sql in (f"SET {VARIABLE} = 'tenant_x'", f"RESET {VARIABLE}"):
                    assert w.error_of(wire.query(sql))["C"] == "42501"
                wire.query("DISCARD ALL")
                assert wire.value(TENANT) == tenant


# Any text is a tenant, and only that.

HOSTILE = [
    "'; DROP TABLE scratch.items; --",
    "\\'; CREATE TABLE scratch.owned (x int); --",
    "a'', true); SET app.current_tenant_id = 'tenant_b",
    "$$ OR 1=1 $$",
    'quo"te',
    "tenant_a\\",
    "Zoë 名前 🐘",
    "a.b:c;d",
    " leading and trailing ",
    "new\nline\ttab",
    "%s {tenant} ${x}",
    "E'\\x27'",
]


@pytest.mark.parametrize("tenant", HOSTILE)
def test_any_text_is_a_tenant(target: Target, cluster: Any, tenant: str) -> None:
    with open_tenant(target, f"any_tenant.{tenant}") as wire:
        assert wire.value(TENANT) == tenant
        assert wire.value(ITEMS) is None
        assert wire.value("SELECT current_user") == "app_user"
    with cluster.admin() as admin:
        assert admin.execute("SELECT to_regclass('scratch.owned')").fetchone() == (None,)


def test_strings_cannot_be_made_to_read_otherwise(target: Target) -> None:
    for parameters in (
        {"options": "-c standard_conforming_strings=off"},
        {"standard_conforming_strings": "off"},
        {"client_encoding": "SJIS"},
        {"options": f"-c {VARIABLE}=tenant_b"},
        {VARIABLE: "tenant_b"},
        {"App.Current_Tenant_Id": "tenant_b"},
        {"role": "chief"},
    ):
        assert refused(target, "any_tenant.tenant_a", **parameters)[1] == "startup_parameter", parameters


# A session keeps its tenant.

ESCAPES = [
    f"SET {VARIABLE} = 'tenant_b'",
    f"SET LOCAL {VARIABLE} = 'tenant_b'",
    f"SET SESSION {VARIABLE} TO 'tenant_b'",
    "SET APP.Current_Tenant_ID = 'tenant_b'",
    'SET "app"."current_tenant_id" TO tenant_b',
    f"RESET {VARIABLE}",
    f"SET {VARIABLE} TO DEFAULT",
    f"SET {VARIABLE} FROM CURRENT",
    f"SELECT set_config('{VARIABLE}', 'tenant_b', false)",
    f"SELECT pg_catalog.set_config('{VARIABLE}', 'tenant_b', true)",
    "SELECT set_config('app.' || 'current_tenant_id', 'tenant_b', false)",
    f"BEGIN; SET LOCAL {VARIABLE} = 'tenant_b'; {ITEMS}; COMMIT",
    f"DO $$BEGIN PERFORM set_config('{VARIABLE}', 'tenant_b', false); END$$",
    f"UPDATE pg_settings SET setting = 'tenant_b' WHERE name = '{VARIABLE}'",
    f"ALTER ROLE app_user SET {VARIABLE} = 'tenant_b'",
    f"CREATE FUNCTION scratch.f() RETURNS int LANGUAGE sql SET {VARIABLE} = 'tenant_b' AS 'SELECT 1'",
    "SET ROLE chief",
    "SET SESSION AUTHORIZATION chief",
    "RESET ROLE",
    "SET standard_conforming_strings = off",
    f"PREPARE p AS SELECT set_config('{VARIABLE}', 'tenant_b', false)",
    f"COPY (SELECT set_config('{VARIABLE}', 'tenant_b', false)) TO STDOUT",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_a_session_cannot_leave_its_tenant(target: Target, sql: str) -> None:
    with open_tenant(target, "app_user.tenant_a") as wire:
        assert any(message.type == "E" for message in wire.query(sql)), sql
        assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_a", "a1,a2")]
        wire.send(w.extended(sql))
        assert "E" in w.types_of(wire.until_ready()), sql
        assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_a", "a1,a2")]
    with open_tenant(target, "app_user.tenant_b") as wire:
        assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_b", "b1,b2")]


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL", "RESET SESSION AUTHORIZATION; SELECT 1"])
def test_what_resets_everything_leaves_the_tenant(target: Target, sql: str) -> None:
    with open_tenant(target, "app_user.tenant_a") as wire:
        wire.query(sql)
        assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_a", "a1,a2")]
        wire.send(w.extended(sql))
        wire.until_ready()
        assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_a", "a1,a2")]


def test_the_next_client_of_a_server_has_its_own_tenant(target: Target) -> None:
    for _ in range(5):
        with open_tenant(target, "app_user.tenant_a") as wire:
            wire.query("SET app.own = 'left'")
            wire.query("PREPARE mine AS SELECT 1")
        with open_tenant(target, "app_user.tenant_b") as wire:
            assert wire.rows(f"{TENANT}, ({ITEMS})") == [("tenant_b", "b1,b2")]
            assert wire.value("SELECT current_setting('app.own', true)") in (None, "")
            assert wire.value("SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'") == "0"


def test_answers_that_nobody_waited_for_reach_nobody(target: Target) -> None:
    """Queries sent ahead, then gone: the next tenant reads its own answers, all of them and no others."""
    for _ in range(8):
        wire = open_tenant(target, "app_user.tenant_a")
        wire.send(*[w.query(f"{ITEMS}; SELECT generate_series(1, 2000)") for _ in range(20)], b"X\0\0\0\4")
        wire.close()
        with open_tenant(target, "app_user.tenant_b") as wire:
            for number in range(5):
                assert wire.value(f"SELECT {number}") == str(number)
                assert wire.value(ITEMS) == "b1,b2"


def test_tenants_take_turns(target: Target) -> None:
    names = [f"t{number}" for number in range(4 if is_session(target) else 12)]
    ready = threading.Barrier(len(names))

    def talk(name: str) -> None:
        rng = random.Random(name)
        with open_tenant(target, f"any_tenant.{name}") as wire:
            ready.wait(20)
            for _ in range(30):
                kind = rng.randrange(4)
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
                else:
                    wire.query(rng.choice(["DISCARD ALL", "RESET ALL", f"SET app.own = '{name}'"]))
                    assert wire.value(TENANT) == name

    with ThreadPoolExecutor(len(names)) as threads:
        for done in [threads.submit(talk, name) for name in names]:
            done.result(60)


def is_session(target: Target) -> bool:
    return target.gateway.config["general"]["pooler_mode"] == "session"


def test_a_tenant_may_not_replicate(target: Target) -> None:
    with pytest.raises(ServerError) as error:
        open_tenant(target, "app_user.tenant_a", replication="database")
    assert error.value.sqlstate in ("42501", "0A000")


def test_the_administrator_sees_tenants(target: Target) -> None:
    with (
        open_tenant(target, "app_user.tenant_a"),
        target.connect("admin", "admin-secret", dbname="admin") as admin,
    ):
        clients = admin.execute("SHOW CLIENTS")
        names = [column.name for column in clients.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in clients]
        assert ("app_user", "tenant_a") in {(row["user"], row["tenant"]) for row in rows}


# Several variables.


@pytest.fixture(scope="module")
def two(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    return make_module_gateway(
        databases=[primary_alone(cluster)],
        tenants={
            "variables": ["app.list", "app.member"],
            "allow_empty": True,
            "claim": ["list", "sub"],
            "deny": {"app.list": ["closed", "shut*"]},
            "bypass_users": [],
        },
        users=[
            {
                "name": "app_user",
                **ENTRY,
                "tenants": ["list1:user2", "open*:*", "closed:*", "shut1:*", ":x", "y:"],
            }
        ],
    )


BOTH = "SELECT current_setting('app.list'), current_setting('app.member')"


def test_each_variable_has_its_value(two: Target) -> None:
    for typed, values in (
        ("list1:user2", ("list1", "user2")),
        ("open1:a.b", ("open1", "a.b")),
        (":x", ("", "x")),
        ("y:", ("y", "")),
    ):
        with open_tenant(two, f"app_user.{typed}") as wire:
            assert wire.rows(BOTH) == [values]
            assert w.error_of(wire.query("SET app.member = 'user3'"))["C"] == "42501"


def test_values_are_as_many_as_variables_and_each_is_allowed(two: Target) -> None:
    for typed in ("list1", "list1:user2:x", "::"):
        assert refused(two, f"app_user.{typed}") == ("28P01", "tenant_malformed"), typed
    for typed in ("list1:user3", "list2:user2", "closed:u1", "shut1:u1", ":", "x:"):
        assert refused(two, f"app_user.{typed}") == ("28P01", "tenant_denied"), typed


def test_each_variable_has_its_claim(two: Target) -> None:
    token = two.issuer.token("alice", list=["l1", "l2"])
    with two.wire("alice.l2:alice", token) as wire:
        assert wire.rows(BOTH) == [("l2", "alice")]
    for typed in ("l2:bob", "l3:alice"):
        assert refused(two, f"alice.{typed}", token) == ("28000", "tenant_denied"), typed


def test_empty_values_are_refused_unless_allowed(make_gateway: MakeGateway, cluster: Any) -> None:
    tenants = {"variables": ["app.list", "app.member"]}
    target = make_gateway(
        databases=[primary_alone(cluster)], tenants=tenants, users=[{**ANY, "tenants": ["*:*"]}]
    )
    for typed in (":x", "x:", ":"):
        assert refused(target, f"any_tenant.{typed}") == ("28P01", "tenant_malformed"), typed


def test_lists_for_all_users(make_gateway: MakeGateway, cluster: Any) -> None:
    lists = {"allow": {VARIABLE: ["a*", "b"]}, "deny": {VARIABLE: ["acme", "ax*"]}}
    target = make_gateway(databases=[primary_alone(cluster)], tenants=lists, users=[ANY])
    for tenant in ("a", "b", "acme2"):
        open_tenant(target, f"any_tenant.{tenant}").close()
    for tenant in ("acme", "ax1", "c", "B"):
        assert refused(target, f"any_tenant.{tenant}") == ("28P01", "tenant_denied"), tenant


def test_another_separator(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], tenants={"separator": "!!"}, users=[ANY])
    with open_tenant(target, "any_tenant!!a.b!!c") as wire:
        assert wire.value(TENANT) == "a.b!!c"
    assert refused(target, "any_tenant.a") == ("28000", "malformed_token")


# Limits.


@pytest.fixture
def limited(make_gateway: MakeGateway, cluster: Any) -> Callable[..., Target]:
    def make(**limits: Any) -> Target:
        return make_gateway(databases=[primary_alone(cluster)], tenants=limits, users=[*USERS])

    return make


def test_a_tenant_has_so_many_connections(limited: Callable[..., Target]) -> None:
    target = limited(max_connections=2)
    with open_tenant(target, "any_tenant.acme"), open_tenant(target, "any_tenant.acme"):
        assert refused(target, "any_tenant.acme") == ("53300", "tenant_connections")
        with open_tenant(target, "any_tenant.other") as wire:
            assert wire.value("SELECT 1") == "1"
    eventually(
        lambda: open_tenant(target, "any_tenant.acme").close() is None, "room after the others have left"
    )


def test_only_those_who_may_come_in_use_up_a_limit(limited: Callable[..., Target]) -> None:
    target = limited(max_connections=1, connection_rate=1)
    for _ in range(20):
        assert refused(target, "any_tenant.tenant_a", "wrong")[1] == "wrong_password"
        assert refused(target, "homeless.tenant_a")[1] == "tenant_denied"
    with open_tenant(target, "app_user.tenant_a") as wire:
        assert wire.value(ITEMS) == "a1,a2"


def test_connections_are_held_open_before_authentication_without_taking_a_place(
    limited: Callable[..., Target],
) -> None:
    target = limited(max_connections=1)
    waiting = [target.open() for _ in range(5)]
    for wire in waiting:
        wire.startup(user="app_user.tenant_a", database=target.database)
        assert wire.receive().type == "R"
    with open_tenant(target, "app_user.tenant_a") as wire:
        assert wire.value(ITEMS) == "a1,a2"
    for wire in waiting:
        wire.close()


def test_connections_of_a_tenant_come_at_a_rate(limited: Callable[..., Target]) -> None:
    target = limited(connection_rate=1)

    def attempt() -> str:
        try:
            open_tenant(target, "any_tenant.acme").close()
        except ServerError as error:
            return error.sqlstate
        return "in"

    with ThreadPoolExecutor(8) as threads:
        outcomes = [done.result(30) for done in [threads.submit(attempt) for _ in range(40)]]
    assert set(outcomes) == {"in", "53300"}
    open_tenant(target, "any_tenant.other").close()
    eventually(lambda: attempt() == "in", "the next second")


def test_a_tenants_query_has_a_limit_and_its_session_goes_on(limited: Callable[..., Target]) -> None:
    target = limited(query_timeout=1000, bypass_users=["exempt"])
    with open_tenant(target, "app_user.tenant_a") as wire:
        assert w.error_of(wire.query("SELECT pg_sleep(30)"))["C"] == "57014"
        assert wire.value(ITEMS) == "a1,a2"
    with open_tenant(target, "exempt") as wire:
        assert wire.value("SELECT 1 FROM pg_sleep(1.5)") == "1"


def test_a_cancel_request_reaches_a_tenants_query(target: Target) -> None:
    with open_tenant(target, "app_user.tenant_a") as wire:
        wire.send(w.query("SELECT pg_sleep(30)"))

        def cancelled() -> bool:
            with target.open() as other:
                other.send(w.cancel_request(wire.cancel_key))
                other.closed_by_peer()
            wire.socket.settimeout(0.5)
            return w.error_of(wire.until_ready())["C"] == "57014"

        eventually(cancelled, "the end of the query")


# Reload.


def cut_off(wire: Wire) -> str:
    """SQLSTATE of the error that a request ends in."""
    wire.send(w.query(ITEMS))
    return wire.receive_until("E", "Z")[-1].fields["C"]


def test_a_reload_takes_a_tenant_away(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], tenants=TENANTS, users=USERS)
    with open_tenant(target, "app_user.tenant_a") as wire, open_tenant(target, "my-role.tenant_a") as other:
        assert wire.value(TENANT) == other.value(TENANT) == "tenant_a"
        users = [{**user, "tenants": ["tenant_b"]} if user["name"] == "app_user" else user for user in USERS]
        target.gateway.write(users={"users": users})
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: refused(target, "app_user.tenant_a")[1] == "tenant_denied", "the reload")
        assert cut_off(wire) == "57P01"
        assert other.value(TENANT) == "tenant_a"


def test_a_reload_ends_sessions_of_tokens_that_would_be_others(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], tenants=TENANTS, users=USERS)
    token = target.issuer.token("alice", tenant_id=["tenant_a", "tenant_b"])
    with target.wire("alice.tenant_a", token) as wire:
        assert wire.value(TENANT) == "tenant_a"
        target.gateway.write(merged(target.gateway.config, {"tenants": {"deny": {VARIABLE: ["tenant_a"]}}}))
        target.gateway.send(signal.SIGHUP)
        denied = ("28000", "tenant_denied")
        eventually(lambda: refused(target, "alice.tenant_a", token) == denied, "the reload")
        assert cut_off(wire) == "57P01"


def test_a_reload_that_adds_tenants_leaves_nobody_unwatched(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], users=USERS)
    with open_tenant(target, "app_user") as wire:
        assert w.types_of(wire.query(f"SET {VARIABLE} = 'tenant_b'")) == "CZ"
        target.gateway.write(merged(target.gateway.config, {"tenants": TENANTS}))
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: refused(target, "app_user")[1] == "tenant_missing", "the reload")
        assert cut_off(wire) == "57P01"
