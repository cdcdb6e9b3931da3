"""`[[resolvers]]`: queries that derive variables of a session. Inputs are parameters, never text."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import eventually, merged, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

PASSWORD = "member-secret"
ACCOUNT = {"user": "resolver", "password": "resolver-secret"}
ENTRY = {"database": "demo", "password": PASSWORD}
USERS = [
    {"name": "member", **ENTRY, "tenants": ["*"]},
    {"name": "other", **ENTRY, "tenants": ["*"]},
    {"name": "exempt", **ENTRY},
]
TENANTS = {"variables": ["app.user"], "bypass_users": ["exempt"], "claim": "sub"}
ORG = {
    "name": "org",
    "query": "SELECT org_id, role, nextval('scratch.runs') FROM scratch.members WHERE user_id = $1",
    "params": ["var:app.user"],
    "inject": {"app.org": "org_id", "app.role": "role"},
}
PLAN = {
    "name": "plan",
    "query": "SELECT plan FROM scratch.orgs WHERE id = $1::uuid",
    "params": ["var:app.org"],
    "inject": {"app.plan": "plan"},
    "depends_on": ["org"],
}
ORG_1 = "00000000-0000-0000-0000-000000000001"
ORG_2 = "00000000-0000-0000-0000-000000000002"
ALL = ", ".join(f"current_setting('app.{name}')" for name in ("user", "org", "role", "plan"))


@pytest.fixture(scope="module", autouse=True)
def tables(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute(
            f"""
            CREATE ROLE resolver LOGIN PASSWORD 'resolver-secret';
            CREATE ROLE member LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE ROLE other LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE ROLE exempt LOGIN PASSWORD '{PASSWORD}' IN ROLE subjects;
            CREATE TABLE scratch.members (user_id text PRIMARY KEY, org_id uuid, role text);
            CREATE TABLE scratch.orgs (id uuid PRIMARY KEY, plan text);
            CREATE SEQUENCE scratch.runs;
            GRANT USAGE ON SCHEMA scratch TO resolver;
            GRANT SELECT ON scratch.members, scratch.orgs TO resolver;
            GRANT USAGE ON SEQUENCE scratch.runs TO resolver;
            INSERT INTO scratch.orgs VALUES ('{ORG_1}', 'gold'), ('{ORG_2}', NULL);
            INSERT INTO scratch.members VALUES
                ('ann', '{ORG_1}', 'owner'), ('ben', '{ORG_2}', 'reader'), ('cid', NULL, 'reader'),
                ('alice', '{ORG_1}', 'admin'), ('it''s', '{ORG_2}', 'quoted'), ('$1', '{ORG_2}', 'dollar');
            """
        )
    yield
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.members, scratch.orgs")
        admin.execute("DROP SEQUENCE scratch.runs")
        admin.execute("DROP OWNED BY resolver")
        admin.execute("DROP ROLE resolver, member, other, exempt")


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Any) -> MakeGateway:
    def start(*resolvers: dict[str, Any], **tables: Any) -> Target:
        config: dict[str, Any] = {
            "general": {"default_pool_size": 2, "connect_timeout": 5_000},
            "databases": [primary_alone(cluster)],
            "tenants": TENANTS,
            "resolver_account": ACCOUNT,
            "resolvers": list(resolvers),
            "users": USERS,
            "admin": {"password": "admin-secret"},
        }
        return make_gateway(**merged(config, tables))

    return start


def log_in(target: Target, user: str) -> Wire:
    return target.wire(user, PASSWORD)


def refused(target: Target, user: str, password: str = PASSWORD) -> tuple[str, str]:
    """SQLSTATE, and the reason in the audit log."""
    target.gateway.mark()
    fields = target.refusal(user, password)
    return fields["C"], target.gateway.last_login(decision="refused", user=user)["reason"]


@pytest.fixture
def runs(cluster: Any) -> Callable[[], int]:
    """How often the first resolver has run since the last time."""

    def count() -> int:
        with cluster.admin() as admin:
            row = admin.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM scratch.runs")
            (number,) = row.fetchone() or (0,)
            admin.execute("SELECT setval('scratch.runs', 1, false)")
        return number

    count()
    return count


def test_variables_are_derived_one_after_the_other(make: MakeGateway) -> None:
    target = make(PLAN, ORG)
    with log_in(target, "member.ann") as wire:
        assert wire.rows(f"SELECT {ALL}") == [("ann", ORG_1, "owner", "gold")]
    with log_in(target, "member.ben") as wire:
        assert wire.rows(f"SELECT {ALL}") == [("ben", ORG_2, "reader", "")]


def test_tokens_have_them_too(make: MakeGateway) -> None:
    by_claim = {
        "name": "mail",
        "query": "SELECT $1::text || '@' || $2 AS mail, $3::jsonb ->> 0 AS first, $4::int + 1 AS next",
        "params": ["claim:sub", "database", "claim:realm.roles", "claim:level"],
        "inject": {"app.mail": "mail", "app.first": "first", "app.next": "next"},
    }
    target = make(ORG, by_claim)
    token = target.issuer.token("alice", realm={"roles": ["x", "y"]}, level=7)
    with target.wire("alice", token) as wire:
        values = ", ".join(f"current_setting('app.{name}')" for name in ("role", "mail", "first", "next"))
        assert wire.rows(f"SELECT {values}, current_user") == [("admin", "alice@demo", "x", "8", "alice")]
        assert w.error_of(wire.query("SET app.mail = 'x'"))["C"] == "42501"


@pytest.mark.parametrize(
    "sql",
    [
        "SET app.org = 'x'",
        "RESET app.role",
        "SELECT set_config('app.plan', 'platinum', false)",
        "SET LOCAL app.\"user\" = 'ben'",
        "ALTER ROLE member SET app.org = 'x'",
    ],
)
def test_no_client_can_change_them(make: MakeGateway, sql: str) -> None:
    target = make(ORG, PLAN)
    with log_in(target, "member.ann") as wire:
        assert w.error_of(wire.query(sql))["C"] == "42501"
        for reset in ("RESET ALL", "DISCARD ALL"):
            wire.query(reset)
            assert wire.rows(f"SELECT {ALL}") == [("ann", ORG_1, "owner", "gold")]


def test_the_next_client_has_its_own(make: MakeGateway) -> None:
    target = make(ORG, PLAN, general={"default_pool_size": 1})
    for _ in range(3):
        with log_in(target, "member.ann") as one, log_in(target, "member.nobody") as other:
            assert one.rows(f"SELECT {ALL}") == [("ann", ORG_1, "owner", "gold")]
            assert other.rows(f"SELECT {ALL}") == [("nobody", "", "", "")]


# Inputs are parameters.


@pytest.mark.parametrize(
    ("tenant", "role"),
    [
        ("it's", "quoted"),
        ("$1", "dollar"),
        (" OR 1=1 --:$1", ""),
        ("ann' OR '1'='1", ""),
        ("'; UPDATE scratch.members SET role = 'evil'; --", ""),
        ("ann\\", ""),
    ],
)
def test_what_was_typed_is_never_a_part_of_the_query(make: MakeGateway, tenant: str, role: str) -> None:
    target = make(ORG)
    with log_in(target, f"member.{tenant}") as wire:
        assert wire.value("SELECT current_setting('app.role')") == role


def test_a_value_that_looks_like_a_parameter_is_not_looked_at_again(make: MakeGateway) -> None:
    both = {**ORG, "query": ORG["query"] + " AND role = $2", "params": ["var:app.user", "var:app.part"]}
    target = make(
        {**both, "required": True},
        tenants={**TENANTS, "variables": ["app.user", "app.part"], "claim": None},
        users=[{**user, "tenants": ["*:*"]} for user in USERS[:1]],
    )
    with log_in(target, "member.ann:owner") as wire:
        assert wire.value("SELECT current_setting('app.org')") == ORG_1
    for typed in (" OR 1=1 --:$1", "$2:ann", "ann:$1", "ann:owner' OR '1'='1"):
        assert refused(target, f"member.{typed}") == ("28P01", "resolver_no_row"), typed


# Required ones.


def test_a_required_resolver_without_a_row_ends_the_login(make: MakeGateway) -> None:
    target = make({**ORG, "required": True})
    for _ in range(6):  # more than the pool has connections
        assert refused(target, "member.nobody") == ("28P01", "resolver_no_row")
    with log_in(target, "member.ann") as wire:
        assert wire.value("SELECT current_setting('app.role')") == "owner"


def test_a_required_resolver_with_a_null_input_ends_the_login(make: MakeGateway) -> None:
    target = make(ORG, {**PLAN, "required": True})
    assert refused(target, "member.cid") == ("28P01", "resolver_null_input")
    assert refused(target, "member.nobody") == ("28P01", "resolver_null_input")
    log_in(target, "member.ben").close()


def test_a_claim_that_is_missing_is_null(make: MakeGateway) -> None:
    by_claim = {**ORG, "params": ["claim:employee"], "required": True}
    target = make(by_claim, tenants=None, users=USERS)
    assert refused(target, "alice", target.issuer.token("alice")) == ("28000", "resolver_null_input")
    assert refused(target, "alice", target.issuer.token("alice", employee=None))[1] == "resolver_null_input"
    assert refused(target, "alice", target.issuer.token("alice", employee=""))[1] == "resolver_null_input"
    assert refused(target, "member")[1] == "resolver_null_input"
    with target.wire("alice", target.issuer.token("alice", employee="ann")) as wire:
        assert wire.value("SELECT current_setting('app.role')") == "owner"


def test_null_may_be_refused(make: MakeGateway) -> None:
    target = make(ORG, {**PLAN, "on_null": "refuse"})
    assert refused(target, "member.ben") == ("28P01", "resolver_null")
    assert refused(target, "member.cid") == ("28P01", "resolver_null_input")
    log_in(target, "member.ann").close()


def test_a_required_resolver_that_fails_ends_the_login_in_the_usual_words(make: MakeGateway) -> None:
    target = make({**ORG, "query": "SELECT 1 / 0 AS org_id, $1::text AS role", "required": True})
    for _ in range(4):
        assert refused(target, "member.ann") == ("28P01", "resolver_failed")
    fields = target.refusal("member.ann", PASSWORD)
    assert "division" not in str(fields)
    assert "resolver" not in str(fields)
    detail = target.gateway.last_login(decision="refused")["detail"]
    assert "division by zero" in detail
    assert "org" in detail


def test_others_that_fail_give_nothing(make: MakeGateway) -> None:
    broken = {
        "name": "broken",
        "query": "SELECT 1 / 0 AS x",
        "inject": {"app.broken": "x"},
    }
    target = make(
        ORG, broken, {**broken, "name": "column", "query": "SELECT 1 AS y", "inject": {"app.c": "x"}}
    )
    with log_in(target, "member.ann") as wire:
        names = "current_setting('app.broken'), current_setting('app.c'), current_setting('app.role')"
        assert wire.rows(f"SELECT {names}") == [("", "", "owner")]
        assert w.error_of(wire.query("SET app.broken = 'x'"))["C"] == "42501"


def test_a_resolver_that_never_answers_is_given_up(make: MakeGateway) -> None:
    slow = {"name": "slow", "query": "SELECT 1 AS x FROM pg_sleep(60)", "inject": {"app.slow": "x"}}
    target = make(ORG, slow, general={"connect_timeout": 2_000})
    with log_in(target, "member.ann") as wire:
        assert wire.rows("SELECT current_setting('app.slow'), current_setting('app.role')") == [("", "owner")]
        assert w.error_of(wire.query("SET app.slow = 'x'"))["C"] == "42501"


def test_a_required_one_that_never_answers_ends_the_login(make: MakeGateway) -> None:
    slow = {"name": "slow", "query": "SELECT 1 AS x FROM pg_sleep(60)", "inject": {"app.slow": "x"}}
    target = make({**slow, "required": True}, general={"connect_timeout": 2_000})
    with ThreadPoolExecutor(6) as threads:
        outcomes = [
            done.result(30)
            for done in [threads.submit(target.refusal, "member.ann", PASSWORD) for _ in range(6)]
        ]
    assert {fields["C"] for fields in outcomes} == {"28P01"}


def test_only_the_first_row_counts(make: MakeGateway) -> None:
    many = {
        "name": "many",
        "query": "SELECT n FROM generate_series(1, 5) n",
        "inject": {"app.first": "n"},
    }
    with log_in(make(many), "member.ann") as wire:
        assert wire.value("SELECT current_setting('app.first')") == "1"


# A resolver says who may open what.


def test_a_resolver_may_say_who_opens_a_tenant(make: MakeGateway) -> None:
    may = {
        "name": "may",
        "query": "SELECT true AS yes FROM scratch.members WHERE user_id = $1 AND role = $2",
        "params": ["user", "var:app.tenant"],
        "required": True,
    }
    users = [{"name": name, **ENTRY} for name in ("member", "other")]
    users[1]["tenants"] = ["admin"]
    target = make(may, tenants={"variables": ["app.tenant"], "resolver": "may", "claim": None}, users=users)
    assert refused(target, "member.owner") == ("28P01", "resolver_no_row")
    assert refused(target, "other.owner") == ("28P01", "tenant_denied")
    assert refused(target, "other.admin") == ("28P01", "resolver_no_row")
    with target.wire("alice.admin", target.issuer.token("alice")) as wire:
        assert wire.value("SELECT current_setting('app.tenant')") == "admin"
    assert refused(target, "alice.owner", target.issuer.token("alice")) == ("28000", "resolver_no_row")


# The cache.


def test_without_a_time_to_live_every_login_asks(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make(ORG)
    for _ in range(3):
        log_in(target, "member.ann").close()
    assert runs() == 3


def test_results_are_used_again(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make({**ORG, "cache_ttl": 3600})
    for _ in range(3):
        with log_in(target, "member.ann") as wire:
            assert wire.value("SELECT current_setting('app.role')") == "owner"
    assert runs() == 1
    with log_in(target, "member.ben") as wire:
        assert wire.value("SELECT current_setting('app.role')") == "reader"
    with log_in(target, "other.ann") as wire:
        assert wire.value("SELECT current_setting('app.role')") == "owner"
    assert runs() == 2


def test_results_are_asked_for_once_however_many_wait(make: MakeGateway, runs: Callable[[], int]) -> None:
    slow = {**ORG, "query": ORG["query"] + " AND pg_sleep(0.3) IS NOT NULL", "cache_ttl": 3600}
    target = make(slow)
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(log_in, target, "member.ann") for _ in range(8)]:
            done.result(30).close()
    assert runs() == 1


def test_results_grow_old(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make({**ORG, "cache_ttl": 1})
    log_in(target, "member.ann").close()
    assert runs() == 1

    def asked_again() -> bool:
        log_in(target, "member.ann").close()
        return runs() == 1

    eventually(asked_again, "the end of the result's time", interval=0.2)


def test_who_has_no_row_is_asked_again(make: MakeGateway, cluster: Any) -> None:
    target = make({**ORG, "cache_ttl": 3600, "required": True})
    assert refused(target, "member.new")[1] == "resolver_no_row"
    with cluster.admin() as admin:
        admin.execute(f"INSERT INTO scratch.members VALUES ('new', '{ORG_1}', 'novice')")
    with log_in(target, "member.new") as wire:
        assert wire.value("SELECT current_setting('app.role')") == "novice"
    with cluster.admin() as admin:
        admin.execute("DELETE FROM scratch.members WHERE user_id = 'new'")


def test_the_administrator_flushes_them(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make({**ORG, "cache_ttl": 3600})
    log_in(target, "member.ann").close()
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        admin.execute("FLUSH RESOLVERS")
    log_in(target, "member.ann").close()
    assert runs() == 2
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        admin.execute("RELOAD")
    log_in(target, "member.ann").close()
    assert runs() == 1


def test_databases_do_not_share_results(make: MakeGateway, cluster: Any, runs: Callable[[], int]) -> None:
    primary = primary_alone(cluster)
    databases = [primary, {**primary, "name": "second", "database_name": "demo"}]
    users = [{**USERS[0], "database": None, "databases": ["demo", "second"]}]
    users[0].pop("database")
    database = {
        "name": "where",
        "query": "SELECT $1::text || nextval('scratch.runs') AS place",
        "params": ["database"],
        "inject": {"app.where": "place"},
        "cache_ttl": 3600,
    }
    same = {**database, "name": "same", "query": "SELECT nextval('scratch.runs') AS n", "params": []}
    same["inject"] = {"app.same": "n"}
    only = {**ORG, "databases": ["second"]}
    target = make({**database}, same, only, databases=databases, users=users)
    seen = {}
    for name in ("demo", "second", "demo", "second"):
        with target.wire("member.ann", PASSWORD, database=name) as wire:
            values = wire.rows("SELECT current_setting('app.where'), current_setting('app.same')")[0]
            assert (values[0] or "").startswith(name)
            assert seen.setdefault(name, values) == values
            role = wire.value("SELECT current_setting('app.role', true)")
            assert role == "owner" if name == "second" else role in (None, "")
    assert seen["demo"][1] != seen["second"][1]


# Start and reload.


def test_what_cannot_be_prepared_is_in_the_log(make: MakeGateway) -> None:
    broken = {"name": "broken", "query": "SELECT nothing FROM nowhere", "inject": {"app.broken": "nothing"}}
    column = {"name": "column", "query": "SELECT 1 AS y", "inject": {"app.column": "x"}}
    params = {
        "name": "params",
        "query": "SELECT $1::text, $2::int AS x",
        "params": ["user"],
        "inject": {"app.params": "x"},
    }
    target = make(ORG, broken, column, params)

    def reasons() -> dict[str, str]:
        events = [event for event in target.gateway.log() if event.get("event") == "resolver"]
        return {event["resolver"]: event.get("reason", "ready") for event in events}

    said = eventually(lambda: reasons() if len(reasons()) == 4 else None, "all four in the log")
    assert said["org"] == "ready"
    assert "nowhere" in said["broken"]
    assert "no column" in said["column"]
    assert "2 parameters" in said["params"]


def test_the_gateway_starts_without_its_database(make: MakeGateway) -> None:
    target = make({**ORG, "required": True}, databases=[{"name": "demo", "host": "127.0.0.1", "port": 1}])
    fields = target.refusal("member.ann", PASSWORD)
    assert fields["C"].startswith("08")


def test_a_wrong_account_is_not_the_clients_fault(make: MakeGateway) -> None:
    target = make(
        {**ORG, "required": True}, resolver_account={"user": "resolver", "password": "wrong-secret"}
    )
    assert refused(target, "member.ann")[1] == "no_server"
    assert "wrong-secret" not in target.gateway.log_text()


def test_the_password_may_be_elsewhere(make_gateway: MakeGateway, cluster: Any, tmp_path: Any) -> None:
    file = tmp_path / "password"
    file.write_text("resolver-secret\n")
    for account in (
        {"user": "resolver", "password_file": str(file)},
        {"user": "resolver", "password_env": "RESOLVER_SECRET"},
    ):
        target = make_gateway(
            databases=[primary_alone(cluster)],
            tenants=TENANTS,
            resolver_account=account,
            resolvers=[ORG],
            users=USERS,
            env={"RESOLVER_SECRET": "resolver-secret"},
        )
        with log_in(target, "member.ann") as wire:
            assert wire.value("SELECT current_setting('app.role')") == "owner"


def test_exempt_users_have_none(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make({**ORG, "required": True})
    with log_in(target, "exempt") as wire:
        assert wire.value("SELECT current_setting('app.role', true)") in (None, "")
    assert runs() == 0


def test_resolvers_run_only_for_those_who_are_in(make: MakeGateway, runs: Callable[[], int]) -> None:
    target = make(ORG)
    for _ in range(3):
        with pytest.raises(ServerError):
            target.wire("member.ann", "wrong")
    assert runs() == 0


def test_a_reload_with_other_resolvers_ends_sessions_that_would_be_others(make: MakeGateway) -> None:
    target = make(ORG)
    with log_in(target, "member.ann") as wire:
        assert wire.value("SELECT current_setting('app.role')") == "owner"
        changed = {**ORG, "query": ORG["query"] + " AND role = 'nobody'", "required": True}
        target.gateway.write(merged(target.gateway.config, {"resolvers": [changed]}))
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: refused(target, "member.ann")[1] == "resolver_no_row", "the reload")
        wire.send(w.query("SELECT 1"))
        assert wire.receive_until("E", "Z")[-1].fields["C"] == "57P01"


def test_metrics_count_them(make: MakeGateway) -> None:
    from urllib.request import urlopen

    from harness.ports import free_port

    port = free_port()
    target = make({**ORG, "cache_ttl": 3600}, general={"openmetrics_port": port})
    for _ in range(3):
        log_in(target, "member.ann").close()
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        lines = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if line[0] != "#")
    assert lines["pgdog_jwt_resolver_executions_total"] == "1"
    assert lines["pgdog_jwt_resolver_cache_hits_total"] == "2"
    assert lines["pgdog_jwt_resolver_cache_misses_total"] == "1"
