"""Several subjects or tenants that are one role: none changes it for the others, nor reaches their work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from conftest import MakeGateway
from harness import find_gateway, primary_alone
from harness import wire as w
from harness.activity import await_sleep, end_backends, sleep_statement
from harness.target import Target
from harness.wire import Wire

ROLE, PASSWORD = "shared_app", "shared-secret"
ALONE = "shared_alone"
HOLDERS = ("ann@acme", "eve@evil")
PID = "SELECT pg_backend_pid()"

# What of the role, or attached to it, would be there for the next one.
STATE = f"""
    SELECT (SELECT row_to_json(a)::text FROM pg_authid a WHERE rolname = '{ROLE}'),
        (SELECT json_agg(s)::text FROM pg_db_role_setting s),
        (SELECT json_agg(m.* ORDER BY roleid, member)::text FROM pg_auth_members m),
        (SELECT json_agg(d)::text FROM pg_default_acl d), (SELECT count(*) FROM pg_authid),
        (SELECT json_agg(d.datacl)::text FROM pg_database d), (SELECT count(*) FROM pg_namespace),
        shobj_description(to_regrole('{ROLE}'), 'pg_authid'), (SELECT count(*) FROM scratch.shared_orders)
"""
CHANGES = [
    f"ALTER ROLE {ROLE} SET search_path = scratch, public",
    f"ALTER USER {ROLE} SET row_security = off",
    "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on",
    "ALTER ROLE current_user IN DATABASE demo SET statement_timeout = 1",
    f"ALTER ROLE {ROLE} RESET ALL",
    f"ALTER ROLE {ROLE} PASSWORD 'pwned'",
    f"ALTER USER {ROLE} WITH ENCRYPTED PASSWORD 'pwned' VALID UNTIL 'infinity'",
    f"ALTER ROLE {ROLE} PASSWORD NULL",
    f"ALTER ROLE {ROLE} RENAME TO somebody",
    f"ALTER ROLE {ROLE} CONNECTION LIMIT 0",
    f"COMMENT ON ROLE {ROLE} IS 'pgdog-jwt'",
    "ALTER DATABASE demo SET search_path = scratch",
    f"REASSIGN OWNED BY {ROLE} TO gateway",
    f"DROP OWNED BY {ROLE}",
    f"GRANT {ROLE} TO stranger",
    f"GRANT {ROLE} TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {ROLE} GRANT ALL ON TABLES TO stranger",
    f"CREATE SCHEMA {ROLE}",
    f"CREATE SCHEMA AUTHORIZATION {ROLE}",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    f"DO $$BEGIN EXECUTE 'ALTER ROLE {ROLE} SET search_path = scratch'; END$$",
    "CREATE FUNCTION scratch.shared_f() RETURNS void LANGUAGE sql AS"
    f" 'ALTER ROLE {ROLE} SET search_path = scratch'",
]
# `{pid}` is the process of another subject.
SIGNALS = [
    "SELECT pg_cancel_backend({pid})",
    "SELECT pg_terminate_backend({pid})",
    'SELECT pg_catalog."pg_cancel_backend"({pid})',
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "SELECT p.pg_cancel_backend FROM unnest(ARRAY[{pid}]) p",
    "CREATE VIEW scratch.shared_v AS SELECT pg_cancel_backend({pid})",
    "CREATE OPERATOR scratch.! (rightarg = int, function = pg_cancel_backend)",
    "CREATE TABLE scratch.shared_t (a bool DEFAULT pg_terminate_backend({pid}))",
    "PREPARE p AS SELECT pg_cancel_backend($1)",
    "SELECT query_to_xml('SELECT pg_cancel_backend({pid})', true, true, '')",
    "DO $$BEGIN PERFORM pg_cancel_backend({pid}); END$$",
]


@pytest.fixture(scope="module", autouse=True)
def role(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute(
            f"""
            CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE ROLE {ALONE} NOLOGIN IN ROLE subjects;
            GRANT {ROLE}, {ALONE} TO gateway;
            CREATE TABLE scratch.shared_orders (a int);
            INSERT INTO scratch.shared_orders VALUES (1);
            ALTER TABLE scratch.shared_orders OWNER TO {ROLE};
            GRANT CREATE ON DATABASE demo TO {ROLE};
            """
        )
    yield
    with cluster.admin() as admin:
        end_backends(admin, "usename = 'shared_app'")
        admin.execute(f"DROP OWNED BY {ROLE}, {ALONE}; DROP ROLE {ROLE}, {ALONE}")


def by_account(make: MakeGateway, databases: list[Any], **jwt: Any) -> Target:
    rule = {"value": "rw", "server_user": ROLE, "server_password": PASSWORD}
    tables = {"identity": {"mode": "service_account"}, "role_mappings": [rule], **jwt}
    return make(databases=databases, jwt=tables)


def by_tenant(make: MakeGateway, databases: list[Any], **jwt: Any) -> Target:
    user = {"name": ROLE, "password": PASSWORD, "database": "demo", "tenants": ["*"]}
    return make(databases=databases, tenants={"claim": "tenant"}, users=[user], jwt=jwt)


def by_mapping(make: MakeGateway, databases: list[Any], **jwt: Any) -> Target:
    rule = {"pattern": ".*@.*", "user": ROLE}
    return make(databases=databases, jwt={"user_mappings": [rule], "user_match": "claim", **jwt})


def by_login(make: MakeGateway, databases: list[Any], **jwt: Any) -> Target:
    """The password for all is the role's."""
    rule = {"pattern": ".*@.*", "user": ROLE}
    identity = {"mode": "login", "login_auth": "password", "login_password": PASSWORD}
    tables = {"user_mappings": [rule], "user_match": "claim", "identity": identity, **jwt}
    return make(databases=databases, jwt=tables)


