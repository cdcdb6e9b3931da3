"""`mode = "login"`: the subject itself logs in to PostgreSQL, and PostgreSQL itself keeps it what it is."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import (
    Cluster,
    Installation,
    Issuer,
    Workspace,
    eventually,
    find_installations,
    merged,
    primary_alone,
)
from harness import wire as w
from harness.certificates import Authority
from harness.external import is_external
from harness.rules import PEOPLE, Setting, run_setup, setup_hba
from harness.target import Target
from harness.wire import ServerError

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers of its own")

WHO = "SELECT session_user, current_user"
ALL = find_installations()
INSTALLATION = ALL[0] if ALL else None


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("the gateway's authority")


@pytest.fixture(scope="module")
def installed(issuer: Issuer, authority: Authority, tmp_path_factory: Any) -> Iterator[Setting]:
    if INSTALLATION is None:
        pytest.skip("no PostgreSQL on this machine")
    with Workspace() as workspace:
        cluster = Cluster(workspace, INSTALLATION)
        if not cluster.primary.tls:
            pytest.skip(f"PostgreSQL {cluster.installation.version} on this machine is built without TLS")
        setting = Setting(workspace, cluster, issuer, tmp_path_factory.mktemp("certificates"))
        setting.prepare()
        setting.install_authority(authority)
        yield setting


@pytest.fixture
def setting(installed: Setting) -> Iterator[Setting]:
    yield installed
    while installed.started:
        installed.started.pop().stop(timeout=5)


LOGIN = {"identity": {"mode": "login"}}


def by_certificate(setting: Setting, authority: Authority, **tables: Any) -> dict[str, Any]:
    """The configuration of a gateway that proves itself by its certificate."""
    files = setting.files(authority.client("pgdog gateway"))
    verified = {
        "tls_verify": "verify_full",
        "tls_server_ca_certificate": str(setting.cluster.primary.authority),
    }
    return merged({"general": files | verified, "jwt": LOGIN}, tables)


LOOPBACK = ("--address", "127.0.0.1/32", "--postgres", str(INSTALLATION.major if INSTALLATION else 15))


@pytest.fixture
def certified(setting: Setting, authority: Authority) -> Callable[..., Target]:
    """Starts gateways with a certificate that the printed lines let in."""

    def make(users: list[dict[str, Any]] | None = None, **tables: Any) -> Target:
        config = by_certificate(setting, authority, **tables)
        names = [word for name in PEOPLE for word in ("--role", name)]
        printed = setup_hba(setting.gateway(users, start=False, **config), *LOOPBACK, *names)
        setting.write_rules(
            printed, hba="hostssl all mon,boss,snoop 127.0.0.1/32 cert map=extra\n", ident=EXTRA
        )
        return setting.gateway(users, **config)

    return make


EXTRA = "".join(f'extra "pgdog gateway" {name}\n' for name in ("mon", "boss", "snoop"))


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_subject_itself_is_logged_in(certified: Callable[..., Target], mode: str) -> None:
    target = certified(general={"pooler_mode": mode})

    for name in PEOPLE:
        with target.wire(name) as wire:
            assert wire.rows(WHO) == [(name, name)]
            assert wire.value("SHOW role") == "none"
    login = target.gateway.last_login(user="alice")
    assert (login["decision"], login["role"]) == ("accepted", "alice")


def test_the_printed_lines_let_in_who_is_named_and_nobody_else(
    certified: Callable[..., Target], setting: Setting
) -> None:
    target = certified()

    target.wire("alice").close()
    assert target.refusal("stranger")["C"] == "28000"
    assert target.gateway.last_login(user="stranger")["reason"] == "role_refused"
    assert target.refusal("mallory")["C"] == "28000"


def test_a_group_of_subjects_is_let_in_without_being_listed(setting: Setting, authority: Authority) -> None:
    """Before PostgreSQL 16, by any certificate of the gateway's own authority; since then, by a map."""
    config = by_certificate(setting, authority)
    printed = setup_hba(setting.gateway(start=False, **config), *LOOPBACK, "--group", "subjects")
    by_map = setting.cluster.installation.major >= 16
    assert ("cert map=pgdog_jwt" if by_map else "clientcert=verify-ca") in printed
    setting.write_rules(printed)

    target = setting.gateway(**config)
    with target.wire("alice") as wire:
        assert wire.rows(WHO) == [("alice", "alice")]
    assert target.refusal("stranger")["C"] == "28000"


