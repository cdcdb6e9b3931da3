"""Who a session is: the token's subject and nobody else, or there is no session."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness import eventually, primary_alone
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
LONGEST = "long_23456789_123456789_123456789_123456789_123456789_123456789"
ODD = ['o"brien; DROP TABLE notes --', "Zoë 'Ünïcode' 名前", "alice@example.com", LONGEST]


@pytest.mark.parametrize("role", ODD)
def test_a_role_name_is_used_byte_for_byte(gateway: Target, role: str) -> None:
    with gateway.wire(role) as wire:
        assert wire.value("SELECT current_user") == role
        assert wire.value("SELECT count(*) FROM notes") == "0"


@pytest.mark.parametrize(
    "role",
    ["mallory", "stranger", "ALICE", "alice ", " alice", '"alice"', "alice\t", LONGEST + "X", LONGEST[:-1]],
    ids=repr,
)
def test_a_role_that_does_not_exist_or_may_not_be_assumed_is_refused(gateway: Target, role: str) -> None:
    assert gateway.refusal(role)["C"] == "28000"


@pytest.mark.parametrize("role", ["none", "NONE", "None", "nOnE", "default", "current_user"])
def test_words_that_mean_no_role_are_refused(gateway: Target, role: str) -> None:
    assert gateway.refusal(role)["C"] == "28000"


@pytest.mark.parametrize(
    "role",
    ["postgres", "pg_read_all_data", "pg_write_server_files", "pg_anything", "gateway", "boss", "snoop"],
)
def test_roles_that_row_level_security_would_not_hold_are_refused(gateway: Target, role: str) -> None:
    assert gateway.refusal(role)["C"] == "28000"


def test_a_nul_in_a_subject_does_not_cut_it_short(gateway: Target) -> None:
    token = gateway.issuer.token("alice\0bob")

    assert gateway.refusal("alice", token)["C"] == "28000"


def test_a_good_token_for_somebody_else_is_refused(gateway: Target) -> None:
    assert gateway.refusal("bob", gateway.issuer.token("alice"))["C"] == "28000"


@pytest.mark.parametrize("subject", [17, ["alice"], {"name": "alice"}, True, 1.5], ids=repr)
def test_a_subject_that_is_no_text_is_refused(gateway: Target, subject: Any) -> None:
    token = gateway.issuer.token("alice", sub=subject)

    assert gateway.refusal("alice", token)["C"] == "28000"


def test_a_user_with_a_password_cannot_be_had_with_somebody_elses_token(gateway: Target) -> None:
    with pytest.raises(psycopg.OperationalError):
        gateway.connect("service", gateway.issuer.token("alice"))


def test_the_claim_decides_when_the_configuration_says_so(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"user_match": "claim"})

    with target.wire("whoever", target.issuer.token("alice")) as wire:
        assert wire.value("SELECT current_user") == "alice"


def test_the_claim_that_decides_never_makes_an_administrator_of_a_subject(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"user_match": "claim"})

    with pytest.raises(psycopg.OperationalError):
        target.connect("service", target.issuer.token("postgres"))
    assert target.refusal("whoever", target.issuer.token("postgres"))["C"] == "28000"


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("email", {"email": "alice@example.com"}),
        ("realm_access.user", {"realm_access": {"user": "alice@example.com"}}),
        ("https://example.com/user", {"https://example.com/user": "alice@example.com"}),
        ("user.name", {"user.name": "alice@example.com", "user": {"name": "bob"}}),
    ],
)
def test_the_user_name_comes_from_a_claim_by_path(
    make_gateway: MakeGateway, path: str, claims: dict[str, Any]
) -> None:
    target = make_gateway(general={"jwt_username_claim": path})
    token = target.issuer.token("some-opaque-id", **claims)

    with target.wire("alice@example.com", token) as wire:
        assert wire.value("SELECT current_user") == "alice@example.com"
    assert target.refusal("some-opaque-id", token)["C"] == "28000"


def test_only_users_with_the_suffix_are_token_users(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"jwt_user_suffix": "@example.com"})

    target.wire("alice@example.com").close()
    with pytest.raises(psycopg.OperationalError):
        target.connect("alice")
    with target.connect("service", "service-secret") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("service",)


def test_simultaneous_subjects_never_see_each_others_role(gateway: Target) -> None:
    """Small transactions of three subjects, interleaved over few server connections."""

    def work(user: str) -> set[tuple[Any, ...]]:
        seen = set()
        with gateway.connect(user, prepare_threshold=None) as connection:
            for turn in range(60):
                if turn % 3 == 0:
                    with connection.transaction():
                        seen.add(
                            connection.execute("SELECT current_user, owner FROM notes LIMIT 1").fetchone()
                        )
                else:
                    seen.add((connection.execute("SELECT current_user").fetchone() or ("?",))[0])
        return seen

    users = ["alice", "bob", "reader"] * 4
    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        answers = list(pool.map(work, users))

    for user, seen in zip(users, answers, strict=True):
        assert seen == {user, (user, user)}


def test_an_error_in_a_transaction_leaves_the_role_alone(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query("SELECT 1/0")
        wire.query("ROLLBACK")

        assert wire.value("SELECT current_user") == "alice"


@pytest.mark.parametrize("statement", ["DISCARD ALL", "RESET ALL"])
def test_statements_that_reset_everything_keep_the_subject(gateway: Target, statement: str) -> None:
    with gateway.wire("alice") as wire:
        wire.rows(statement)

        assert wire.value("SELECT current_user") == "alice"
        assert wire.value("SELECT DISTINCT owner FROM notes") == "alice"


def test_a_role_that_disappears_ends_the_next_login_with_an_error(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    # A replica may not have heard of it yet.
    gateway = make_gateway(databases=[primary_alone(cluster)])
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE fleeting")
        admin.execute("GRANT subjects TO fleeting; GRANT fleeting TO gateway")
    with gateway.wire("fleeting") as wire:
        assert wire.value("SELECT current_user") == "fleeting"

    with cluster.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
        admin.execute("DROP ROLE fleeting")

    # The pool may notice at the login or at the first statement, but never answers as somebody else.
    with pytest.raises((ServerError, EOFError)):
        gateway.wire("fleeting").value("SELECT current_user")


def test_without_provisioning_a_subject_must_be_in_the_users_file(make_gateway: MakeGateway) -> None:
    users = [
        {"name": "bob", "database": "demo", "server_user": "gateway", "server_password": "gateway-secret"}
    ]
    target = make_gateway(general={"jwt_user_auto_provision": False}, users=users)

    with target.wire("bob") as wire:
        assert wire.value("SELECT current_user") == "bob"
    assert target.refusal("alice")["C"] == "28000"


def test_roles_on_the_deny_list_are_refused(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"deny_roles": ["bob", "car*"]})

    assert target.refusal("bob")["C"] == "28000"
    assert target.refusal("carol")["C"] == "28000"
    target.wire("alice").close()


def test_a_subject_without_its_role_can_log_in_once_it_has_one(gateway: Target, cluster: Any) -> None:
    assert gateway.refusal("newcomer")["C"] == "28000"

    with cluster.admin() as admin:
        admin.execute("CREATE ROLE newcomer")
        admin.execute("GRANT subjects TO newcomer; GRANT newcomer TO gateway")
    try:
        eventually(lambda: gateway.wire("newcomer").close() is None, "a login")
    finally:
        with cluster.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
            admin.execute("DROP ROLE newcomer")
