"""Renewal in place: `SET "pgdog_jwt.token" = '…'` gives a live session a new token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness import Cluster, eventually, merged, primary_alone
from harness import accounts as acct
from harness import wire as w
from harness.accounts import READER, WHO, enter
from harness.external import is_external
from harness.issuer import Issuer
from harness.target import Target
from harness.wire import Wire

pytestmark = pytest.mark.skipif(is_external(), reason="starts gateways of its own, and reads their logs")

Start = Callable[..., Target]
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
VARIABLES = {"session": {"variables": {"app.team": "{team}"}}}
PLACES = [
    pytest.param("transaction", {}, id="transaction, own pools"),
    pytest.param("session", {}, id="session, own pools"),
    pytest.param("statement", {}, id="statement, own pools"),
    pytest.param("transaction", {"shared_pool": True}, id="transaction, a shared pool"),
    pytest.param("session", {"shared_pool": True}, id="session, a shared pool"),
]


@pytest.fixture
def start(make_gateway: Start, cluster: Cluster) -> Start:
    def make(mode: str = "transaction", general: dict[str, Any] | None = None, **jwt: Any) -> Target:
        own = {"pooler_mode": mode, "default_pool_size": 2, "log_level": "debug"}
        return make_gateway(
            general=merged(own, general or {}), jwt=jwt, databases=[primary_alone(cluster)], admin=ADMIN
        )

    return make


@pytest.fixture(scope="module")
def logging(cluster: Cluster) -> Iterator[Cluster]:
    """PostgreSQL writes down every statement that reaches it."""
    with cluster.admin() as admin:
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("SELECT pg_reload_conf()")
    yield cluster
    with cluster.admin() as admin:
        admin.execute("ALTER SYSTEM RESET log_statement")
        admin.execute("SELECT pg_reload_conf()")


def setting(token: str) -> str:
    return f"SET \"pgdog_jwt.token\" = '{token}'"


def renewals(target: Target, decision: str) -> list[dict[str, Any]]:
    events = [each for each in target.gateway.log() if each.get("event") == "renewal"]
    return [each for each in events if each["decision"] == decision]


def ended(target: Target, count: int = 1) -> None:
    """Waits until the gateway has noticed the end of a token."""

    def seen() -> bool:
        return sum(each.get("event") == "expiry" for each in target.gateway.log()) >= count

    eventually(seen, "the end of a token")


def in_step(wire: Wire) -> None:
    """The session and its client agree on what comes next."""
    assert wire.value("SELECT current_user") == "alice"
    wire.send(w.extended("SELECT current_user"))
    assert w.types_of(wire.until_ready()) == "12TDCZ"


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_a_session_outlives_its_first_token(start: Start, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, on_expiry="refuse_new_transactions", **jwt)
    with target.wire("alice", target.issuer.token("alice", expires_in=3)) as wire:
        in_step(wire)
        ended(target)
        assert w.error_of(wire.query("SELECT 1"))["C"] == "28000"

        messages = wire.query(setting(target.issuer.token("alice", expires_in=300)))

        assert w.types_of(messages) == "CZ"
        assert (messages[0].tag, messages[1].body) == ("SET", b"I")
        in_step(wire)
    assert [each["subject"] for each in renewals(target, "accepted")] == ["alice"]


def test_the_end_is_that_of_the_last_token(start: Start) -> None:
    target = start()
    with target.wire("alice", target.issuer.token("alice", expires_in=300)) as wire:
        wire.query(setting(target.issuer.token("alice", expires_in=3)))
        in_step(wire)
        assert wire.receive().fields["C"] == "57P01"
        assert wire.closed_by_peer()


@pytest.mark.parametrize(
    "form",
    [
        "SET pgdog_jwt.token TO '{}'",
        "SET SESSION pgdog_jwt.token = '{}';",
        '/* a comment */ set "PGDOG_JWT.Token" to $${}$$',
    ],
)
def test_the_statement_may_be_written_in_any_way(start: Start, form: str) -> None:
    target = start()
    with target.wire("alice") as wire:
        for sent in (w.query, w.extended):
            wire.send(sent(form.format(target.issuer.token("alice"))))
            messages = wire.until_ready()
            assert w.types_of(messages) == ("CZ" if sent is w.query else "12nCZ")
        in_step(wire)
    assert len(renewals(target, "accepted")) == 2


def test_set_config_takes_the_token_as_a_parameter(start: Start) -> None:
    target = start()
    statement = "SELECT set_config('pgdog_jwt.token', $1, false)"
    with target.wire("alice") as wire:
        for types in ((), (25,)):
            wire.send(
                w.parse(statement, types=types),
                w.describe("S"),
                w.bind([target.issuer.token("alice")], formats=[1]),
                w.describe(),
                w.execute(),
                w.SYNC,
            )
            messages = wire.until_ready()
            assert w.types_of(messages) == "1tT2TDCZ"
            assert [message.row for message in messages if message.type == "D"] == [("",)]
            in_step(wire)
        constant = wire.query(statement.replace("$1", f"'{target.issuer.token('alice')}'"))
        assert w.types_of(constant) == "TDCZ"
        assert constant[2].tag == "SELECT 1"
        assert w.error_of(wire.query(statement))["C"] == "42P02"
        in_step(wire)
    assert len(renewals(target, "accepted")) == 3


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_each_answer_comes_in_its_place(start: Start, mode: str) -> None:
    target = start(mode)
    renew = setting(target.issuer.token("alice"))
    with target.wire("alice") as wire:
        wire.send(
            w.query("SELECT 1"),
            w.query(renew),
            w.extended("SELECT 2"),
            w.extended(renew),
            w.query("SELECT 3"),
            w.extended(renew, name="mine"),
            # One batch: the renewal first.
            w.parse(renew, "other") + w.bind(statement="other") + w.execute(),
            w.extended("SELECT 4"),
        )
        answers = [wire.until_ready() for _ in range(7)]
        assert [w.types_of(answer) for answer in answers] == [
            "TDCZ",
            "CZ",
            "12TDCZ",
            "12nCZ",
            "TDCZ",
            "12nCZ",
            "12C12TDCZ",
        ]
        values = [each.row for answer in answers for each in answer if each.type == "D"]
        assert values == [("1",), ("2",), ("3",), ("4",)]
        in_step(wire)


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("name", ["", "mine"])
def test_a_statement_may_be_prepared_and_executed_apart(start: Start, mode: str, name: str) -> None:
    target = start(mode)
    with target.wire("alice") as wire:
        wire.send(w.parse(setting(target.issuer.token("alice")), name), w.describe("S", name), w.SYNC)
        assert w.types_of(wire.until_ready()) == "1tnZ"
        wire.send(w.bind(statement=name), w.execute(), w.SYNC)
        assert w.types_of(wire.until_ready()) == "2CZ"
        wire.send(w.bind(statement=name), w.execute(), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "26000"
        wire.send(w.close("S", name), w.SYNC)
        assert w.types_of(wire.until_ready()) == "3Z"
        wire.send(w.bind(statement=name), w.execute(), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "26000"
        in_step(wire)
    assert len(renewals(target, "accepted")) == 1


def test_names_of_statements_stay_apart(start: Start) -> None:
    target = start()
    renew = setting(target.issuer.token("alice"))
    with target.wire("alice") as wire:
        wire.send(w.parse("SELECT 7", "mine"), w.SYNC)
        wire.until_ready()
        wire.send(w.parse(renew, "mine"), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "42P05"
        wire.send(w.parse(renew), w.SYNC)
        wire.until_ready()
        wire.send(w.extended("SELECT 8"))
        assert [each.row for each in wire.until_ready() if each.type == "D"] == [("8",)]
        wire.send(w.bind(statement="mine"), w.execute(), w.SYNC)
        assert [each.row for each in wire.until_ready() if each.type == "D"] == [("7",)]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_there_is_no_renewal_in_a_transaction(start: Start, mode: str) -> None:
    target = start(mode)
    renew = setting(target.issuer.token("alice"))
    with target.wire("alice") as wire:
        for sent in (w.query(renew), w.extended(renew), w.query("SHOW pgdog_jwt.token")):
            wire.rows("BEGIN")
            wire.send(sent)
            messages = wire.until_ready()
            assert w.error_of(messages)["C"] == "25001"
            assert messages[-1].body == b"E"
            assert wire.query("COMMIT")[0].tag == "ROLLBACK"
        in_step(wire)
        # Behind another statement of a batch.
        wire.send(w.parse("SELECT 1"), w.bind(), w.execute(), w.extended(renew))
        messages = wire.until_ready()
        assert w.types_of(messages) == "12DCEZ"
        assert w.error_of(messages)["C"] == "25001"
        wire.send(w.parse("SELECT 1"), w.bind(), w.execute(), w.query(renew), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "25001"
        wire.until_ready()
        in_step(wire)
    assert not renewals(target, "accepted")


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_another_subject_is_refused_and_audited(start: Start, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, user_match="claim", **jwt)
    with target.wire("alice") as wire:
        in_step(wire)
        for sent in (w.query, w.extended):
            wire.send(sent(setting(target.issuer.token("bob"))))
            messages = wire.until_ready()
            assert (w.error_of(messages)["S"], w.error_of(messages)["C"]) == ("ERROR", "28000")
            assert messages[-1].body == b"I"
            in_step(wire)
    refused = renewals(target, "refused")
    assert [(each["reason"], each["subject"]) for each in refused] == [("other_subject", "alice")] * 2
    assert "bob" in refused[0]["detail"]


def test_a_bad_token_is_refused_as_at_a_login(start: Start, issuer: Issuer) -> None:
    target = start()
    stranger = Issuer()
    try:
        bad = {
            "nonsense": "malformed_token",
            target.issuer.token("alice", expires_in=-5): "expired",
            target.issuer.token("alice", aud="somebody else"): "wrong_audience",
            stranger.token("alice"): "unknown_kid",
        }
        expected = target.refusal("alice", "nonsense")
        with target.wire("alice") as wire:
            for token in bad:
                messages = wire.query(setting(token))
                error = w.error_of(messages)
                assert (error["S"], error["C"]) == ("ERROR", "28000")
                assert error["M"] == expected["M"]
                assert w.types_of(messages) == "EZ"
                in_step(wire)
            wire.send(w.extended(setting("nonsense")), w.extended("SELECT 1"))
            assert [w.types_of(wire.until_ready()) for _ in range(2)] == ["12nEZ", "12TDCZ"]
        reasons = [each["reason"] for each in renewals(target, "refused")]
        assert reasons[:3] == ["malformed_token", "expired", "wrong_audience"]
        assert len(reasons) == len(bad) + 1
    finally:
        stranger.close()


def test_a_refused_renewal_changes_nothing(start: Start) -> None:
    target = start(on_expiry="refuse_new_transactions")
    with target.wire("alice", target.issuer.token("alice", expires_in=3)) as wire:
        wire.query(setting(target.issuer.token("alice", aud="somebody else")))
        ended(target)
        assert w.error_of(wire.query("SELECT 1"))["C"] == "28000"


def teams(target: Target, wire: Wire) -> str | None:
    return wire.value("SELECT current_setting('app.team', true)")


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_claims_are_those_of_the_new_token(start: Start, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, **VARIABLES, **jwt)
    with (
        target.wire("alice", target.issuer.token("alice", team="red")) as wire,
        target.wire("alice", target.issuer.token("alice", team="red")) as other,
    ):
        assert teams(target, wire) == "red"
        assert w.types_of(wire.query(setting(target.issuer.token("alice", team="blue")))) == "CZ"
        assert teams(target, wire) == "blue"
        assert teams(target, other) == "red"
        assert teams(target, wire) == "blue"
        in_step(wire)


@pytest.mark.parametrize("claims", [{"read_only": True}, {"pool_mode": "session"}])
def test_what_the_session_may_do_stays_what_it_is(start: Start, claims: dict[str, Any]) -> None:
    target = start(claims={"read_only": "read_only", "pool_mode": "pool_mode"})
    with target.wire("alice") as wire:
        in_step(wire)
        messages = wire.query(setting(target.issuer.token("alice", **claims)))
        assert (w.error_of(messages)["S"], w.error_of(messages)["C"]) == ("ERROR", "0A000")
        in_step(wire)
    assert [each["reason"] for each in renewals(target, "refused")] == ["other_session"]


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL pgdog_jwt.token = '{}'",
        "SET pgdog_jwt.other = '{}'",
        "SELECT 1; SET pgdog_jwt.token = '{}'",
        "SET pgdog_jwt.token = '{}'; SELECT 1",
        "SELECT set_config('pgdog_jwt.token', '{}', true)",
        "ALTER ROLE alice SET pgdog_jwt.token = '{}'",
        "SET pgdog_jwt.token '{}'",
        "SET pgdog_jwt.token = '{}",
        "PREPARE p AS SELECT set_config('pgdog_jwt.token', '{}', false)",
    ],
)
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_other_uses_are_refused_and_reach_no_server(
    start: Start, logging: Cluster, statement: str, mode: str
) -> None:
    target = start(mode)
    token = target.issuer.token("alice")
    with target.wire("alice") as wire:
        for sent in (w.query, w.extended):
            wire.send(sent(statement.format(token)))
            messages = wire.until_ready()
            assert w.error_of(messages)["C"] in ("0A000", "42704", "42601")
            assert token not in str(messages)
            in_step(wire)
    assert not renewals(target, "accepted")
    hidden(target, logging, token)


def test_show_and_reset_say_nothing(start: Start) -> None:
    target = start()
    with target.wire("alice") as wire:
        wire.query(setting(target.issuer.token("alice")))
        assert wire.rows("SHOW pgdog_jwt.token") == [("",)]
        wire.send(w.extended('SHOW "pgdog_jwt.token"'))
        assert w.types_of(wire.until_ready()) == "12TDCZ"
        assert wire.query("RESET pgdog_jwt.token")[0].tag == "RESET"
        assert wire.query("SET pgdog_jwt.token TO DEFAULT")[0].tag == "SET"
        in_step(wire)


def test_texts_that_only_speak_of_it_are_statements_like_others(start: Start) -> None:
    with start().wire("alice") as wire:
        assert wire.value("SELECT 'pgdog_jwt.token'") == "pgdog_jwt.token"
        assert wire.value("SELECT current_setting('pgdog_jwt.token', true)") is None
        wire.send(w.extended("SELECT $1 || 'pgdog_jwt.token'", ["x"]))
        assert w.types_of(wire.until_ready()) == "12TDCZ"


def hidden(target: Target, cluster: Cluster, *tokens: str) -> None:
    """Nobody has been told any part of a token that is a secret."""
    shown = target.gateway.log_text() + cluster.primary.log_text()
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        for what in ("CLIENTS", "SERVERS", "POOLS", "SUBJECTS", "CONFIG", "LISTS", "STATS"):
            shown += str(admin.execute(f"SHOW {what}").fetchall())
    with cluster.admin() as admin:
        shown += str(admin.execute("SELECT * FROM pg_stat_activity").fetchall())
        shown += str(admin.execute("SELECT * FROM pg_prepared_statements").fetchall())
    assert "alice" in shown
    for token in tokens:
        assert not any(part in shown for part in token.split("."))


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_no_token_is_shown_to_anybody(start: Start, logging: Cluster, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, **jwt)
    tokens = [target.issuer.token("alice") for _ in range(4)] + [target.issuer.token("bob")]
    with target.wire("alice") as wire:
        for token in tokens:
            wire.query(setting(token))
            wire.send(w.extended(setting(token)))
            wire.until_ready()
            wire.send(
                w.parse("SELECT set_config('pgdog_jwt.token', $1, false)"),
                w.bind([token]),
                w.execute(),
                w.SYNC,
            )
            wire.until_ready()
            in_step(wire)
        hidden(target, logging, *tokens)


def test_an_answer_comes_after_what_was_asked_before(start: Start) -> None:
    target = start()
    with target.wire("alice") as wire:
        wire.send(w.query("SELECT pg_sleep(0.3), 'slow'"), w.query(setting(target.issuer.token("alice"))))
        assert [w.types_of(wire.until_ready()) for _ in range(2)] == ["TDCZ", "CZ"]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_user_with_a_password_has_nothing_to_renew(start: Start, logging: Cluster, mode: str) -> None:
    target = start(mode)
    token = target.issuer.token("alice")
    with target.wire("service", "service-secret") as wire:
        for sent in (w.query, w.extended):
            wire.send(sent(setting(token)))
            messages = wire.until_ready()
            assert w.error_of(messages)["C"] == "28000"
            assert wire.value("SELECT current_user") == "service"
    hidden_from_postgresql = logging.primary.log_text()
    assert token not in hidden_from_postgresql


@pytest.mark.parametrize("prepare", [False, True])
def test_psycopg_renews(start: Start, prepare: bool) -> None:
    target = start(on_expiry="refuse_new_transactions")
    with target.connect("alice", target.issuer.token("alice", expires_in=4)) as connection:
        for _ in range(7):
            renewed = connection.execute(
                "SELECT set_config('pgdog_jwt.token', %s, false)",
                [target.issuer.token("alice", expires_in=300)],
                prepare=prepare,
            )
            assert renewed.fetchone() == ("",)
            connection.execute(setting(target.issuer.token("alice")), prepare=prepare)
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)
        with connection.pipeline():
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            connection.execute(setting("nonsense"))
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)
    with target.connect("alice", autocommit=False) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            connection.execute(setting(target.issuer.token("alice")))


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_asyncpg_renews(start: Start, mode: str) -> None:
    target = start(mode)

    async def main() -> None:
        connection = await target.connect_asyncpg("alice", statement_cache_size=0)
        await connection.execute(setting(target.issuer.token("alice")))
        statement = "SELECT set_config('pgdog_jwt.token', $1, false)"
        for _ in range(3):
            assert await connection.fetchval(statement, target.issuer.token("alice")) == ""
            await connection.fetch(setting(target.issuer.token("alice")))
        assert await connection.fetchval("SELECT current_user") == "alice"
        await connection.close()

    asyncio.run(main())
    assert len(renewals(target, "accepted")) == 7


def test_a_place_among_the_sessions_of_a_token_moves_with_it(start: Start) -> None:
    target = start(max_sessions_per_token=1)
    first, second = target.issuer.token("alice"), target.issuer.token("alice")
    with target.wire("alice", first) as wire:
        assert target.refusal("alice", first)["C"] == "53300"
        assert w.types_of(wire.query(setting(first))) == "CZ"
        assert w.types_of(wire.query(setting(second))) == "CZ"
        with target.wire("alice", first) as other:
            assert w.error_of(other.query(setting(second)))["C"] == "53300"
            assert w.error_of(wire.query(setting(first)))["C"] == "53300"
            in_step(other)
        assert target.refusal("alice", second)["C"] == "53300"
        in_step(wire)


def test_the_admin_database_shows_the_new_end(start: Start) -> None:
    target = start()
    with (
        target.wire("alice", target.issuer.token("alice", exp=2_000_000_000)) as wire,
        target.connect("admin", "admin-secret", dbname="admin") as admin,
    ):
        before = str(admin.execute("SHOW SUBJECTS").fetchall())
        wire.query(setting(target.issuer.token("alice", exp=2_100_000_000)))
        after = str(admin.execute("SHOW SUBJECTS").fetchall())
    assert before != after


def test_a_state_that_holds_a_server_is_kept(start: Start) -> None:
    target = start(**VARIABLES)
    with target.wire("alice", target.issuer.token("alice", team="red")) as wire:
        wire.rows("CREATE TEMPORARY TABLE mine (id int)")
        wire.rows("SET work_mem = '321kB'")
        assert w.types_of(wire.query(setting(target.issuer.token("alice", team="blue")))) == "CZ"
        assert wire.rows("SELECT count(*), current_setting('app.team') FROM mine") == [("0", "blue")]
        assert wire.value("SHOW work_mem") == "321kB"


def test_a_token_that_would_be_too_large_is_refused(start: Start, logging: Cluster) -> None:
    target = start(max_token_size=2000)
    token = target.issuer.token("alice", padding="x" * 3000)
    with target.wire("alice") as wire:
        for sent in (w.query, w.extended):
            wire.send(sent(setting(token)))
            assert w.error_of(wire.until_ready())["S"] == "ERROR"
        in_step(wire)
    assert token not in logging.primary.log_text()


def test_the_settings_cannot_be_smuggled_in_at_the_start(start: Start) -> None:
    target = start()
    assert target.refusal("alice", options="-c pgdog_jwt.token=x")["C"] == "28000"
    assert target.refusal("alice", **{"pgdog_jwt.token": "x"})["C"] == "28000"


def test_an_account_is_renewed_by_a_token_that_leads_to_it(account_gateway: Target) -> None:
    target = account_gateway
    with enter(target, "ann@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"
        for role, code in (("reader", None), ("writer", "0A000"), ("nobody", "28000")):
            messages = wire.query(setting(acct.token(target, "ann@example.com", role)))
            assert w.types_of(messages) == ("CZ" if code is None else "EZ")
            assert code is None or w.error_of(messages)["C"] == code
            assert wire.value(WHO) == f"{READER},{READER}"
        assert (
            w.error_of(wire.query(setting(acct.token(target, "wes@example.com", "reader"))))["C"] == "28000"
        )
        assert wire.value("SELECT body FROM newsletter") == "hello"


def test_a_tenant_stays_the_one_that_was_opened(make_gateway: Start, cluster: Cluster) -> None:
    target = make_gateway(
        tenants={"claim": "tenant", "variables": ["app.tenant"]}, databases=[primary_alone(cluster)]
    )
    tenant = "SELECT current_setting('app.tenant')"
    with target.wire("alice", target.issuer.token("alice", tenant="acme")) as wire:
        assert wire.value(tenant) == "acme"
        assert w.types_of(wire.query(setting(target.issuer.token("alice", tenant="acme")))) == "CZ"
        messages = wire.query(setting(target.issuer.token("alice", tenant="other")))
        assert w.error_of(messages)["C"] == "0A000"
        messages = wire.query(setting(target.issuer.token("alice")))
        assert w.error_of(messages)["C"] == "28000"
        assert wire.value(tenant) == "acme"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_renewal_outlives_a_reload(start: Start, mode: str) -> None:
    target = start(mode)
    gateway = target.gateway
    with target.wire("alice") as wire:
        in_step(wire)
        gateway.write(merged(gateway.config, {"general": {"query_timeout": 60_000}}))
        with target.connect("admin", "admin-secret", dbname="admin") as admin:
            admin.execute("RELOAD")
        messages = wire.query(setting(target.issuer.token("alice")))
        # A session that holds a connection of pools that are gone cannot change hands.
        assert w.types_of(messages) == ("CZ" if mode == "transaction" else "EZ")
        in_step(wire)