def test_a_certificate_of_another_authority_is_nobody(setting: Setting, authority: Authority) -> None:
    config = by_certificate(setting, authority)
    printed = setup_hba(setting.gateway(start=False, **config), *LOOPBACK, "--group", "subjects")
    setting.write_rules(printed)
    setting.files(Authority("somebody else").client("pgdog gateway"))

    assert setting.gateway(**config).refusal("alice")["S"] == "FATAL"


def test_another_common_name_is_nobody(setting: Setting, authority: Authority) -> None:
    config = by_certificate(setting, authority)
    printed = setup_hba(setting.gateway(start=False, **config), *LOOPBACK, "--role", "alice")
    setting.write_rules(printed)
    setting.files(authority.client("another service"))

    assert setting.gateway(**config).refusal("alice")["C"] == "28000"


def test_without_tls_the_certificate_is_not_shown_and_nothing_is_said(
    setting: Setting, authority: Authority
) -> None:
    """A server that has no TLS any more could be anybody."""
    config = merged(by_certificate(setting, authority), {"general": {"tls_verify": "prefer"}})
    with Workspace() as workspace:
        cluster = Cluster(workspace, INSTALLATION, replica=False)
        cluster.primary.stop()
        cluster.primary.tls = False
        cluster.primary.write_settings()
        cluster.primary.start()
        target = setting.gateway(**merged(config, {"databases": [primary_alone(cluster)]}))
        refusal = target.refusal("alice")

    assert refusal["S"] == "FATAL"
    assert "TLS" in str(target.gateway.last_login(user="alice")["detail"])


def test_roles_that_no_token_may_become_are_refused(
    certified: Callable[..., Target], setting: Setting
) -> None:
    databases = [primary_alone(setting.cluster) | {"user": "mon"}]
    target = certified(databases=databases)

    for role, reason in [
        ("postgres", "role_denied"),
        ("pg_monitor", "role_denied"),
        ("mon", "role_denied"),
        ("boss", "role_privileged"),
        ("snoop", "role_privileged"),
    ]:
        assert target.refusal(role)["C"] == "28000"
        assert target.gateway.last_login(user=role)["reason"] == reason


@pytest.mark.parametrize("statement", ["SET ROLE bob", "SET SESSION AUTHORIZATION bob", "SET ROLE postgres"])
def test_postgresql_itself_keeps_a_subject_what_it_is(
    certified: Callable[..., Target], statement: str
) -> None:
    with certified().wire("alice") as wire:
        assert w.error_of(wire.query(statement))["C"] == "42501"
        assert wire.rows(WHO) == [("alice", "alice")]


def test_what_the_guard_refuses_elsewhere_works_here(
    certified: Callable[..., Target], setting: Setting
) -> None:
    with certified(databases=[primary_alone(setting.cluster)]).wire("alice") as wire:
        wire.rows("DO $$ BEGIN PERFORM 1; END $$")
        wire.rows("CREATE FUNCTION scratch.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        wire.rows("DROP FUNCTION scratch.mine()")
        for statement in (
            "RESET ROLE",
            "RESET ALL",
            "DISCARD ALL",
            "RESET SESSION AUTHORIZATION",
            "SET ROLE none",
        ):
            wire.rows(statement)
            assert wire.rows(WHO) == [("alice", "alice")]


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize(
    "tables", [{}, {"session": {"variables": {"app.tenant_id": "{tenant}"}}}], ids=["", "guarded"]
)
def test_a_subject_gives_itself_no_password(
    certified: Callable[..., Target], setting: Setting, mode: str, tables: dict[str, Any]
) -> None:
    """It would let somebody in past the gateway when the token is revoked or over."""
    target = certified(
        general={"pooler_mode": mode}, jwt=LOGIN | tables, databases=[primary_alone(setting.cluster)]
    )

    with target.wire("alice") as wire:
        for change in ("PASSWORD 'own'", "ENCRYPTED PASSWORD 'own' VALID UNTIL 'infinity'", "PASSWORD NULL"):
            for who in ("alice", "CURRENT_USER", "session_user"):
                sql = f"ALTER USER {who} {change}"
                fields = w.error_of(wire.query(sql))
                assert (fields["C"], "outlive the token" in fields["H"]) == ("42501", True)
                wire.send(w.extended(sql))
                assert w.error_of(wire.until_ready())["C"] == "42501"
        wire.rows("ALTER ROLE alice SET work_mem = '124kB'")
        wire.rows("ALTER ROLE alice RESET work_mem")
    with setting.cluster.admin() as admin:
        row = admin.execute(
            "SELECT rolpassword, rolvaliduntil FROM pg_authid WHERE rolname = 'alice'"
        ).fetchone()
        assert row == (None, None)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_role_that_a_session_took_follows_it_and_no_other(
    certified: Callable[..., Target], setting: Setting, mode: str
) -> None:
    """Two sessions of one subject over one server connection."""
    size = 1 if mode == "transaction" else 2
    databases = [primary_alone(setting.cluster)]
    target = certified(general={"pooler_mode": mode, "default_pool_size": size}, databases=databases)

    with target.wire("alice") as one, target.wire("alice") as other:
        one.rows("SET ROLE team")
        for _ in range(3):
            assert one.rows(WHO) == [("alice", "team")]
            assert other.rows(WHO) == [("alice", "alice")]
        one.rows("BEGIN")
        one.rows("SET LOCAL ROLE subjects")
        assert one.rows(WHO) == [("alice", "subjects")]
        one.rows("COMMIT")
        assert one.rows(WHO) == [("alice", "team")]
        one.rows("RESET ROLE")
        assert one.rows(WHO) == [("alice", "alice")]
        one.rows("SET ROLE team")
    with target.wire("alice") as next_one:
        assert next_one.rows(WHO) == [("alice", "alice")]


@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN EXECUTE 'SET ROLE team'; END $$",
        "SELECT set_config('role', 'team', false)",
        "SELECT query_to_xml($$SELECT set_config('role', 'team', false)$$, false, false, '')",
    ],
)
def test_a_role_taken_by_a_detour_is_not_there_for_the_next(
    certified: Callable[..., Target], setting: Setting, statement: str
) -> None:
    target = certified(general={"default_pool_size": 1}, databases=[primary_alone(setting.cluster)])

    with target.wire("alice") as one:
        one.rows("BEGIN")
        one.rows(statement)
        assert one.rows(WHO) == [("alice", "team")]
        one.rows("COMMIT")
    with target.wire("alice") as other:
        assert other.rows(WHO) == [("alice", "alice")]


