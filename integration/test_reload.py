"""SIGHUP: a good file counts from then on, a bad one changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, merged
from harness import wire as w
from harness.accounts import enter
from harness.target import Target

MakeGateway = Callable[..., Target]


def logged_in(target: Target, audience: str) -> bool:
    try:
        target.wire("alice", target.issuer.token("alice", aud=audience)).close()
    except Exception:
        return False
    return True


def test_a_good_file_counts_for_new_logins(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    assert not logged_in(target, "new-audience")

    target.gateway.write(merged(target.gateway.config, {"general": {"jwt_audience": "new-audience"}}))
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: logged_in(target, "new-audience"), "the new audience")
    assert not logged_in(target, "postgres")


def test_a_new_database_appears(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway()
    assert target.refusal("alice", database="second")["S"] == "FATAL"
    second = {"name": "second", "host": "127.0.0.1", "port": cluster.primary.port, "database_name": "demo"}

    databases = [*target.gateway.config["databases"], second]
    target.gateway.write(merged(target.gateway.config, {"databases": databases}))
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: target.wire("alice", database="second").close() is None, "the new database")


def test_a_new_user_of_the_users_file_appears(make_gateway: MakeGateway) -> None:
    target = make_gateway(users=[])
    reports = {"name": "reports", "database": "demo", "password": "reports-secret"}

    target.gateway.write(users={"users": [reports]})
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: target.connect("reports", "reports-secret").close() is None, "the new user")


def test_sessions_go_on_over_a_reload(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        wire.rows("BEGIN")
        pid = wire.value("SELECT pg_backend_pid()")

        target.gateway.write(merged(target.gateway.config, {"general": {"default_pool_size": 2}}))
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: target.wire("bob").close() is None, "a login after the reload")

        assert wire.value("SELECT pg_backend_pid()") == pid
        wire.rows("COMMIT")
        assert wire.value("SELECT current_user") == "alice"


CHANGES = {
    "session mode": {"general": {"pooler_mode": "session"}},
    "statement mode": {"general": {"pooler_mode": "statement"}},
    "cleaning": {"general": {"server_cleaning": "always"}},
    "limits": {"jwt": {"max_statement_size": 100_000, "max_token_size": 10_000}},
    "SQL PREPARE": {"general": {"prepared_statements": "full"}},
}


def reload(target: Target, change: dict[str, Any]) -> None:
    """A change that counts for new logins when this returns."""
    seen = len(target.gateway.log())
    target.gateway.write(merged(target.gateway.config, change))
    target.gateway.send(signal.SIGHUP)
    events = target.gateway.log
    eventually(lambda: any(one.get("event") == "reload" for one in events()[seen:]), "the reload")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_session_goes_on_under_other_rules(make_gateway: MakeGateway, change: dict[str, Any]) -> None:
    target = make_gateway()
    with target.wire("alice", work_mem="5MB") as wire:
        wire.query("SET maintenance_work_mem = '40MB'")
        wire.send(w.extended("SELECT 6"))
        wire.until_ready()

        reload(target, change)

        assert wire.value("SELECT current_user") == "alice"
        assert wire.value("SHOW work_mem") == "5MB"
        assert wire.value("SHOW maintenance_work_mem") == "40MB"
        wire.send(w.extended("SELECT 7", name="seven"))
        assert w.types_of(wire.until_ready()) == "12TDCZ"
        wire.send(w.bind(statement="seven"), w.execute(), w.SYNC)
        assert w.types_of(wire.until_ready()) == "2DCZ"


def test_another_mode_holds_from_the_next_statement_on(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    with target.wire("alice") as wire, target.wire("alice") as other:
        wire.value("SELECT 1")
        reload(target, CHANGES["session mode"])
        pid = wire.value("SELECT pg_backend_pid()")
        assert other.value("SELECT pg_backend_pid()") != pid == wire.value("SELECT pg_backend_pid()")


KEPT = {
    "named": (w.parse("SELECT 7", "seven"), w.query("SELECT 1")),
    "unnamed": (w.parse("SELECT 7"), w.bind() + w.execute() + w.SYNC),
}


@pytest.mark.parametrize(("kept", "next_"), KEPT.values(), ids=KEPT)
def test_a_session_whose_statements_would_be_lost_ends(
    make_gateway: MakeGateway, kept: bytes, next_: bytes
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        wire.send(kept, w.SYNC)
        wire.until_ready()

        reload(target, CHANGES["session mode"])

        wire.send(next_)
        last = wire.receive_until("E", "Z")[-1]
        assert (last.type, last.fields["S"], last.fields["C"]) == ("E", "FATAL", "57P01")


@pytest.mark.parametrize(
    "change", [{"jwt_user_auto_provision_read_only": True}, {"jwt_user_auto_provision": False}], ids=str
)
def test_a_session_does_not_keep_rights_that_a_reload_took(
    make_gateway: MakeGateway, change: dict[str, bool]
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        wire.rows("INSERT INTO notes (body) VALUES ('before the reload')")
        target.gateway.write(merged(target.gateway.config, {"general": change}))
        target.gateway.send(signal.SIGHUP)

        def refused() -> bool:
            return wire.query("INSERT INTO notes (body) VALUES ('after the reload')")[0].type == "E"

        eventually(lambda: refused_or_closed(refused), "the end of the right to write")


def test_a_session_follows_a_new_account_for_tokens(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        assert wire.value("SELECT session_user") == "gateway"
        account = {"jwt_server_user": "gateway_trust", "jwt_server_password": None}
        target.gateway.write(merged(target.gateway.config, {"general": account}))
        target.gateway.send(signal.SIGHUP)

        eventually(lambda: wire.value("SELECT session_user") == "gateway_trust", "the new account")
        assert wire.value("SELECT current_user") == "alice"


def refused_or_closed(refused: Callable[[], bool]) -> bool:
    try:
        return refused()
    except (EOFError, ConnectionError):
        return True


BAD_FILES = {
    "no TOML": "[general\nport = 6432\n",
    "unknown key": '[general]\nporrt = 6432\nhost = "127.0.0.1"\n',
    "wrong type": '[general]\nport = "many"\n',
    "impossible value": '[general]\npooler_mode = "sometimes"\n',
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_changes_nothing_and_is_explained(make_gateway: MakeGateway, text: str) -> None:
    target = make_gateway()
    seen = len(target.gateway.log())

    target.gateway.config_file.write_text(text)
    target.gateway.send(signal.SIGHUP)

    def complaint() -> list[dict[str, Any]]:
        return [event for event in target.gateway.log()[seen:] if event.get("level") == "ERROR"]

    explained = str(eventually(complaint, "a line in the log"))
    assert "pgdog.toml:" in explained
    assert logged_in(target, "postgres")
    assert not target.gateway.exited


def test_a_missing_file_changes_nothing(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    seen = len(target.gateway.log())

    target.gateway.config_file.unlink()
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: "pgdog.toml" in str(target.gateway.log()[seen:]), "a line in the log")
    assert logged_in(target, "postgres")


def test_a_session_that_nothing_watches_ends_when_settings_begin_to_carry_claims(
    make_accounts: MakeGateway,
) -> None:
    """S3: it could set for itself what row-level security reads from now on."""
    target = make_accounts()
    with enter(target, "ann@example.com", "reader") as before:
        before.rows("SET app.tenant_id = 'of my own choice'")
        config = target.gateway.config
        session = {"variables": {"app.tenant_id": "{tenant_id}"}}
        target.gateway.write({**config, "jwt": {**config["jwt"], "session": session}})
        target.gateway.send(signal.SIGHUP)

        def carried() -> bool:
            with enter(target, "bea@example.com", "reader", tenant_id="acme") as wire:
                return wire.value("SELECT current_setting('app.tenant_id', true)") == "acme"

        eventually(carried, "the new file")
        before.send(w.query("SELECT current_setting('app.tenant_id', true)"))
        assert before.receive_until("E", "D")[-1].fields["S"] == "FATAL"
