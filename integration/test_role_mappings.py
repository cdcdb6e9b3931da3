"""Role mappings: which account of PostgreSQL a token leads to, in what order, and with which password."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.accounts import (
    BOSS,
    READER,
    READER_PASSWORD,
    READERS,
    WHO,
    WRITER,
    WRITER_PASSWORD,
    WRITERS,
    account_tables,
    enter,
    refused,
    token,
)
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]


# Which account


ROLES: list[tuple[dict[str, Any], str]] = [
    ({"role": ["reader", "writer"]}, WRITER),
    ({"role": ["writer", "reader"]}, WRITER),
    ({"role": "reader", "roles": ["writer"]}, WRITER),
    ({"role": "writer", "roles": ["reader"]}, WRITER),
    ({"roles": ["x", 17, None, {"a": "writer"}, ["writer"], "reader"]}, READER),
    ({"roles": "reader"}, READER),
]


@pytest.mark.parametrize(("claims", "account"), ROLES, ids=str)
def test_the_order_of_the_file_decides_and_not_that_of_the_token(
    account_gateway: Target, claims: dict[str, Any], account: str
) -> None:
    with enter(account_gateway, "ann@example.com", **({"role": None} | claims)) as wire:
        assert wire.value("SELECT current_user") == account


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"role": "Reader"},
        {"role": " reader"},
        {"role": "reader writer"},
        {"role": ""},
        {"role": {"reader": True}},
        {"role": True},
        {"groups": ["reader"]},
        {"scope": "reader"},
        {"https://example.com/roles": ["reader"]},
        {"role": "readers"},
        {"role": READER},
    ],
    ids=str,
)
def test_a_token_without_a_rule_is_refused(account_gateway: Target, claims: dict[str, Any]) -> None:
    account_gateway.gateway.mark()
    fields = refused(account_gateway, "ann@example.com", **({"role": None} | claims))

    assert fields["C"] == "28000"
    event = account_gateway.gateway.last_login(decision="refused", reason="no_role_mapping")
    assert event["user"] == "ann@example.com"
    # The one text that every refused token gets.
    assert fields["M"] == account_gateway.refusal("ann@example.com", "no token at all")["M"]


FOUND_IN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"claim": "https://example.com/roles", "value": "dba"}, {"https://example.com/roles": ["x", "dba"]}),
    ({"claim": "realm_access.roles", "value": "dba"}, {"realm_access": {"roles": ["dba"]}}),
    ({"claim": "realm.access", "value": "dba"}, {"realm.access": "dba", "realm": {"access": "other"}}),
    ({"claim": "scope", "value": "db:read"}, {"scope": "openid db:read email"}),
    ({"claim": "groups", "value": ["one", "two"]}, {"groups": ["two"]}),
    ({"claim": "groups", "pattern": "db-.*-read"}, {"groups": ["db-emea-read"]}),
    ({"claim": "groups", "pattern": "DB-.", "ignore_case": True}, {"groups": ["db-x"]}),
    ({"value": "Reader", "ignore_case": True}, {"role": "rEADER"}),
    ({"claim": "department", "value": "Site Admin"}, {"department": "Site Admin"}),
]


@pytest.mark.parametrize(("rule", "claims"), FOUND_IN, ids=str)
def test_roles_are_found_where_the_rule_says(
    make_accounts: MakeGateway, rule: dict[str, Any], claims: dict[str, Any]
) -> None:
    target = make_accounts({"server_user": READER, "server_password": READER_PASSWORD, **rule})

    with enter(target, "ann@example.com", **claims) as wire:
        assert wire.value(WHO) == f"{READER},{READER}"
    for nobody in (
        {},
        {"groups": ["db-x-reader-not"]},
        {"scope": "db:reader"},
        {"realm_access": {"roles": "DBA"}},
    ):
        assert refused(target, "ann@example.com", **nobody)["C"] == "28000" or claims == nobody


def test_the_default_is_for_tokens_that_no_rule_is_for(make_accounts: MakeGateway) -> None:
    target = make_accounts(WRITERS, READERS, default=READER)

    for claims in ({}, {"role": "unheard of"}, {"roles": []}):
        with enter(target, "ann@example.com", **claims) as wire:
            assert wire.value("SELECT current_user") == READER
    with enter(target, "wes@example.com", "writer") as wire:
        assert wire.value("SELECT current_user") == WRITER


def test_the_default_may_be_an_account_of_its_own(make_accounts: MakeGateway) -> None:
    account = {"server_user": READER, "server_password": READER_PASSWORD, "databases": ["demo"]}
    target = make_accounts(WRITERS, default=account)

    with enter(target, "ann@example.com") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


def test_a_rule_may_be_for_some_databases(make_accounts: MakeGateway, accounts: Any) -> None:
    second = primary_alone(accounts) | {"name": "second", "database_name": "demo"}
    target = make_accounts(
        WRITERS | {"databases": ["second"]},
        READERS | {"value": ["writer", "reader"], "databases": ["demo"]},
        databases=[primary_alone(accounts), second],
    )

    for database, account in (("demo", READER), ("second", WRITER)):
        with enter(target, "wes@example.com", "writer", database=database) as wire:
            assert wire.value("SELECT current_user") == account
    assert refused(target, "ann@example.com", "reader", database="second")["C"] == "28000"
    assert refused(target, "ann@example.com", "reader", database="nowhere")["S"] == "FATAL"


def test_the_token_decides_who_it_is_when_the_configuration_says_so(make_accounts: MakeGateway) -> None:
    target = make_accounts(user_match="claim")

    with target.wire(WRITER, token(target, "ann@example.com", "reader")) as wire:
        assert wire.value(WHO) == f"{READER},{READER}"
    target.gateway.last_login(decision="accepted", subject="id of ann@example.com", account=READER)


def test_an_entry_in_the_users_file_leads_to_no_other_account(make_accounts: MakeGateway) -> None:
    entry = {"name": "ann@example.com", "database": "demo", "server_user": WRITER}
    target = make_accounts(users=[entry | {"server_password": WRITER_PASSWORD}])

    with enter(target, "ann@example.com", "reader") as wire:
        assert wire.value(WHO) == f"{READER},{READER}"


# Passwords


@pytest.mark.parametrize("way", ["literal", "variable", "file"])
def test_a_password_with_any_characters_works_from_anywhere(
    make_accounts: MakeGateway, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "password"
    file.write_text(WRITER_PASSWORD + "\n")
    source = {
        "literal": {"server_password": WRITER_PASSWORD},
        "variable": {"server_password_env": "ACCOUNT_PASSWORD"},
        "file": {"server_password_file": str(file)},
    }[way]
    target = make_accounts(
        {"value": "writer", "server_user": WRITER, **source}, env={"ACCOUNT_PASSWORD": WRITER_PASSWORD}
    )

    with enter(target, "wes@example.com", "writer") as wire:
        assert wire.value("SELECT who FROM payroll") == "ceo"


def test_a_wrong_password_of_the_account_looks_like_any_refusal(make_accounts: MakeGateway) -> None:
    target = make_accounts(READERS | {"server_password": "not-the-password"})

    fields = refused(target, "ann@example.com", "reader")
    assert fields["M"] == target.refusal("ann@example.com", "no token at all")["M"]
    target.gateway.last_login(decision="refused", reason="role_refused", account=READER)
    assert "not-the-password" not in target.gateway.log_text()


def test_a_changed_password_file_counts_after_a_reload(
    make_accounts: MakeGateway, accounts: Any, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(READER_PASSWORD)
    mapping = {"value": "reader", "server_user": READER, "server_password_file": str(file)}
    target = make_accounts(mapping)
    with enter(target, "ann@example.com", "reader") as ann:
        assert ann.value(WHO) == f"{READER},{READER}"
        try:
            with accounts.admin() as admin:
                admin.execute(f"ALTER ROLE {READER} PASSWORD 'rotated'")
            file.write_text("rotated\n")
            target.gateway.send(signal.SIGHUP)
            with accounts.admin() as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [READER]
                )

            eventually(lambda: enter(target, "bea@example.com", "reader").close() is None, "the new password")
            assert eventually(lambda: _value(ann, WHO), "the session goes on") == f"{READER},{READER}"
        finally:
            with accounts.admin() as admin:
                admin.execute(f"ALTER ROLE {READER} PASSWORD '{READER_PASSWORD}'")


def _value(wire: w.Wire, sql: str) -> str | None:
    try:
        return wire.value(sql)
    except ServerError:
        return None


# Reload


@pytest.mark.parametrize(
    "change",
    [
        [WRITERS],
        [READERS | {"value": "other"}, WRITERS],
        [WRITERS | {"value": "reader", "name": "first"}, READERS],
    ],
    ids=["gone", "for others", "behind another"],
)
def test_a_session_does_not_keep_an_account_that_its_token_no_longer_leads_to(
    make_accounts: MakeGateway, change: list[dict[str, Any]]
) -> None:
    target = make_accounts(READERS, WRITERS)
    with enter(target, "ann@example.com", "reader") as wire:
        wire.value("SELECT 1")
        config = target.gateway.config
        target.gateway.write({**config, "jwt": {**config["jwt"], "role_mappings": change}})
        target.gateway.send(signal.SIGHUP)

        def ended() -> bool:
            try:
                return w.error_of(wire.query("SELECT 1"))["C"] == "57P01"
            except EOFError:
                return True
            except AssertionError:
                return False

        eventually(ended, "the end of the session")


def test_a_session_goes_on_when_rules_are_added_behind_its_own(make_accounts: MakeGateway) -> None:
    target = make_accounts(READERS)
    with enter(target, "ann@example.com", "reader") as wire:
        wire.value("SELECT 1")
        config = target.gateway.config
        target.gateway.write({**config, "jwt": {**config["jwt"], "role_mappings": [READERS, WRITERS]}})
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: enter(target, "wes@example.com", "writer").close() is None, "the new rule")

        assert wire.value(WHO) == f"{READER},{READER}"


# The environment, as gprxy has it


def test_mappings_may_stand_in_the_environment(make_gateway: MakeGateway, accounts: Any) -> None:
    tables = account_tables(accounts)
    tables["jwt"]["identity"]["role_mappings_from_env"] = True
    env = {
        "ROLE_MAPPING_WRITER": f"{WRITER}: {WRITER_PASSWORD} ",
        "ROLE_MAPPING_ADMIN": f"{READER}:{READER_PASSWORD}",
        "DEFAULT_ROLE": "Admin",
    }
    target = make_gateway(users=[], env=env, **tables)

    for claims, account in (
        ({"role": "Writer"}, WRITER),
        ({"role": ["writer", "ADMIN"]}, READER),
        ({"roles": ["admin", "writer"]}, READER),
        ({"role": "unheard of"}, READER),
        ({}, READER),
    ):
        with enter(target, "ann@example.com", **claims) as wire:
            assert wire.value(WHO) == f"{account},{account}", claims


def test_the_environment_is_not_read_unless_the_file_says_so(make_accounts: MakeGateway) -> None:
    target = make_accounts(
        READERS, env={"ROLE_MAPPING_WRITER": f"{WRITER}:{WRITER_PASSWORD}", "DEFAULT_ROLE": "writer"}
    )

    assert refused(target, "wes@example.com", "writer")["C"] == "28000"


def test_a_variable_that_cannot_be_read_keeps_the_gateway_from_starting(
    make_gateway: MakeGateway, accounts: Any
) -> None:
    tables = account_tables(accounts, READERS)
    tables["jwt"]["identity"]["role_mappings_from_env"] = True

    with pytest.raises(RuntimeError) as refusal:
        make_gateway(users=[], env={"ROLE_MAPPING_WRITER": "hunter2"}, **tables)
    assert "ROLE_MAPPING_WRITER" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_check_says_who_gets_which_account_and_no_password(make_accounts: MakeGateway) -> None:
    target = make_accounts(
        WRITERS | {"databases": ["demo"], "pool_size": 3},
        {"pattern": "db-.*", "claim": "groups", "server_user": BOSS, "pooler_mode": "session"},
        READERS | {"ignore_case": True, "name": "readers"},
        default="readers",
        user_mappings=[{"claim": "email", "pattern": "(.*)@x", "user": r"\1", "lowercase": True}],
        start=False,
    )
    command = [target.gateway.program, "--config", target.gateway.config_file, "check"]
    done = subprocess.run(command, cwd=target.gateway.folder, capture_output=True, text=True, timeout=20)

    assert done.returncode == 0, done.stderr
    page = done.stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in page if line.startswith("account ")] == [
        f'{WRITER} for "writer" in role, roles, on demo, with a password, up to 3 connections',
        f"{BOSS} for /db-.*/ in groups, on all databases, without a password, session mode",
        f'{READER} (readers) for "reader" in role, roles, in any case, on all databases, with a password',
        f"{READER} (readers) for other tokens, on all databases, with a password",
    ]
    assert r'user: "\1" for claim "email" like /(.*)@x/, in lower case' in done.stdout
    assert "secret" not in done.stdout
    assert WRITER_PASSWORD not in done.stdout