def test_a_role_in_the_start_up_packet_is_for_postgresql_to_allow(certified: Callable[..., Target]) -> None:
    target = certified()

    with target.wire("alice", role="team") as wire:
        assert wire.rows(WHO) == [("alice", "team")]
    assert target.refusal("alice", role="bob")["S"] == "FATAL"


def test_settings_that_the_owner_gave_the_role_apply(certified: Callable[..., Target]) -> None:
    with certified().wire("bob") as wire:
        assert wire.value("SHOW work_mem") == "123kB"


def test_a_read_only_subject_stays_on_the_replica(certified: Callable[..., Target]) -> None:
    target = certified([{"name": "reader", "database": "demo", "read_only": True}])

    with target.wire("reader") as wire:
        assert wire.rows("SELECT session_user, served_by()") == [("reader", "replica")]
        assert w.error_of(wire.query("DELETE FROM notes"))["C"] == "25006"
        assert w.error_of(wire.query("SET transaction_read_only = off"))["S"] == "ERROR"


def test_subjects_at_the_same_time_are_each_themselves(
    certified: Callable[..., Target], setting: Setting
) -> None:
    databases = [primary_alone(setting.cluster)]
    target = certified(general={"default_pool_size": 2, "max_server_connections": 4}, databases=databases)

    def work(name: str) -> set[tuple[Any, ...]]:
        with target.connect(name) as connection:
            return {connection.execute(WHO).fetchone() or () for _ in range(25)}

    names = ["alice", "bob", "carol"] * 4
    with ThreadPoolExecutor(len(names)) as pool:
        for name, seen in zip(names, pool.map(work, names), strict=True):
            assert seen == {(name, name)}


def test_prepared_statements_and_settings_follow(certified: Callable[..., Target], setting: Setting) -> None:
    target = certified(general={"default_pool_size": 1}, databases=[primary_alone(setting.cluster)])

    with target.wire("alice") as one, target.wire("alice") as other:
        one.rows("SET work_mem = '321kB'")
        one.send(w.parse("SELECT session_user, current_setting('work_mem')", "mine"), w.message("S"))
        one.until_ready()
        assert other.value("SHOW work_mem") != "321kB"
        one.send(w.bind(statement="mine"), w.execute(), w.message("S"))
        assert [message.row for message in one.until_ready() if message.type == "D"] == [("alice", "321kB")]