WAYS: dict[str, Callable[..., Target]] = {
    "account": by_account,
    "tenant": by_tenant,
    "mapping": by_mapping,
    "login": by_login,
}


@pytest.fixture(scope="module", params=WAYS)
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Any) -> Target:
    return WAYS[request.param](make_module_gateway, [primary_alone(cluster)])


def enter(target: Target, holder: str) -> Wire:
    """Somebody who is the role, or a tenant of it."""
    if "tenants" in target.gateway.config:
        return target.wire(f"{ROLE}.{holder.split('@')[1]}", PASSWORD)
    return target.wire(holder, target.issuer.token(holder, role="rw"))


def state(cluster: Any) -> Any:
    with cluster.admin() as admin:
        return admin.execute(STATE).fetchone()


def is_refused(answer: list[w.Message]) -> None:
    fields = w.error_of(answer)
    assert (fields["C"], "H" in fields) == ("42501", True), fields


@pytest.mark.parametrize("form", ["simple", "extended", "several"])
def test_no_holder_changes_the_role_for_the_next(target: Target, cluster: Any, form: str) -> None:
    before = state(cluster)
    with enter(target, HOLDERS[0]) as wire:
        assert wire.value("SELECT current_user") == ROLE
        for sql in CHANGES:
            if form == "extended":
                wire.send(w.extended(sql))
                is_refused(wire.until_ready())
            else:
                is_refused(wire.query(f"SELECT 1; {sql}" if form == "several" else sql))
        assert wire.value("SELECT count(*) FROM scratch.shared_orders") == "1"
    assert state(cluster) == before
    with enter(target, HOLDERS[1]) as wire:
        assert wire.value("SHOW search_path") == '"$user", public'


