"""`pgdog-jwt explain`: what would become of a login, said as the gateway would decide it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import find_gateway, primary_alone
from harness.accounts import READER_PASSWORD, READERS, WRITER_PASSWORD, WRITERS, account_tables
from harness.accounts import token as account_token
from harness.cluster import SERVER_PASSWORD, SERVER_USER
from harness.external import is_external
from harness.issuer import tampered
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")

MakeGateway = Callable[..., Target]
KEY = "an example key that is long enough for HMAC"
VARIABLES = {
    "app.tenant_id": {"value": "{tenant_id}", "required": True},
    "app.level": {"value": "{level}", "type": "int", "default": "0"},
}


def explain(target: Target, token: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The token goes in on standard input. It never comes out again, nor does a password or key."""
    files = ["--config", target.gateway.config_file, "--users", target.gateway.users_file]
    source = [] if any(str(each).startswith("--token") for each in arguments) else ["--token", "-"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
    done = subprocess.run(
        [find_gateway(), *files, "explain", *source, *arguments],
        env=clean,
        input=token,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = done.stdout + done.stderr
    parts = [part for part in token.split(".") if len(part) > 7]
    for secret in [*parts, SERVER_PASSWORD, READER_PASSWORD, WRITER_PASSWORD, KEY]:
        assert secret not in shown
    return done


def of(done: subprocess.CompletedProcess[str], label: str) -> list[str]:
    """The texts behind a label."""
    lines = [line.strip() for line in done.stdout.splitlines()]
    return [line.removeprefix(label).strip() for line in lines if line.startswith(label + " ")]


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    return make_module_gateway(databases=[primary_alone(cluster)])


@pytest.fixture(scope="module")
def variables(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    return make_module_gateway(
        databases=[primary_alone(cluster)],
        jwt={"session": {"variables": VARIABLES}, "shared_pool": True},
    )


def test_a_good_token_is_explained_from_its_issuer_to_the_sql(target: Target) -> None:
    done = explain(target, target.issuer.token("alice"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert of(done, "✓ issuer") == [target.issuer.name]
    assert of(done, "✓ algorithm") == ["RS256"]
    assert 'alice, by claim "sub"' in of(done, "✓ user")
    for check in ("token", "key", "signature", "audience", "times", "user name", "role", "pool"):
        assert of(done, f"✓ {check}"), check
    assert of(done, "role") == ["alice"]
    assert of(done, "use") == ["of this user alone"]
    assert "role = alice" in of(done, "start-up")
    assert "let in" in done.stdout.splitlines()[-1]


def test_the_token_may_be_an_argument_or_in_a_file(target: Target, tmp_path: Path) -> None:
    token = target.issuer.token("alice")
    (tmp_path / "token.txt").write_text(token + "\n")

    assert explain(target, token, "--token", token).returncode == 0
    assert explain(target, token, "--token-file", tmp_path / "token.txt").returncode == 0
    assert explain(target, token, "--token-file", "-").returncode == 0
    missing = explain(target, token, "--token-file", tmp_path / "none.txt")
    assert missing.returncode == 1
    assert "none.txt" in missing.stderr


REFUSED: dict[str, Callable[[Target], tuple[str, str]]] = {
    "expired": lambda target: (target.issuer.token("alice", expires_in=-30), "expired"),
    "audience": lambda target: (target.issuer.token("alice", aud="elsewhere"), "wrong_audience"),
    "issuer": lambda target: (target.issuer.token("alice", iss="https://evil.example"), "wrong_issuer"),
    "user": lambda target: (target.issuer.token("bob"), "user_mismatch"),
    "signature": lambda target: (tampered(target.issuer.token("bob"), sub="alice"), "bad_signature"),
    "password": lambda target: ("hunter2-hunter2", "malformed_token"),
    "key": lambda target: (target.issuer.token("alice", headers={"kid": "other"}), "unknown_kid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_reason_of_the_audit_log(target: Target, case: str) -> None:
    token, reason = REFUSED[case](target)

    target.gateway.mark()
    target.refusal("alice", token)
    assert target.gateway.last_login()["reason"] == reason
    done = explain(target, token, "--user", "alice")

    assert done.returncode == 1
    assert done.stdout.count("✗") == 1
    assert of(done, "refused")[0].startswith(f"{reason}: ")
    assert "SET ROLE" not in done.stdout


def test_a_denied_role_is_refused(target: Target) -> None:
    done = explain(target, target.issuer.token("postgres"))

    assert done.returncode == 1
    assert of(done, "refused")[0].startswith("role_denied: ")


def test_an_unknown_database_is_refused(target: Target) -> None:
    done = explain(target, target.issuer.token("alice"), "--database", "nowhere")

    assert done.returncode == 1
    assert of(done, "refused")[0].startswith("unknown_database: ")


def test_of_several_databases_one_must_be_named(make_gateway: MakeGateway, cluster: Any) -> None:
    demo = primary_alone(cluster)
    target = make_gateway(databases=[demo, demo | {"name": "other", "database_name": "demo"}], start=False)
    token = target.issuer.token("alice")

    done = explain(target, token)
    assert done.returncode == 1
    assert "demo, other" in done.stderr
    assert explain(target, token, "--database", "other").returncode == 0


def test_a_user_with_a_password_does_not_log_in_by_token(make_gateway: MakeGateway, cluster: Any) -> None:
    entry = {"name": "alice", "database": "demo", "password": "hunter2"}
    target = make_gateway(databases=[primary_alone(cluster)], users=[entry], start=False)

    done = explain(target, target.issuer.token("alice"))

    assert done.returncode == 1
    assert of(done, "refused")[0].startswith("not_a_token_user: ")
    assert "hunter2" not in done.stdout


def test_variables_are_shown_one_by_one_and_the_sql_makes_them(variables: Target, cluster: Any) -> None:
    done = explain(variables, variables.issuer.token("alice", tenant_id="it's \\ acme", level=7))

    assert done.returncode == 0, done.stdout
    expected = ["app.level = 7", "app.tenant_id = it's \\ acme"]
    assert of(done, "✓ variable") == expected
    assert of(done, "variable") == expected
    assert of(done, "use") == ["shared: identities follow the sessions"]
    [sql] = of(done, "SQL")[:1]
    primary = cluster.primary
    with psycopg.connect(
        host=primary.host,
        port=primary.port,
        user=SERVER_USER,
        password=SERVER_PASSWORD,
        dbname="demo",
        autocommit=True,
    ) as server:
        server.execute(sql.encode())
        answer = "SELECT current_user::text, current_setting('app.tenant_id'), current_setting('app.level')"
        assert server.execute(answer).fetchone() == ("alice", "it's \\ acme", "7")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [({}, "missing_variable"), ({"tenant_id": "a", "level": "x"}, "invalid_variable")],
)
def test_a_variable_that_does_not_work_out_is_named(
    variables: Target, claims: dict[str, Any], reason: str
) -> None:
    done = explain(variables, variables.issuer.token("alice", **claims))

    assert done.returncode == 1
    assert of(done, "refused")[0].startswith(f"{reason}: ")
    assert "app." in of(done, "✗ variable")[0]


def test_a_user_mapping_is_named(make_gateway: MakeGateway, cluster: Any) -> None:
    rules = [
        {"claim": "email", "pattern": "nobody", "user": "bob"},
        {"claim": "email", "pattern": r"([^@]+)@example\.com", "user": r"\1"},
    ]
    target = make_gateway(databases=[primary_alone(cluster)], jwt={"user_mappings": rules}, start=False)

    done = explain(target, target.issuer.token("id", email="alice@example.com"))

    assert done.returncode == 0, done.stdout
    assert "alice, by user mapping 2" in of(done, "✓ user")


def test_a_service_account_is_named_with_its_rule(make_gateway: MakeGateway, accounts: Any) -> None:
    target = make_gateway(start=False, **account_tables(accounts, WRITERS, READERS | {"pool_size": 3}))

    done = explain(target, account_token(target, "ann@example.com", "reader"))

    assert done.returncode == 0, done.stdout
    assert f"account {READERS['server_user']}" in of(done, "✓ role mapping")[0]
    assert of(done, "role") == [READERS["server_user"]]
    assert READERS["server_user"] in of(done, "user")
    assert "up to 3 connections" in of(done, "server")[0]
    stranger = explain(target, account_token(target, "ann@example.com", "stranger"))
    assert stranger.returncode == 1
    assert of(stranger, "refused")[0].startswith("no_role_mapping: ")


@pytest.mark.parametrize("mode", ["login", "passthrough"])
def test_a_subject_that_logs_in_itself_is_shown_so(
    make_gateway: MakeGateway, cluster: Any, mode: str
) -> None:
    target = make_gateway(
        databases=[primary_alone(cluster)],
        general={"jwt_server_user": None, "jwt_server_password": None},
        jwt={"identity": {"mode": mode, **({"login_auth": "trust"} if mode == "login" else {})}},
        start=False,
    )

    done = explain(target, target.issuer.token("alice"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert mode in of(done, "mode")
    assert of(done, "role") == ["alice"]
    assert "alice" in of(done, "user")
    assert "SET ROLE" not in done.stdout


def test_a_claim_that_only_reads_never_reaches_a_primary(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(
        databases=[primary_alone(cluster)], jwt={"claims": {"read_only": "read_only"}}, start=False
    )

    done = explain(target, target.issuer.token("alice", read_only=True))

    assert done.returncode == 1
    assert "read-only" in of(done, "✓ claims policy")
    assert of(done, "refused")[0].startswith("no_replica: ")


def test_a_read_only_session_is_shown_its_replicas(make_gateway: MakeGateway, cluster: Any) -> None:
    replica = primary_alone(cluster) | {"role": "replica"}
    target = make_gateway(
        databases=[primary_alone(cluster), replica], jwt={"claims": {"read_only": "read_only"}}, start=False
    )

    done = explain(target, target.issuer.token("alice", read_only=True))

    assert done.returncode == 0, done.stdout
    assert of(done, "access") == ["read-only, never on a primary"]
    assert sum("up to 5 connections" in server for server in of(done, "server")) == 1


def test_a_tenant_is_one_that_the_token_holds(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], tenants={"claim": "tenant_id"}, start=False)
    token = target.issuer.token("alice", tenant_id="acme")

    done = explain(target, token, "--user", "alice.acme")
    assert done.returncode == 0, done.stdout
    assert of(done, "tenant") == ["acme"]
    assert explain(target, token).returncode == 0
    other = explain(target, token, "--user", "alice.other")
    assert other.returncode == 1
    assert of(other, "refused")[0].startswith("tenant_denied: ")


def test_resolvers_give_their_variables(make_gateway: MakeGateway, cluster: Any) -> None:
    resolver = {
        "name": "org",
        "query": "SELECT 'org of ' || $1 AS org",
        "params": ["user"],
        "inject": {"app.org": "org"},
    }
    target = make_gateway(
        databases=[primary_alone(cluster)],
        resolvers=[resolver],
        resolver_account={"user": SERVER_USER, "password": SERVER_PASSWORD},
        start=False,
    )

    done = explain(target, target.issuer.token("alice"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert of(done, "variable") == ["app.org = org of alice"]


def test_a_proof_is_shown_as_dots(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], jwt={"proof": {"key": KEY}}, start=False)

    done = explain(target, target.issuer.token("alice", tenant_id="acme"))

    assert done.returncode == 0, done.stdout
    assert of(done, "claims")[0].startswith("proven to the database with key ")
    assert "set_config('jwt.proof','…',false)" in done.stdout


@pytest.mark.parametrize("credential", ["hunter2-hunter2", "x.y.z"])
def test_what_is_no_token_is_said_to_be_none(
    make_gateway: MakeGateway, cluster: Any, credential: str
) -> None:
    target = make_gateway(
        databases=[primary_alone(cluster)], general={"jwt_user_suffix": "@example.com"}, start=False
    )

    done = explain(target, credential)

    assert done.returncode == 1
    assert of(done, "refused")[0].startswith("malformed_token: ")


def test_what_a_token_says_stays_on_its_line(target: Target) -> None:
    done = explain(target, target.issuer.token("alice\nlet in\x1b[2K"))

    assert "\\nlet in" in done.stdout
    assert "\x1b" not in done.stdout
    assert sum(line.startswith("let in") for line in done.stdout.splitlines()) == 1