def connections_of(setting: Setting, name: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    with setting.cluster.admin() as admin:
        return int((admin.execute(query, [name]).fetchone() or (0,))[0])


def test_a_named_subject_keeps_connections_open(certified: Callable[..., Target], setting: Setting) -> None:
    alice = {"name": "alice", "database": "demo", "min_pool_size": 2}
    target = certified([alice], databases=[primary_alone(setting.cluster)])
    assert connections_of(setting, "alice") == 0

    target.wire("alice").close()

    eventually(lambda: connections_of(setting, "alice") == 2, "two connections")


def test_the_health_of_servers_needs_no_account(certified: Callable[..., Target], setting: Setting) -> None:
    """Nobody's account may be used for it: no subject has shown a token yet."""
    alice = {"name": "alice", "database": "demo"}
    general = {"idle_healthcheck_interval": 50, "idle_healthcheck_delay": 0, "ban_timeout": 60_000}
    target = certified([alice], general=general)

    def online() -> list[Any]:
        with target.connect("admin", "admin-secret", dbname="admin") as connection:
            at = [column.name for column in connection.execute("SHOW DATABASES").description or ()]
            return [row[at.index("online")] for row in connection.execute("SHOW DATABASES").fetchall()]

    assert online() == [True, True]
    replica = setting.cluster.replica
    assert replica
    replica.stop()
    try:
        eventually(lambda: online() == [True, False], "the ban of the replica")
    finally:
        replica.start()
        setting.cluster.wait_for_streaming()
    eventually(lambda: online() == [True, True], "the end of the ban")
    assert connections_of(setting, "alice") == 0


def test_a_monitor_uses_the_account_of_its_database(
    certified: Callable[..., Target], setting: Setting
) -> None:
    database = primary_alone(setting.cluster) | {"user": "mon", "role": "auto"}
    target = certified(databases=[database])

    with target.wire("alice") as wire:
        assert wire.rows(WHO) == [("alice", "alice")]
        eventually(lambda: connections_of(setting, "mon") == 1, "the monitor's connection")


def test_one_password_for_all_subjects(setting: Setting) -> None:
    with setting.cluster.admin() as admin:
        admin.execute("ALTER ROLE alice PASSWORD 'for-the-gateway'; ALTER ROLE bob PASSWORD 'another'")
    identity = {"identity": {"mode": "login", "login_auth": "password"}}
    env = {"PGDOG_JWT_LOGIN_PASSWORD": "for-the-gateway"}
    target = setting.gateway(env=env, jwt=identity, start=False)
    assert run_setup(target).returncode != 0, "the password is missing"
    with_password = setting.gateway(
        jwt={"identity": {**identity["identity"], "login_password": "x"}}, start=False
    )
    setting.write_rules(setup_hba(with_password, "--address", "127.0.0.1/32", "--group", "subjects"))

    target = setting.gateway(env=env, jwt=identity)
    with target.wire("alice") as wire:
        assert wire.rows(WHO) == [("alice", "alice")]
    assert target.refusal("bob")["C"] == "28000"
    assert "for-the-gateway" not in target.gateway.log_text()


def test_an_address_that_postgresql_trusts(setting: Setting) -> None:
    trust = {"jwt": {"identity": {"mode": "login", "login_auth": "trust"}}}
    target = setting.gateway(start=False, **trust)
    assert "--address" in run_setup(target).stderr
    setting.write_rules(setup_hba(target, "--address", "127.0.0.1/32", "--group", "subjects"))

    target = setting.gateway(**trust)
    with target.wire("bob") as wire:
        assert wire.rows(WHO) == [("bob", "bob")]
    assert target.refusal("stranger")["C"] == "28000"


def test_replication_is_for_subjects_that_may(certified: Callable[..., Target], setting: Setting) -> None:
    session = {"pooler_mode": "session"}
    target = certified(general=session, databases=[primary_alone(setting.cluster)])
    assert target.refusal("alice", replication="database")["C"] == "42501"
    assert target.refusal("alice", replication="true")["C"] == "42501"
    assert target.refusal("boss", replication="database")["C"] == "28000"

    with setting.cluster.admin() as admin:
        admin.execute("ALTER ROLE alice REPLICATION")
    try:
        with target.wire("alice", replication="database") as wire:
            assert wire.value("IDENTIFY_SYSTEM")
            assert wire.rows(WHO) == [("alice", "alice")]
    finally:
        with setting.cluster.admin() as admin:
            admin.execute("ALTER ROLE alice NOREPLICATION")


def test_another_mode_after_a_reload_is_another_session(
    certified: Callable[..., Target], setting: Setting
) -> None:
    target = certified(databases=[primary_alone(setting.cluster)])
    with target.wire("alice") as wire:
        assert wire.rows(WHO) == [("alice", "alice")]
        config = merged(target.gateway.config, {"jwt": {"identity": None}})
        config["general"] |= {"jwt_server_user": "gateway", "jwt_server_password": "gateway-secret"}
        target.gateway.write(config)
        target.gateway.send(signal.SIGHUP)

        eventually(lambda: is_over(wire), "the end of the session")


UNMAPPED = [one for one in ALL if one.major >= 16]


@pytest.mark.skipif(not UNMAPPED, reason="no PostgreSQL 16 or newer on this machine")
@pytest.mark.parametrize("installation", UNMAPPED, ids=lambda one: f"PostgreSQL {one.version}")
def test_a_map_names_every_role(installation: Installation, issuer: Issuer, tmp_path: Path) -> None:
    """Over the Unix socket, where the operating system vouches for the gateway."""
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=False)
        setting = Setting(workspace, cluster, issuer, tmp_path)
        setting.prepare()
        server = cluster.primary
        database = {"name": "demo", "host": str(server.sockets), "port": server.port}
        trust = {"jwt": {"identity": {"mode": "login", "login_auth": "trust"}}, "databases": [database]}
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        options = ("--os-user", user, "--postgres", str(installation.major), "--group", "subjects")
        setting.write_rules(setup_hba(setting.gateway(start=False, **trust), *options))

        target = setting.gateway(**trust)
        for name in PEOPLE:
            with target.wire(name) as wire:
                assert wire.rows(WHO) == [(name, name)]
        assert target.refusal("stranger")["C"] == "28000"


