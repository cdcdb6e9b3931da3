"""What went wrong in the systems before this one and has no other place among the tests.

docs/predecessors.md says of every such failure, and of everything that those systems were tested for, which
test shows it here: the last tests of this file keep that page honest.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Column, MetaData, Table, create_engine, select
from sqlalchemy.exc import ProgrammingError

from harness import Issuer, eventually, primary_alone
from harness.certificates import self_signed
from harness.jwks_server import Behaviour
from harness.target import Target

MakeGateway = Callable[..., Target]

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "predecessors.md"
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}


@pytest.fixture
def account(cluster: Any) -> Iterator[str]:
    """An account of one test's gateway alone, so that its server connections can be counted."""
    with cluster.admin() as admin:
        admin.execute(
            "CREATE ROLE counted LOGIN NOINHERIT PASSWORD 'counted-secret'; GRANT alice, bob TO counted"
        )
    yield "counted"
    with cluster.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'counted'")
        admin.execute("DROP ROLE counted")


def test_who_is_not_let_in_costs_no_server_connection_and_no_pool(
    make_gateway: MakeGateway, cluster: Any, account: str
) -> None:
    general = {"jwt_server_user": account, "jwt_server_password": "counted-secret"}
    target = make_gateway(admin=ADMIN, databases=[primary_alone(cluster)], general=general, users=[])

    def connections() -> int:
        with cluster.admin() as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
            return int(admin.execute(query, [account]).fetchone()[0])

    waiting = [target.open() for _ in range(5)]
    for wire in waiting:
        wire.startup(user="alice", database="demo")
        assert wire.receive().type == "R"
    for number in range(30):
        assert target.refusal(f"user_{number}", "not a token")["C"] == "28000"
        assert target.refusal("alice", target.issuer.token("alice", aud="elsewhere"))["C"] == "28000"
    assert connections() == 0
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        assert admin.execute("SHOW POOLS").fetchall() == []
    for wire in waiting:
        wire.close()

    with target.wire("alice") as wire:
        assert wire.value("SELECT current_user") == "alice"
        assert connections() == 1


def test_a_gateway_without_free_files_waits_and_goes_on(make_gateway: MakeGateway) -> None:
    """Connections that it cannot accept stay in the system's queue; it does not end."""
    launcher = shutil.which("prlimit")
    if launcher is None:
        pytest.skip("no prlimit on this machine")
    target = make_gateway(start=False)
    target.gateway.start(launcher, "--nofile=60:60")

    clients = [socket.create_connection((target.host, target.port)) for _ in range(100)]
    try:
        events = target.gateway.log
        full = ("accept", "unauthenticated_clients")
        eventually(lambda: any(one.get("event") in full for one in events()), "the end of free files")
        assert not target.gateway.exited
    finally:
        for client in clients:
            client.close()

    def served() -> bool:
        try:
            with target.wire("alice") as wire:
                return wire.value("SELECT current_user") == "alice"
        except (OSError, EOFError):
            return False

    eventually(served, "a client that is served", 30)


@pytest.mark.parametrize("method", ["plain", "md5", "scram"])
def test_long_passwords_are_read_and_sent_whole(make_gateway: MakeGateway, cluster: Any, method: str) -> None:
    """Some that people get from cloud providers have thousands of characters."""
    # PostgreSQL 13 reads messages of up to 1000 bytes here.
    long, longer = "p" * 3_000, "q" * (12_000 if cluster.installation.major >= 14 else 900)
    account = {"server_user": "gateway_plain", "server_password": longer}
    target = make_gateway(
        jwt={"password_auth_type": method},
        databases=[primary_alone(cluster)],
        users=[SERVICE | account | {"password": long}],
    )
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE gateway_plain PASSWORD '{longer}'")
    try:
        with target.connect("service", long) as client:
            assert client.execute("SELECT session_user").fetchone() == ("gateway_plain",)
        with pytest.raises(psycopg.OperationalError):
            target.connect("service", long[:-1])
    finally:
        with cluster.admin() as admin:
            admin.execute("ALTER ROLE gateway_plain PASSWORD 'gateway-secret'")


