"""`mode = "service_account"`: a token's roles lead to an account of PostgreSQL, and queries run as it."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.rows import dict_row

from harness import (
    Cluster,
    Gateway,
    Installation,
    Issuer,
    Workspace,
    chosen_installations,
    default_config,
    merged,
)
from harness import wire as w
from harness.accounts import (
    BOSS,
    BYPASS,
    PID,
    READER,
    READER_PASSWORD,
    READERS,
    TRACES,
    WHO,
    WRITER,
    WRITER_PASSWORD,
    WRITERS,
    account_tables,
    create_accounts,
    enter,
    refused,
    token,
)
from harness.external import is_external
from harness.target import Target

MakeGateway = Callable[..., Target]
OTHERS = [] if is_external() else chosen_installations()[1:]


# Queries run as the account


def test_a_query_runs_as_the_account_of_its_role_and_as_nobody_else(account_gateway: Target) -> None:
    with enter(account_gateway, "ann@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"
        assert wire.value("SELECT body FROM newsletter") == "hello"
        assert w.error_of(wire.query("SELECT * FROM payroll"))["C"] == "42501"
    with enter(account_gateway, "wes@example.com", "writer") as wire:
        assert wire.value(WHO) == f"{WRITER},{WRITER}"
        assert wire.value("SELECT who FROM payroll") == "ceo"


def test_what_the_client_is_told_of_itself_is_the_account(account_gateway: Target) -> None:
    with enter(account_gateway, "ann@example.com", "reader") as wire:
        assert wire.parameters["session_authorization"] == READER
        assert wire.parameters["is_superuser"] == "off"


def test_start_up_parameters_hold_where_queries_run(account_gateway: Target) -> None:
    ann = token(account_gateway, "ann@example.com", "reader")
    with account_gateway.wire(
        "ann@example.com", ann, application_name="myapp", search_path="pg_catalog"
    ) as wire:
        assert wire.value("SHOW application_name") == "myapp"
        assert wire.value("SHOW search_path") == "pg_catalog"


def test_the_extended_protocol_pipelines_and_copy_work(account_gateway: Target) -> None:
    with enter(account_gateway, "wes@example.com", "writer") as wire:
        wire.send(w.extended(WHO), w.extended("SELECT $1::int + 1", ["41"]))
        answers = wire.until_ready() + wire.until_ready()
        rows = [each.row[0] for each in answers if each.type == "D"]
        assert rows == [f"{WRITER},{WRITER}", "42"]

        wire.send(w.query("COPY payroll FROM STDIN"))
        assert wire.receive().type == "G"
        wire.send(w.copy_data(b"clerk\t7\n"), w.COPY_DONE)
        assert w.types_of(wire.until_ready()) == "CZ"
        answer = wire.query("COPY (SELECT amount FROM payroll WHERE who = 'clerk') TO STDOUT")
        assert [each.body for each in answer if each.type == "d"] == [b"7\n"]
        wire.rows("DELETE FROM payroll WHERE who = 'clerk'")
    with enter(account_gateway, "ann@example.com", "reader") as wire:
        wire.send(w.extended("SELECT * FROM payroll"))
        assert w.error_of(wire.until_ready())["C"] == "42501"
        assert w.error_of(wire.query("COPY payroll TO STDOUT"))["C"] == "42501"


def test_a_password_of_the_database_is_no_way_in(account_gateway: Target) -> None:
    for user, password in (
        (WRITER, WRITER_PASSWORD),
        (READER, READER_PASSWORD),
        ("reports", "reports-secret"),
    ):
        assert account_gateway.refusal(user, password)["C"] == "28000"


def test_a_user_with_a_password_of_its_own_stays_itself(account_gateway: Target) -> None:
    with account_gateway.wire("service", "service-secret") as wire:
        assert wire.value(WHO) == "service,service"
        assert w.error_of(wire.query("SELECT * FROM payroll"))["C"] == "42501"


def test_nobody_writes_somebody_elses_name_into_the_log(account_gateway: Target) -> None:
    assert (
        account_gateway.refusal("ceo@example.com", token(account_gateway, "ann@example.com", "writer"))["C"]
        == "28000"
    )


def test_an_address_longer_than_a_role_name_is_a_good_name(account_gateway: Target) -> None:
    name = "a" * 200 + "@example.com"
    with enter(account_gateway, name, "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


# Nobody sheds the account, and nobody finds what another left


ESCAPES = [
    f"SET SESSION AUTHORIZATION {WRITER}",
    f"SET ROLE {WRITER}",
    f"SELECT set_config('role', '{WRITER}', false)",
    f"SELECT set_config('session_authorization', '{WRITER}', false)",
    f"DO $$ BEGIN SET SESSION AUTHORIZATION {WRITER}; END $$",
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE",
    "SET ROLE NONE",
    "RESET ALL",
    "DISCARD ALL",
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("form", ["simple", "extended"])
def test_the_account_cannot_be_shed(account_gateway: Target, escape: str, form: str) -> None:
    with enter(account_gateway, "eve@example.com", "reader") as wire:
        if form == "simple":
            wire.query(escape)
        else:
            wire.send(w.extended(escape))
            wire.until_ready()
        assert wire.value(WHO) == f"{READER},{READER}"
    with enter(account_gateway, "ann@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


@pytest.mark.parametrize("user", ["ann@example.com", "eve@example.com"], ids=["another", "the same"])
def test_a_role_that_a_session_takes_is_its_own(account_gateway: Target, user: str) -> None:
    with enter(account_gateway, "eve@example.com", "reader") as wire:
        wire.rows("SET ROLE acct_helper")
        assert wire.value(WHO) == f"{READER},acct_helper"
        if (
            wire.value("SHOW role") == "acct_helper"
            and account_gateway.gateway.config["general"]["pooler_mode"] != "session"
        ):
            with enter(account_gateway, user, "reader") as other:
                assert other.value(WHO) == f"{READER},{READER}"
            assert wire.value(WHO) == f"{READER},acct_helper"
        wire.rows("RESET ROLE")
        assert wire.value(WHO) == f"{READER},{READER}"
        wire.rows("SET ROLE acct_helper")
    with enter(account_gateway, user, "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


def test_a_role_of_the_start_up_packet_is_the_session_s_own(account_gateway: Target) -> None:
    ann = token(account_gateway, "ann@example.com", "reader")
    with account_gateway.wire("ann@example.com", ann, options="-c role=acct_helper") as wire:
        assert wire.value(WHO) == f"{READER},acct_helper"
    with enter(account_gateway, "eve@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"
    for name in ("role", "session_authorization"):
        fields = account_gateway.refusal("ann@example.com", ann, options=f"-c {name}={WRITER}")
        assert fields["S"] == "FATAL"


def test_the_next_subject_finds_nothing_of_the_last(account_gateway: Target) -> None:
    with enter(account_gateway, "eve@example.com", "reader") as wire:
        pid = wire.value(PID)
        wire.rows("SELECT leave_traces('by eve')")
    with enter(account_gateway, "ann@example.com", "reader") as wire:
        assert wire.value(PID) == pid, "the same server connection"
        assert wire.value(WHO) == f"{READER},{READER}"
        assert wire.value("SELECT current_setting('app.left', true)") in (None, "")
        assert wire.value("SELECT body FROM newsletter") == "hello"
        assert wire.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert wire.value(locks) == "0"


@pytest.mark.parametrize(
    "other",
    [{"iss": "https://other.example"}, {"sub": "somebody else"}, {"name": "eve@example.com"}],
    ids=["issuer", "subject", "user"],
)
def test_who_differs_in_anything_is_another(make_accounts: MakeGateway, other: dict[str, str]) -> None:
    # Without a fixed issuer, any `iss` that the key signs is taken.
    target = make_accounts(READERS | {"pool_size": 1}, issuer=None)
    ann = {"name": "ann@example.com", "iss": "https://one.example", "sub": "one"}

    for who, mark in ((ann, "by ann"), (ann | other, "by the other"), (ann, "by ann again")):
        claims = {name: value for name, value in who.items() if name != "name"}
        credential = target.issuer.token("", email=who["name"], role="reader", **claims)
        with target.wire(who["name"], credential) as wire:
            assert wire.value(WHO) == f"{READER},{READER}"
            assert wire.value("SELECT body FROM newsletter") == "hello"
            wire.rows(f"SELECT leave_traces('{mark}')")


def test_settings_from_claims_follow_each_subject_of_an_account(make_accounts: MakeGateway) -> None:
    target = make_accounts(READERS | {"pool_size": 1}, session={"variables": {"app.tenant": "{tenant}"}})
    tenant = "SELECT current_setting('app.tenant')"
    with enter(target, "ann@example.com", "reader", tenant="acme") as ann:
        for name, claims, expected in (("eve", {"tenant": "evil"}, "evil"), ("bob", {}, "")):
            assert ann.value(tenant) == "acme"
            with enter(target, f"{name}@example.com", "reader", **claims) as other:
                assert other.value(tenant) == expected
                for statement in ("SET app.tenant = 'acme'", "SET ROLE acct_helper", "DO $$ BEGIN END $$"):
                    assert w.error_of(other.query(statement))["C"] == "42501", "the guard is on"
                assert other.value(tenant) == expected
        assert ann.value(WHO) == f"{READER},{READER}"


def test_a_mapping_s_role_cannot_be_shed(make_accounts: MakeGateway) -> None:
    target = make_accounts(WRITERS | {"role": "acct_helper"})

    with enter(target, "wes@example.com", "writer") as wire:
        assert wire.value(WHO) == f"{WRITER},acct_helper"
        for escape in ("RESET ROLE", "SET ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT", "DISCARD ALL"):
            wire.query(escape)
            assert wire.value(WHO) == f"{WRITER},acct_helper"
        assert w.error_of(wire.query("SELECT * FROM payroll"))["C"] == "42501"
    target.gateway.last_login(decision="accepted", account=WRITER, role="acct_helper")


@pytest.mark.parametrize(("account", "password"), [(BOSS, "boss"), (BYPASS, "b")])
def test_a_privileged_account_is_for_nobody_unless_allowed(
    make_accounts: MakeGateway, account: str, password: str
) -> None:
    mapping = {"value": "dba", "server_user": account, "server_password": password}
    target = make_accounts(mapping)
    assert refused(target, "dan@example.com", "dba")["C"] == "28000"
    target.gateway.last_login(decision="refused", reason="role_privileged")
    behind_a_role = make_accounts(mapping | {"role": "acct_helper"})
    assert refused(behind_a_role, "dan@example.com", "dba")["C"] == "28000"

    allowed = make_accounts(mapping, allow_privileged_roles=True)
    with enter(allowed, "dan@example.com", "dba") as wire:
        assert wire.value(WHO) == f"{account},{account}"


def test_prepared_statements_follow_a_subject_past_others(account_gateway: Target) -> None:
    if account_gateway.gateway.config["general"]["pooler_mode"] == "session":
        pytest.skip("the one server connection is the first session's")
    with (
        enter(account_gateway, "ann@example.com", "reader") as ann,
        enter(account_gateway, "eve@example.com", "reader") as eve,
    ):
        for wire, answer in ((ann, "of ann"), (eve, "of eve")):
            wire.send(w.parse(f"SELECT '{answer}'", "mine"), w.SYNC)
            wire.until_ready()
        for wire, answer in ((ann, "of ann"), (eve, "of eve"), (ann, "of ann")):
            wire.send(w.bind(statement="mine"), w.execute(), w.SYNC)
            assert [each.row for each in wire.until_ready() if each.type == "D"] == [(answer,)]


def test_settings_that_the_owner_gave_the_account_hold_for_every_subject(
    make_accounts: MakeGateway, accounts: Any
) -> None:
    with accounts.admin() as admin:
        admin.execute(f"ALTER ROLE {READER} SET work_mem = '3333kB'")
    try:
        target = make_accounts(READERS | {"pool_size": 1})
        for name in ("ann@example.com", "eve@example.com", "ann@example.com"):
            with enter(target, name, "reader") as wire:
                assert wire.value("SHOW work_mem") == "3333kB"
                wire.rows("SET work_mem = '4444kB'")
    finally:
        with accounts.admin() as admin:
            admin.execute(f"ALTER ROLE {READER} RESET work_mem")


def test_a_role_that_the_owner_made_the_account_start_as_is_not_the_account(
    make_accounts: MakeGateway, accounts: Any
) -> None:
    with accounts.admin() as admin:
        admin.execute(f"ALTER ROLE {READER} SET role = 'acct_helper'")
    try:
        target = make_accounts(READERS)
        assert refused(target, "ann@example.com", "reader")["C"] == "28000"
        target.gateway.last_login(decision="refused", reason="role_refused")
    finally:
        with accounts.admin() as admin:
            admin.execute(f"ALTER ROLE {READER} RESET role")


def test_clients_that_vanish_do_not_hold_the_account(make_accounts: MakeGateway) -> None:
    target = make_accounts(READERS | {"pool_size": 1})
    for number in range(6):
        wire = enter(target, f"user{number}@example.com", "reader")
        wire.send(w.parse("SELECT 1"), w.bind(), w.execute(), w.FLUSH)
        wire.close()

    with enter(target, "ann@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


def test_an_account_that_may_replicate_does_so_as_itself(make_accounts: MakeGateway, accounts: Any) -> None:
    target = make_accounts(general={"pooler_mode": "session"})
    wes = token(target, "wes@example.com", "writer")
    assert target.refusal("wes@example.com", wes, replication="database")["C"] == "42501"
    with accounts.admin() as admin:
        admin.execute(f"ALTER ROLE {WRITER} REPLICATION")
    try:
        with target.wire("wes@example.com", wes, replication="database") as wire:
            assert len(wire.rows("IDENTIFY_SYSTEM")) == 1
            assert wire.value(WHO) == f"{WRITER},{WRITER}"
        # It hands over the files of every database, whatever the account may read.
        assert target.refusal("wes@example.com", wes, replication="true")["C"] == "42501"
    finally:
        with accounts.admin() as admin:
            admin.execute(f"ALTER ROLE {WRITER} NOREPLICATION")


# Read-only


def test_a_read_only_mapping_stays_on_replicas(make_accounts: MakeGateway, accounts: Any) -> None:
    servers = [
        {"name": "demo", "host": server.host, "port": server.port, "role": role}
        for role, server in (("primary", accounts.primary), ("replica", accounts.replica))
    ]
    target = make_accounts(READERS, WRITERS | {"read_only": True}, databases=servers)

    with enter(target, "wes@example.com", "writer") as wire:
        assert wire.value(WHO) == f"{WRITER},{WRITER}"
        assert wire.value("SELECT pg_is_in_recovery()") == "t"
        assert w.error_of(wire.query("INSERT INTO payroll VALUES ('me', 1)"))["C"] == "25006"
        assert w.error_of(wire.query("/* pgdog_role: primary */ DELETE FROM payroll"))["C"] == "25006"
    with enter(target, "ann@example.com", "reader") as wire:
        assert wire.value("SELECT pg_is_in_recovery() /* pgdog_role: primary */") == "f"


def test_a_claim_keeps_one_subject_of_an_account_on_replicas(
    make_accounts: MakeGateway, accounts: Any
) -> None:
    servers = [
        {"name": "demo", "host": server.host, "port": server.port, "role": role}
        for role, server in (("primary", accounts.primary), ("replica", accounts.replica))
    ]
    target = make_accounts(WRITERS, databases=servers, claims={"read_only": "only_reads"})

    with enter(target, "wes@example.com", "writer") as wire:
        assert wire.value("SELECT pg_is_in_recovery() /* pgdog_role: primary */") == "f"
    with enter(target, "wes@example.com", "writer", only_reads=True) as wire:
        assert wire.value("SELECT pg_is_in_recovery() /* pgdog_role: primary */") == "t"
        assert w.error_of(wire.query("DELETE FROM payroll"))["C"] == "25006"


def test_a_read_only_mapping_without_a_replica_serves_nobody(make_accounts: MakeGateway) -> None:
    target = make_accounts(WRITERS | {"read_only": True})

    assert refused(target, "wes@example.com", "writer")["C"] == "25006"


# Pools


def test_many_subjects_of_two_mappings_share_few_servers(make_accounts: MakeGateway) -> None:
    target = make_accounts(
        WRITERS | {"pool_size": 2}, READERS | {"pool_size": 3}, general={"checkout_timeout": 30_000}
    )

    def one(number: int) -> None:
        role, account = ("writer", WRITER) if number % 2 else ("reader", READER)
        name, chance = f"user{number % 12}@example.com", random.Random(number)
        with enter(target, name, role) as wire:
            wire.rows(f"SET application_name = 'of {number}'")
            for _ in range(10):
                if chance.random() < 0.2:
                    wire.rows(f"SELECT leave_traces('{name}')")
                wire.send(w.extended(TRACES))
                session_user, own, left, body = next(e.row for e in wire.until_ready() if e.type == "D")
                assert (session_user, own) == (account, f"of {number}")
                assert left in (None, "", name)
                assert body in ("hello", name)

    with ThreadPoolExecutor(12) as threads:
        for outcome in [threads.submit(one, number) for number in range(48)]:
            outcome.result()
    with target.connect("admin", "admin-secret", dbname="admin", row_factory=dict_row) as admin:
        servers = [row["user"] for row in admin.execute("SHOW SERVERS").fetchall()]
        assert servers.count(READER) <= 3
        assert servers.count(WRITER) <= 2


def test_mappings_have_pools_of_their_own_with_their_own_mode(make_accounts: MakeGateway) -> None:
    target = make_accounts(
        WRITERS | {"pooler_mode": "session", "pool_size": 1}, READERS, general={"checkout_timeout": 300}
    )

    with enter(target, "wes@example.com", "writer"):
        pass
    with enter(target, "wes@example.com", "writer") as wes:
        wes.rows("SET app.mine = '1'")
        with (
            enter(target, "ann@example.com", "reader") as ann,
            enter(target, "bea@example.com", "reader") as bea,
        ):
            ann.value(PID), bea.value(PID)
        with enter(target, "will@example.com", "writer") as will:
            assert w.error_of(will.query("SELECT 1"))["C"] == "53300", (
                "the one connection is another session's"
            )


def test_the_log_and_the_admin_database_name_subject_and_account(make_accounts: MakeGateway) -> None:
    target = make_accounts()
    with enter(target, "ann@example.com", "reader") as wire:
        event = target.gateway.last_login(decision="accepted")
        assert (event["subject"], event["user"]) == ("id of ann@example.com", "ann@example.com")
        assert event["account"] == READER
        wire.value("SELECT 1")
        with target.connect("admin", "admin-secret", dbname="admin", row_factory=dict_row) as admin:
            rows = [row for row in admin.execute("SHOW CLIENTS").fetchall() if row["subject"]]
            assert [(row["subject"], row["user"], row["account"]) for row in rows] == [
                ("id of ann@example.com", "ann@example.com", READER)
            ]
            pools = admin.execute("SHOW POOLS").fetchall()
            assert READER in {row["user"] for row in pools}
            assert "secret" not in str(admin.execute("SHOW CONFIG").fetchall()).replace("****", "")
    assert READER_PASSWORD not in target.gateway.log_text()


@pytest.mark.skipif(not OTHERS, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", OTHERS, ids=lambda one: f"PostgreSQL {one.version}")
def test_other_versions_hold_a_session_to_its_account_as_well(
    installation: Installation, issuer: Issuer
) -> None:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=False)
        create_accounts(cluster)
        config = merged(default_config(cluster, issuer), account_tables(cluster, READERS | {"pool_size": 1}))
        target = Target.of(Gateway(workspace, config).start(), issuer)
        with enter(target, "eve@example.com", "reader") as wire:
            assert wire.value(WHO) == f"{READER},{READER}"
            assert w.error_of(wire.query(f"SET SESSION AUTHORIZATION {WRITER}"))["C"] == "42501"
            assert w.error_of(wire.query("SELECT * FROM payroll"))["C"] == "42501"
            wire.rows("SELECT leave_traces('by eve')")
        with enter(target, "ann@example.com", "reader") as wire:
            assert wire.value(WHO) == f"{READER},{READER}"
            assert wire.value("SELECT body FROM newsletter") == "hello"