@pytest.mark.parametrize("form", ["simple", "extended"])
def test_no_holder_reaches_the_session_of_another(target: Target, form: str) -> None:
    with enter(target, HOLDERS[0]) as ann, enter(target, HOLDERS[1]) as eve:
        ann.rows("BEGIN")
        pid = ann.value(PID)
        for text in SIGNALS:
            sql = text.format(pid=pid)
            if form == "extended":
                eve.send(w.extended(sql))
                is_refused(eve.until_ready())
            else:
                is_refused(eve.query(sql))
        assert ann.value(PID) == pid
        ann.rows("COMMIT")


def test_no_holder_reaches_the_session_of_another_by_the_number_of_a_function(
    target: Target, cluster: Any
) -> None:
    with cluster.admin() as admin:
        row = admin.execute("SELECT 'pg_cancel_backend'::regproc::oid, 'pg_terminate_backend'::regproc::oid")
        oids = row.fetchone()
    with enter(target, HOLDERS[0]) as ann, enter(target, HOLDERS[1]) as eve:
        ann.rows("BEGIN")
        pid = ann.value(PID)
        for oid in oids:
            eve.send(w.function_call(int(oid), int(pid or 0).to_bytes(4, "big"), (0).to_bytes(8, "big")))
            is_refused(eve.until_ready())
        assert ann.value(PID) == pid


def test_a_statement_of_ones_own_can_be_cancelled(target: Target) -> None:
    with enter(target, HOLDERS[0]) as wire:
        own = wire.value("SELECT session_user") == ROLE
        fields = w.error_of(wire.query("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)"))
        # A connection that another account opened is not the role's to cancel: PostgreSQL says so.
        assert (fields["C"], "H" in fields) == ("57014" if own else "42501", False)


def test_check_says_where_a_role_is_shared(target: Target, gateway: Target) -> None:
    assert "shared role: " in check(target).stdout
    assert "shared role" not in check(gateway).stdout


@pytest.mark.parametrize("way", WAYS)
def test_the_standard_guard_needs_a_word_where_a_role_is_shared(
    make_gateway: MakeGateway, cluster: Any, way: str
) -> None:
    def make(**jwt: Any) -> Target:
        return WAYS[way](
            lambda **tables: make_gateway(start=False, **tables), [primary_alone(cluster)], **jwt
        )

    refused = check(make(guard="standard"))
    assert refused.returncode != 0
    assert "lets a subject change a role that others are too" in refused.stderr
    assert check(make(guard="standard", standard_guard_on_shared_roles="accept")).returncode == 0


def check(target: Target) -> subprocess.CompletedProcess[str]:
    process = target.gateway
    command = [find_gateway(), "check", "-c", process.config_file, "-u", process.users_file]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_what_one_holder_attached_does_not_reach_the_next(make_gateway: MakeGateway, cluster: Any) -> None:
    """By code that the operator allowed, or by an older gateway."""
    databases = [primary_alone(cluster)]
    accepted = {"guard": "standard", "standard_guard_on_shared_roles": "accept"}
    target = by_mapping(make_gateway, databases, role_settings_ttl=0, **accepted)
    try:
        with enter(target, HOLDERS[1]) as wire:
            attach = (
                f"ALTER ROLE {ROLE} SET search_path = scratch; ALTER ROLE {ROLE} SET statement_timeout = 1"
            )
            wire.rows(f"DO $$BEGIN {attach}; END$$")
        with enter(target, HOLDERS[0]) as wire:
            shown = [wire.value(f"SHOW {name}") for name in ("search_path", "statement_timeout")]
            assert shown == ['"$user", public', "0"]
    finally:
        with cluster.admin() as admin:
            admin.execute(f"ALTER ROLE {ROLE} RESET ALL")