def test_a_client_is_not_told_where_the_servers_are(make_gateway: MakeGateway) -> None:
    nowhere = {"name": "demo", "host": "127.0.0.1", "port": 1, "role": "primary"}
    target = make_gateway(databases=[nowhere], general={"connect_timeout": 500, "checkout_timeout": 1_000})

    fields = str(target.refusal("alice"))

    assert "127.0.0.1" not in fields
    assert "refused" not in fields.lower()
    eventually(lambda: "127.0.0.1:1" in target.gateway.log_text(), "the address in the log")


@pytest.mark.parametrize(
    "metadata",
    [
        {"x = 'y'; CREATE TABLE scratch.injected (); --": "z"},
        {"x'; CREATE TABLE scratch.injected (); --": "z"},
        {'x" = 1; CREATE TABLE scratch.injected (); --': "z"},
        {"region": "'; CREATE TABLE scratch.injected (); --"},
        {"region": "\\'; CREATE TABLE scratch.injected (); --"},
        {"region": "$$; CREATE TABLE scratch.injected (); --"},
    ],
    ids=str,
)
def test_no_word_of_a_token_is_sql(make_gateway: MakeGateway, cluster: Any, metadata: dict[str, str]) -> None:
    target = make_gateway(jwt={"session": {"preset": "orochi"}}, databases=[primary_alone(cluster)])
    claims = {"tenant_id": "acme", "metadata": metadata}

    token = target.issuer.token("alice", **claims)
    if "region" in metadata:
        with target.wire("alice", token) as wire:
            rows = wire.rows(
                "SELECT current_setting('orochi.metadata.region'), current_setting('orochi.tenant_id')"
            )
            assert rows == [(metadata["region"], "acme")]
    else:
        assert target.refusal("alice", token)["C"] == "28000"
    with cluster.admin() as admin:
        assert admin.execute("SELECT to_regclass('scratch.injected')").fetchone() == (None,)


def test_values_of_variables_stay_out_of_the_log(make_gateway: MakeGateway) -> None:
    variables = {"app.salary": "{salary}"}
    target = make_gateway(general={"log_level": "debug"}, jwt={"session": {"variables": variables}})
    with target.wire("alice", target.issuer.token("alice", salary="a-figure-for-nobody")) as wire:
        assert wire.value("SELECT current_setting('app.salary')") == "a-figure-for-nobody"
    target.gateway.last_login(user="alice")

    assert "a-figure-for-nobody" not in target.gateway.log_text()