VARIABLES = {"session": {"variables": {"app.tenant_id": "{tenant}"}}}


def test_variables_from_claims_are_kept_by_the_guard(
    certified: Callable[..., Target], setting: Setting
) -> None:
    """Whoever has logged in may set a setting: PostgreSQL does not keep those."""
    general = {"default_pool_size": 1}
    target = certified(general=general, jwt=LOGIN | VARIABLES, databases=[primary_alone(setting.cluster)])
    mine = f"{WHO}, current_setting('app.tenant_id')"

    for tenant in ("one", "two", "one"):
        with target.wire("alice", target.issuer.token("alice", tenant=tenant)) as wire:
            assert wire.rows(mine) == [("alice", "alice", tenant)]
            for statement in (
                "SET app.tenant_id = 'three'",
                "SELECT set_config('app.tenant_id', 'three', false)",
            ):
                assert w.error_of(wire.query(statement))["C"] == "42501"
            wire.rows("DISCARD ALL")
            assert wire.rows(mine) == [("alice", "alice", tenant)]
    assert target.refusal("alice", **{"app.tenant_id": "three"})["S"] == "FATAL"


def test_variables_that_a_reload_brings_end_sessions_that_nobody_guards(
    certified: Callable[..., Target], setting: Setting
) -> None:
    target = certified(databases=[primary_alone(setting.cluster)])
    with target.wire("alice") as wire:
        wire.rows("SET app.tenant_id = 'another'")
        target.gateway.write(merged(target.gateway.config, {"jwt": VARIABLES}))
        target.gateway.send(signal.SIGHUP)

        eventually(lambda: is_over(wire), "the end of the session")
    with target.wire("alice", target.issuer.token("alice", tenant="mine")) as wire:
        assert wire.value("SELECT current_setting('app.tenant_id')") == "mine"


def test_a_statement_of_any_size_does_not_grow_the_gateway(
    certified: Callable[..., Target], setting: Setting
) -> None:
    """Nobody has to read it: the subject is held by PostgreSQL."""
    target = certified(general={"pooler_mode": "session"}, databases=[primary_alone(setting.cluster)])
    request = w.extended("SELECT 1 -- " + "x" * (64 << 20))
    most = len(request) - (1 << 20)

    with target.wire("alice") as wire, target.wire("bob") as other:
        assert (wire.value("SELECT 1"), other.value("SELECT 1")) == ("1", "1")
        before = target.gateway.memory()
        wire.send(request[:most])
        assert other.value("SELECT 1") == "1"
        assert target.gateway.memory() - before < 32 << 20
        wire.send(request[most:])
        assert "D" in w.types_of(wire.until_ready())


def is_over(wire: Any) -> bool:
    try:
        wire.rows(WHO)
    except (ServerError, EOFError, OSError):
        return True
    return False


def test_a_role_from_a_claim_is_who_logs_in(certified: Callable[..., Target], setting: Setting) -> None:
    levels = {"permission_level": "level", "permission_levels": ["read_write", "role:bob", "role:boss"]}
    target = certified(jwt=LOGIN | {"claims": levels}, databases=[primary_alone(setting.cluster)])

    with target.wire("alice", target.issuer.token("alice", level=1)) as wire, target.wire("alice") as plain:
        assert wire.rows(WHO) == [("bob", "bob")]
        assert plain.rows(WHO) == [("alice", "alice")]
    assert target.refusal("alice", target.issuer.token("alice", level=2))["C"] == "28000"
