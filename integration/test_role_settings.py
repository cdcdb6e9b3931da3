"""What the owner attached to a role (`ALTER ROLE … SET`, also `IN DATABASE`) applies to its tokens as to its
own logins; and nothing that a role attached to itself past the gateway gets around the guard."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from conftest import MakeGateway
from harness import (
    Cluster,
    Gateway,
    Installation,
    Issuer,
    Workspace,
    chosen_installations,
    default_config,
    eventually,
    merged,
    primary_alone,
)
from harness import wire as w
from harness.cluster import DATABASE, SERVER_USER
from harness.external import is_external
from harness.target import Target
from harness.wire import Wire

ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
PASSWORD = "direct-secret"
OTHER_VERSIONS = [] if is_external() else chosen_installations()[1:]

# For each role, what its owner attached to it: everywhere, and in this database, where that goes before.
ATTACHED: dict[str, tuple[list[str], list[str]]] = {
    "rs_plain": ([], []),
    "rs_common": (
        [
            "work_mem = '5MB'",
            "statement_timeout = '61s'",
            "lock_timeout = 1234",
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Tokyo'",
            "IntervalStyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -3",
            "default_transaction_isolation = 'repeatable read'",
            "application_name = 'by the role'",
            "search_path = scratch, public",
        ],
        [],
    ),
    "rs_here": (
        ["work_mem = '5MB'", "TimeZone = 'UTC'", "app.place = 'everywhere'"],
        ["work_mem = '6MB'", "app.place = 'here'", "lock_timeout = '2s'"],
    ),
    "rs_odd": (
        [
            'search_path = scratch, "B", "a, b", "we""ird", "$user"',
            "app.quotes = 'it''s \"x\"; SET ROLE rs_plain; --'",
            "app.slashes = E'a\\\\b\\\\'",
            "app.letters = 'Zoë 名前'",
            "app.lines = E'one\\ntwo'",
            "app.empty = ''",
            "\"App.Upper\" = 'U'",
            "temp_tablespaces = ''",
        ],
        ["app.list = 'a=b, c=d'"],
    ),
    "rs_void": (["search_path = ''"], []),
    "rs_latin": (["client_encoding = 'LATIN1'", "app.letters = 'Zoë'"], []),
    'rs "o\'brien"': (["work_mem = '7MB'"], []),
}
COMPARED = [
    "work_mem",
    "statement_timeout",
    "lock_timeout",
    "datestyle",
    "timezone",
    "intervalstyle",
    "bytea_output",
    "extra_float_digits",
    "default_transaction_isolation",
    "transaction_isolation",
    "application_name",
    "search_path",
    "temp_tablespaces",
    "client_encoding",
    "app.place",
    "app.quotes",
    "app.slashes",
    "app.letters",
    "app.lines",
    "app.empty",
    "app.upper",
    "app.list",
]
# Of a server's greeting; the others speak of the login.
TOLD = ["DateStyle", "TimeZone", "IntervalStyle", "client_encoding", "application_name", "search_path"]
OTHERS = ["rs_sly", "rs_held", "rs_changing", "rs_reader", "rs_many"]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def attach(admin: psycopg.Connection, role: str, *settings: str, here: bool = False) -> None:
    place = f"IN DATABASE {DATABASE} " if here else ""
    for setting in settings:
        admin.execute(f"ALTER ROLE {quoted(role)} {place}SET {setting}")


def make_roles(cluster: Any, names: list[str]) -> None:
    with cluster.admin() as admin:
        for name in names:
            admin.execute(f"CREATE ROLE {quoted(name)} LOGIN PASSWORD '{PASSWORD}'")
            admin.execute(f"GRANT subjects TO {quoted(name)}; GRANT {quoted(name)} TO {SERVER_USER}")
        for name, (everywhere, here) in ATTACHED.items():
            attach(admin, name, *everywhere)
            attach(admin, name, *here, here=True)


@pytest.fixture(scope="module", autouse=True)
def roles(cluster: Any) -> Iterator[None]:
    names = [*ATTACHED, *OTHERS]
    make_roles(cluster, names)
    cluster.wait_for_replay()
    yield
    with cluster.admin() as admin:
        for name in names:
            admin.execute(f"DROP OWNED BY {quoted(name)}; DROP ROLE {quoted(name)}")


@pytest.fixture(
    scope="module",
    params=["own transaction", "own session", "shared transaction", "shared session", "shared statement"],
)
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Cluster) -> Target:
    pool, mode = request.param.split()
    # In session mode a client that stays keeps its server.
    size = 3 if request.param == "shared session" else 1
    return make_module_gateway(
        general={"default_pool_size": size, "pooler_mode": mode},
        jwt={"shared_pool": pool == "shared", "role_settings_ttl": 0},
        databases=[primary_alone(cluster)],
        admin=ADMIN,
    )


@pytest.fixture
def lasting(make_gateway: MakeGateway, cluster: Cluster) -> Target:
    """A gateway that does not ask again for as long as a test takes."""
    return make_gateway(
        general={"default_pool_size": 1},
        jwt={"shared_pool": True, "role_settings_ttl": 3600},
        databases=[primary_alone(cluster)],
        admin=ADMIN,
    )


def directly(cluster: Cluster, role: str, **parameters: str) -> Wire:
    """The role itself, with its password, past the gateway."""
    wire = Wire(cluster.primary.host, cluster.primary.port)
    wire.login(role, DATABASE, PASSWORD, **parameters)
    return wire


def shown(wire: Wire) -> dict[str, str | None]:
    encoding = "latin-1" if wire.parameters["client_encoding"] == "LATIN1" else "utf-8"
    values: dict[str, str | None] = {}
    for name in COMPARED:
        messages = wire.query(f"SELECT coalesce(current_setting('{name}', true), '')")
        (row,) = [message for message in messages if message.type == "D"]
        values[name] = row.body[6:].decode(encoding)
    # The gateway's servers have its name where nobody gave one.
    if values["application_name"] in ("", "pgdog-jwt"):
        del values["application_name"]
    return values


def told(wire: Wire) -> dict[str, str]:
    return {name: value for name, value in wire.parameters.items() if name in TOLD}


@pytest.mark.parametrize("role", ATTACHED)
def test_a_token_has_what_a_login_of_the_role_has(target: Target, cluster: Cluster, role: str) -> None:
    with directly(cluster, role) as direct, target.wire(role) as wire:
        for _ in range(2):
            assert shown(wire) == shown(direct)
        assert told(wire) == told(direct)
        assert wire.value("SELECT current_user") == role


@pytest.mark.parametrize(
    "parameters",
    [
        {"search_path": "public"},
        {"options": "-c datestyle=ISO -c work_mem=9MB -c app.place=mine"},
        {"application_name": "mine", "TimeZone": "Europe/Paris"},
        {"client_encoding": "UTF8"},
    ],
)
@pytest.mark.parametrize("role", ["rs_common", "rs_here", "rs_latin"])
def test_what_the_client_asks_for_goes_before(
    target: Target, cluster: Cluster, role: str, parameters: dict[str, str]
) -> None:
    with directly(cluster, role, **parameters) as direct, target.wire(role, **parameters) as wire:
        assert shown(wire) == shown(direct)
        assert told(wire) == told(direct)


def test_psql_shows_the_same(target: Target, cluster: Cluster) -> None:
    commands = [f"--command=SHOW {name}" for name in [*COMPARED[:10], "search_path"]]
    itself = Target(cluster.primary.host, cluster.primary.port, target.issuer)
    for role in ("rs_common", "rs_here", "rs_odd"):
        through = target.psql(role, *commands)
        direct = itself.psql(role, *commands, password=PASSWORD)
        assert (through.returncode, through.stdout) == (0, direct.stdout), through.stderr


@pytest.mark.parametrize("reset", ["RESET work_mem", "SET work_mem TO DEFAULT", "RESET ALL", "DISCARD ALL"])
def test_reset_leads_back_to_it(target: Target, reset: str) -> None:
    with target.wire("rs_common", datestyle="ISO") as wire:
        wire.query("SET work_mem = '1MB'")
        wire.query("SET app.other = 'x'")
        wire.query(reset)

        assert wire.value("SHOW work_mem") == "5MB"
        assert wire.value("SHOW timezone") == "Asia/Tokyo"
        assert wire.value("SHOW datestyle").startswith("ISO")


def test_a_setting_of_the_session_goes_before_and_stays(target: Target) -> None:
    with target.wire("rs_common") as wire, contextlib.ExitStack() as stack:
        wire.query("SET work_mem = '1MB'")
        if target.gateway.config["general"]["pooler_mode"] != "session":
            other = stack.enter_context(target.wire("rs_common"))
            assert other.value("SHOW work_mem") == "5MB"
        assert wire.value("SHOW work_mem") == "1MB"
        assert wire.value("SHOW lock_timeout") == "1234ms"


def test_roles_take_turns_on_one_server_and_find_their_own(target: Target, cluster: Cluster) -> None:
    if target.gateway.config["general"]["pooler_mode"] == "session":
        pytest.skip("a session keeps its server")
    expected = {}
    for role in ATTACHED:
        with directly(cluster, role) as direct:
            expected[role] = shown(direct)
    wires = {role: target.wire(role) for role in [*ATTACHED, *reversed(ATTACHED)]}
    for _ in range(2):
        for role, wire in wires.items():
            assert shown(wire) == expected[role], role
    for wire in wires.values():
        wire.close()


def test_many_clients_of_different_roles_find_their_own_at_the_same_time(
    target: Target, cluster: Cluster
) -> None:
    names = ["rs_plain", "rs_common", "rs_here", "rs_odd"]
    expected = {}
    for role in names:
        with directly(cluster, role) as direct:
            expected[role] = shown(direct)

    def work(number: int) -> None:
        role = names[number % len(names)]
        for _ in range(3):
            with target.wire(role) as wire:
                assert shown(wire) == expected[role]
                wire.query(f"SET work_mem = '{number + 100}kB'")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


SLY = [
    "role = 'bob'",
    "session_authorization = 'bob'",
    "standard_conforming_strings = off",
    "client_encoding = 'SJIS'",
    "transaction_read_only = on",
    "seed = 0.5",
    "work_mem = '6MB'",
]


def test_nothing_that_a_role_attached_to_itself_gets_around_the_guard(
    target: Target, cluster: Cluster
) -> None:
    with cluster.admin() as admin:
        admin.execute("SET client_min_messages = error")
        attach(admin, "rs_sly", *SLY)
        attach(admin, "rs_sly", "role = 'carol'", here=True)
    for _ in range(2):
        with target.wire("rs_sly") as wire:
            assert wire.value("SELECT current_user") == "rs_sly"
            assert wire.value("SELECT session_user") == SERVER_USER
            assert wire.value("SHOW standard_conforming_strings") == "on"
            assert wire.value("SHOW client_encoding") == "UTF8"
            assert wire.value("SHOW transaction_read_only") == "off"
            assert wire.value("SHOW work_mem") == "6MB"
            wire.query("RESET ALL")
            wire.query("DISCARD ALL")
            assert wire.value("SELECT current_user") == "rs_sly"
            assert wire.value("SHOW standard_conforming_strings") == "on"
        with target.wire("bob") as wire:
            assert wire.value("SELECT current_user") == "bob"
            assert wire.value("SHOW work_mem") == "4MB"


# What the role could not SET itself, what PostgreSQL refuses by now, and what it takes at a login alone.
HELD = [
    "log_statement = 'none'",
    "session_replication_role = replica",
    "default_text_search_config = 'scratch.gone'",
    "default_tablespace = 'nowhere'",
    "lock_timeout = '3s'",
]


def test_what_cannot_be_set_does_not_end_the_login(target: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("SET client_min_messages = error")
        attach(admin, "rs_held", *HELD)
    target.gateway.mark()
    with directly(cluster, "rs_held") as direct:
        expected = direct.value("SHOW default_text_search_config")
    for _ in range(2):
        with target.wire("rs_held") as wire:
            assert wire.value("SELECT current_user") == "rs_held"
            assert wire.value("SHOW lock_timeout") == "3s"
            assert wire.value("SHOW session_replication_role") == "origin"
            assert wire.value("SHOW default_text_search_config") == expected
            assert wire.value("SHOW default_tablespace") == ""


def test_each_that_is_left_out_is_logged_once(lasting: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("SET client_min_messages = error")
        attach(admin, "rs_held", *HELD, "app.secret = 'never in a log'", "role = 'bob'")
    lasting.gateway.mark()
    for _ in range(3):
        lasting.wire("rs_held").close()
        said = [entry for entry in lasting.gateway.log() if entry.get("event") == "role_setting"]
    names = sorted(entry["setting"] for entry in said)
    assert names == [
        "default_tablespace",
        "default_text_search_config",
        "log_statement",
        "role",
        "session_replication_role",
    ]
    assert {entry["role"] for entry in said} == {"rs_held"}
    assert "never in a log" not in lasting.gateway.log_file.read_text()
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_held RESET ALL")


def test_a_value_that_is_refused_is_a_warning_as_with_postgresql(lasting: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("SET client_min_messages = error")
        attach(admin, "rs_held", *HELD)
    with directly(cluster, "rs_held"):
        pass
    wire = Wire(cluster.primary.host, cluster.primary.port)
    greeting = wire.login("rs_held", DATABASE, PASSWORD)
    wire.close()
    for _ in range(2):
        through = lasting.open()
        heard = through.login("rs_held", DATABASE, lasting.credential("rs_held", None))
        through.close()
        assert warnings(heard) == warnings(greeting) != []


def warnings(greeting: list[w.Message]) -> list[tuple[str, str, str]]:
    notices = [each.fields for each in greeting if each.type == "N"]
    return sorted((fields["V"], fields["C"], fields["M"]) for fields in notices)


def test_what_was_granted_can_be_set(target: Target, cluster: Cluster) -> None:
    if cluster.installation.major < 15:
        pytest.skip("GRANT SET ON PARAMETER came with PostgreSQL 15")
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        attach(admin, "rs_changing", "log_min_duration_statement = '1h'")
        for grant, expected in (("", "-1"), ("GRANT SET ON PARAMETER {} TO rs_changing", "1h")):
            if grant:
                admin.execute(grant.format("log_min_duration_statement"))
            with target.wire("rs_changing") as wire:
                assert wire.value("SHOW log_min_duration_statement") == expected
        admin.execute("REVOKE SET ON PARAMETER log_min_duration_statement FROM rs_changing")


def test_an_owner_may_attach_more_than_there_is_room_for(target: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        attach(admin, "rs_many", "work_mem = '6MB'")
        values = ", ".join(f"'app.x{number}={'x' * 500}'" for number in range(300))
        admin.execute(
            f"UPDATE pg_db_role_setting SET setconfig = setconfig || ARRAY[{values}] "
            "WHERE setrole = 'rs_many'::regrole"
        )
    with target.wire("rs_many") as wire:
        assert wire.value("SHOW work_mem") == "6MB"
        assert wire.value("SHOW app.x0") == "x" * 500


def test_those_that_only_read_cannot_be_made_to_write(make_gateway: MakeGateway, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        attach(admin, "rs_reader", "default_transaction_read_only = off", "work_mem = '6MB'")
        attach(admin, "rs_common", "default_transaction_read_only = on")
    cluster.wait_for_replay()
    account = {"server_user": SERVER_USER, "server_password": "gateway-secret"}
    users = [{"name": "rs_reader", "database": DATABASE, "read_only": True, **account}]
    target = make_gateway(users=users, jwt={"role_settings_ttl": 0})
    try:
        with target.wire("rs_reader") as wire:
            assert wire.rows("SELECT served_by(), current_user") == [("replica", "rs_reader")]
            assert wire.value("SHOW default_transaction_read_only") == "on"
            assert wire.value("SHOW work_mem") == "6MB"
        # Others take it as it is meant.
        with target.wire("rs_common") as wire:
            assert w.error_of(wire.query("INSERT INTO notes (body) VALUES ('x')"))["C"] == "25006"
    finally:
        with cluster.admin() as admin:
            admin.execute("ALTER ROLE rs_common RESET default_transaction_read_only")


@pytest.mark.parametrize("command", ["RELOAD", "RECONNECT", "RECONNECT demo"])
def test_a_change_is_seen_at_once_after_a_command(lasting: Target, cluster: Cluster, command: str) -> None:
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        assert work_mem(lasting) == "4MB"
        attach(admin, "rs_changing", "work_mem = '6MB'")
        assert work_mem(lasting) == "4MB"

        administer(lasting, command)
        assert work_mem(lasting) == "6MB"

        admin.execute("ALTER ROLE rs_changing RESET ALL")
        administer(lasting, command)
        assert work_mem(lasting) == "4MB"


def test_a_change_is_seen_after_a_while(make_gateway: MakeGateway, cluster: Cluster) -> None:
    target = make_gateway(jwt={"role_settings_ttl": 1}, databases=[primary_alone(cluster)])
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        assert work_mem(target) == "4MB"
        attach(admin, "rs_changing", "work_mem = '6MB'")
    eventually(lambda: work_mem(target) == "6MB", "the new value")


def test_a_session_keeps_what_it_came_with(target: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        attach(admin, "rs_changing", "work_mem = '6MB'")
        with target.wire("rs_changing") as wire:
            attach(admin, "rs_changing", "work_mem = '7MB'")
            wire.query("RESET ALL")
            assert wire.value("SHOW work_mem") == "6MB"
        assert work_mem(target) == "7MB"


def test_what_was_dropped_since_does_not_end_the_session(target: Target, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        admin.execute("CREATE TEXT SEARCH CONFIGURATION scratch.soon_gone (COPY = simple)")
        attach(admin, "rs_changing", "default_text_search_config = 'scratch.soon_gone'", "work_mem = '6MB'")
        with target.wire("rs_changing") as wire:
            assert wire.value("SHOW default_text_search_config") == "scratch.soon_gone"
            admin.execute("DROP TEXT SEARCH CONFIGURATION scratch.soon_gone")
            if target.gateway.config["general"]["pooler_mode"] != "session":
                with target.wire("rs_plain") as other:
                    assert other.value("SHOW work_mem") == "4MB"
            administer(target, "RECONNECT")
            for _ in range(2):
                assert wire.value("SHOW work_mem") == "6MB"


def test_a_full_pool_does_not_keep_known_roles_out(make_gateway: MakeGateway, cluster: Cluster) -> None:
    target = make_gateway(
        general={"default_pool_size": 1},
        jwt={"shared_pool": True, "role_settings_ttl": 1},
        databases=[primary_alone(cluster)],
    )
    with target.wire("rs_common") as holder:
        holder.query("BEGIN")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            with target.wire("rs_common") as other:
                assert other.parameters["TimeZone"] == "Asia/Tokyo"
        holder.query("COMMIT")


def test_users_with_a_password_log_in_as_ever(make_gateway: MakeGateway, cluster: Cluster) -> None:
    users = [{"name": "rs_common", "database": DATABASE, "password": PASSWORD}]
    target = make_gateway(users=users, databases=[primary_alone(cluster)])
    with target.wire("rs_common", PASSWORD) as wire, directly(cluster, "rs_common") as direct:
        assert wire.value("SHOW work_mem") == "5MB"
        assert told(wire)["TimeZone"] == told(direct)["TimeZone"]


def work_mem(target: Target) -> str | None:
    with target.wire("rs_changing") as wire:
        return wire.value("SHOW work_mem")


def administer(target: Target, command: str) -> None:
    with target.connect("admin", "admin-secret", dbname="admin") as connection:
        connection.execute(command)


def test_serializable_transactions_are_for_the_primary(make_gateway: MakeGateway, cluster: Cluster) -> None:
    """A replica cannot serve them, whoever asked for them: the role or the client."""
    target = make_gateway(general={"default_pool_size": 1}, jwt={"shared_pool": True, "role_settings_ttl": 0})
    level = "default_transaction_isolation = 'serializable'"
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE rs_changing RESET ALL")
        attach(admin, "rs_changing", level)
    with target.wire("rs_plain") as other:
        with target.wire("rs_changing") as wire:
            for _ in range(3):
                assert wire.rows("SELECT served_by(), current_user") == [("primary", "rs_changing")]
                assert wire.value("SHOW transaction_isolation") == "serializable"
                assert other.value("SELECT current_user") == "rs_plain"
        with target.wire("rs_here") as wire:
            wire.query(f"SET {level}")
            assert wire.value("SELECT served_by()") == "primary"
            for _ in range(3):
                answer = wire.query("/* pgdog_role: replica */ SELECT 1")
                assert w.error_of(answer)["C"] == "0A000"
                query = "/* pgdog_role: replica */ SELECT served_by(), current_user"
                assert other.rows(query) == [("replica", "rs_plain")]


@pytest.mark.skipif(not OTHER_VERSIONS, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", OTHER_VERSIONS, ids=lambda one: f"PostgreSQL {one.version}")
def test_the_same_with_other_versions(installation: Installation, issuer: Issuer) -> None:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=False)
        make_roles(cluster, [*ATTACHED, "rs_held"])
        with cluster.admin() as admin:
            admin.execute("SET client_min_messages = error")
            attach(admin, "rs_held", *HELD)
        config = merged(default_config(cluster, issuer), {"jwt": {"shared_pool": True}})
        target = Target.of(Gateway(workspace, config).start(), issuer)
        for role in ATTACHED:
            with directly(cluster, role) as direct, target.wire(role) as wire:
                assert shown(wire) == shown(direct)
                assert told(wire) == told(direct)
        with target.wire("rs_held") as wire:
            assert wire.value("SHOW lock_timeout") == "3s"
            assert wire.value("SHOW session_replication_role") == "origin"