def test_new_subjects_ask_for_no_new_keys(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    """Their pools are made while the issuer is away, and nobody who was there before notices."""
    target = make_gateway(issuer=own_issuer)
    assert own_issuer.server
    with target.wire("alice") as first:
        fetches = own_issuer.server.fetches
        own_issuer.server.behaviour = Behaviour.HANG
        for name in ("bob", "carol", "alice@example.com"):
            with target.wire(name) as wire:
                assert wire.value("SELECT current_user") == name
        assert first.value("SELECT current_user") == "alice"
        with target.wire("alice") as again:
            assert again.value("SELECT current_user") == "alice"
    assert own_issuer.server.fetches == fetches


@pytest.fixture
def encrypted(make_gateway: MakeGateway, cluster: Any, tmp_path: Path) -> Target:
    pair = self_signed("127.0.0.1")
    (tmp_path / "gateway.crt").write_bytes(pair.certificate)
    (tmp_path / "gateway.key").write_bytes(pair.key)
    files = {
        "tls_certificate": str(tmp_path / "gateway.crt"),
        "tls_private_key": str(tmp_path / "gateway.key"),
    }
    account = {"server_user": "gateway_tls", "server_password": "gateway-secret"}
    verified = (
        {"tls_verify": "verify_full", "tls_server_ca_certificate": str(cluster.primary.authority)}
        if cluster.primary.tls
        else {}
    )
    users = [SERVICE | account] if cluster.primary.tls else [SERVICE]
    return make_gateway(
        general=files | verified,
        jwt={"password_auth_type": "scram"},
        databases=[primary_alone(cluster)],
        users=users,
    )


def handshake(target: Target, **limits: Any) -> str | None:
    """The protocol's version that both sides agree on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(limits.pop("ciphers", "DEFAULT:@SECLEVEL=0"))
    for name, value in limits.items():
        setattr(context, name, value)
    with socket.create_connection((target.host, target.port), 10) as raw:
        raw.sendall(bytes.fromhex("0000000804d2162f"))
        assert raw.recv(1) == b"S"
        with context.wrap_socket(raw) as tls:
            return tls.version()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_and_weak_ciphers_of_tls_are_refused(encrypted: Target) -> None:
    modern = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    assert handshake(encrypted) == "TLSv1.3"
    assert handshake(encrypted, **modern) == "TLSv1.2"
    old = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}
    weak = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:AES128-SHA:@SECLEVEL=0"
    for limits in (old, modern | {"ciphers": weak}):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(encrypted, **limits)


def test_scram_works_with_tls_on_both_sides(encrypted: Target) -> None:
    with encrypted.connect("service", "service-secret", sslmode="require") as client:
        assert client.pgconn.ssl_in_use
        row = client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        server = encrypted.gateway.config["general"]
        assert row == ("tls_server_ca_certificate" in server,)


def test_databases_have_pools_of_their_own(make_gateway: MakeGateway, cluster: Any) -> None:
    one = primary_alone(cluster)
    other = one | {"name": "other", "database_name": "postgres"}
    target = make_gateway(databases=[one, other], general={"default_pool_size": 1, "checkout_timeout": 5_000})
    with target.wire("alice") as busy, target.wire("alice", database="other") as free:
        busy.query("BEGIN")
        assert busy.value("SELECT current_database()") == "demo"
        assert free.value("SELECT current_database()") == "postgres"


VARIABLES = ("sub", "role", "email")


def test_claims_have_the_names_that_postgrest_gives_them(make_gateway: MakeGateway, cluster: Any) -> None:
    nested = {"app.tenant_id": "{app_metadata.tenant_id}"}
    target = make_gateway(
        jwt={"session": {"preset": "postgrest", "variables": nested}}, databases=[primary_alone(cluster)]
    )
    claims = {"role": "authenticated", "email": "a@b.example", "app_metadata": {"tenant_id": "acme"}}

    with target.wire("alice", target.issuer.token("alice", **claims)) as wire:
        whole = json.loads(wire.value("SELECT current_setting('request.jwt.claims')") or "")
        assert claims.items() <= whole.items()
        for name in VARIABLES:
            assert wire.value(f"SELECT current_setting('request.jwt.claim.{name}')") == whole[name]
        assert wire.value("SELECT current_setting('app.tenant_id')") == "acme"


TENANT = "current_setting('app.current_tenant_id')"


@pytest.fixture
def items(cluster: Any) -> Iterator[None]:
    """Rows that carry the name of their tenant, as pgvpd's examples have them."""
    with cluster.admin() as admin:
        admin.execute(
            f"""
            CREATE ROLE app_user LOGIN PASSWORD 'app-secret';
            GRANT subjects TO app_user;
            CREATE TABLE scratch.moved (id serial, tenant_id text DEFAULT {TENANT}, body text);
            ALTER TABLE scratch.moved ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON scratch.moved USING (tenant_id = {TENANT});
            GRANT ALL ON scratch.moved, scratch.moved_id_seq TO subjects;
            INSERT INTO scratch.moved (tenant_id, body) VALUES ('a', 'of a'), ('b', 'of b');
            """
        )
    yield
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.moved; DROP ROLE app_user")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_an_application_that_names_its_tenant_in_the_user(
    make_gateway: MakeGateway, cluster: Any, items: None, mode: str
) -> None:
    """By SQLAlchemy's pool, which keeps connections and prepares statements."""
    entry = {"name": "app_user", "database": "demo", "password": "app-secret", "tenants": ["a", "b"]}
    target = make_gateway(
        general={"default_pool_size": 1 if mode == "transaction" else 4, "pooler_mode": mode},
        databases=[primary_alone(cluster)],
        tenants={"variables": ["app.current_tenant_id"]},
        users=[entry],
    )
    address = {"host": target.host, "port": target.port, "database": "demo", "password": "app-secret"}
    moved = Table("moved", MetaData(), Column("tenant_id"), Column("body"), schema="scratch")
    engines = {
        name: create_engine(URL.create("postgresql+psycopg", username=f"app_user.{name}", **address))
        for name in ("a", "b")
    }
    try:
        for name, engine in engines.items():
            other = "b" if name == "a" else "a"
            with engine.begin() as session:
                assert session.scalars(select(moved.c.body)).all() == [f"of {name}"]
                assert session.scalars(select(moved.c.body).where(moved.c.tenant_id == other)).all() == []
                session.execute(moved.insert().values(body="new"))
                assert session.scalars(select(moved.c.body)).all() == [f"of {name}", "new"]
            with engine.connect() as session, pytest.raises(ProgrammingError):
                session.execute(moved.insert().values(tenant_id=other, body="stolen"))
        for name, engine in engines.items():
            with engine.connect() as session:
                owners = session.scalars(select(moved.c.tenant_id).distinct()).all()
                assert owners == [name]
    finally:
        for engine in engines.values():
            engine.dispose()