def test_the_owner_s_settings_of_a_role_that_is_not_shared_still_apply(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE {ALONE} SET work_mem = '123kB'")
    target = make_gateway(databases=[primary_alone(cluster)])
    with target.wire(ALONE) as wire:
        assert wire.value("SHOW work_mem") == "123kB"
        wire.rows(f"ALTER ROLE {ALONE} SET work_mem = '124kB'")
        is_refused(wire.query(f"ALTER ROLE {ALONE} PASSWORD 'x'"))


@pytest.mark.parametrize("text", [f"ALTER ROLE {ROLE} SET search_path = scratch", "DO $$BEGIN END$$"])
def test_a_replication_connection_of_a_shared_account_is_held_to_the_same(
    make_gateway: MakeGateway, cluster: Any, text: str
) -> None:
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE {ROLE} REPLICATION")
    try:
        rule = {"value": "rw", "server_user": ROLE, "server_password": PASSWORD}
        target = make_gateway(
            databases=[primary_alone(cluster)],
            general={"pooler_mode": "session"},
            jwt={"identity": {"mode": "service_account"}, "role_mappings": [rule]},
        )
        credential = target.issuer.token(HOLDERS[0], role="rw")
        with target.wire(HOLDERS[0], credential, replication="database") as wire:
            wire.send(w.query(text))
            assert wire.receive_until("E")[-1].fields["C"] == "42501"
    finally:
        with cluster.admin() as admin:
            admin.execute(f"ALTER ROLE {ROLE} NOREPLICATION")


def test_a_start_up_packet_makes_the_server_read_as_the_gateway_does(target: Target) -> None:
    if "tenants" in target.gateway.config:
        user, credential = f"{ROLE}.acme", PASSWORD
    else:
        user, credential = HOLDERS[0], target.issuer.token(HOLDERS[0], role="rw")
    for setting, code in (("standard_conforming_strings=off", "28000"), ("client_encoding=SJIS", "22023")):
        assert target.refusal(user, credential, options=f"-c {setting}")["C"] == code


@pytest.fixture
def database(cluster: Any) -> Iterator[psycopg.Connection[Any]]:
    """One of a test's own, whose functions it may take from everybody."""
    with cluster.primary.admin() as admin:
        admin.execute("CREATE DATABASE shared_revoked")
    with cluster.primary.admin("shared_revoked") as admin:
        yield admin
    with cluster.primary.admin() as admin:
        admin.execute("DROP DATABASE shared_revoked WITH (FORCE)")


def revokes() -> str:
    command = [find_gateway(), "setup", "sql", "--shared-roles"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def test_the_printed_revoke_holds_past_the_gateway(database: psycopg.Connection[Any]) -> None:
    def may(role: str) -> list[bool]:
        functions = ("pg_cancel_backend(integer)", "pg_stat_get_activity(integer)")
        calls = [
            database.execute("SELECT has_function_privilege(%s, %s, 'EXECUTE')", (role, name)).fetchone()
            for name in functions
        ]
        view = database.execute("SELECT has_table_privilege(%s, 'pg_stat_activity', 'SELECT')", (role,))
        return [bool(row and row[0]) for row in (*calls, view.fetchone())]

    assert may(ROLE) == [True, True, True]
    for _ in range(2):
        database.execute(revokes())
        assert may(ROLE) == [False, False, False]
        assert may("pg_signal_backend")[0]
        assert may("pg_read_all_stats")[1:] == [True, True]


def test_the_gateway_needs_none_of_what_is_revoked(
    make_gateway: MakeGateway, cluster: Any, database: Any
) -> None:
    database.execute(revokes())
    entry = primary_alone(cluster) | {"database_name": "shared_revoked"}
    target = by_account(make_gateway, [entry])
    with enter(target, HOLDERS[0]) as ann, enter(target, HOLDERS[1]) as eve:
        assert w.error_of(ann.query("SELECT pid FROM pg_stat_activity"))["C"] == "42501"
        eve.send(w.query(sleep_statement("shared")))
        await_sleep(cluster, "shared")
        # A request of the protocol needs no function.
        with Wire(target.host, target.port) as request:
            request.send(w.cancel_request(eve.cancel_key))
            assert request.closed_by_peer()
        assert w.error_of(eve.until_ready())["C"] == "57014"