# The page.


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:03}" for number in range(1, count + 1)]


def counted(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


PLAN = [
    *(numbered("JWT", 12) + numbered("CACHE", 7) + numbered("SESS", 8)),
    *("ERR-003", "ERR-006"),
    *(numbered("CONN", 10) + numbered("MT", 6) + numbered("SEC", 6)),
    "SQLI-002",
    *(numbered("TLS", 7) + numbered("AUTH", 6) + numbered("POOL", 10)),
    *("RW-003", "RW-004", "RW-005"),
]
SUITES = {"1": 5, "2": 4, "3": 4, "4": 4, "5": 5, "6": 11, "7": 7, "7P": 3, "8": 4}
SECTIONS = {
    "PgDog pull request 1084: its tests": counted(12),
    "PgDog pull request 1084: what went wrong": counted(14),
    "pgvpd: its scenarios": [f"{suite}.{case}" for suite, cases in SUITES.items() for case in counted(cases)],
    "pgvpd: what went wrong": counted(25),
    "PgDog JWT Gateway: its test plan": PLAN,
    "PgDog JWT Gateway: what went wrong": counted(24),
    "gprxy: what went wrong": counted(22),
}
NAMED = re.compile(r"`([\w./-]+\.(?:py|rs))::(\w+)`")


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without the two lines that head it."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert section, heading
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize(("heading", "numbers"), SECTIONS.items(), ids=SECTIONS.keys())
def test_the_page_answers_every_line(heading: str, numbers: list[str]) -> None:
    table = rows(heading)

    assert [row[0] for row in table] == numbers
    for number, said, answer in table:
        assert said, number
        assert NAMED.search(answer) or answer.startswith("does not apply: "), f"{heading}, {number}"


def test_every_test_that_the_page_names_exists() -> None:
    named = set(NAMED.findall(PAGE.read_text()))
    assert len(named) > 150
    missing = [f"{file}::{test}" for file, test in sorted(named) if test not in names_in(file)]
    assert missing == []


def names_in(file: str) -> set[str]:
    """The names of the tests in a file."""
    if file.endswith(".py"):
        path, test = REPOSITORY / "integration" / file, r"^def (test_\w+)\("
    else:
        path, test = (
            REPOSITORY / file,
            r"^ *#\[(?:tokio::)?test\b[^\n]*\n(?: *#\[[^\n]*\n)* *(?:async )?fn (\w+)\(",
        )
    return set(re.findall(test, path.read_text(), re.M)) if path.is_file() else set()
