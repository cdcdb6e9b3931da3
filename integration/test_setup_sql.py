"""`pgdog-jwt setup sql`: what the gateway prints and installs verifies what it signs; installing again."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import find_gateway
from harness.proof import CLAIMS, KEY_ID, SECRET, ClaimsServer, Session, script


def run(*arguments: str | Path, **env: str) -> str:
    command = [str(word) for word in (find_gateway(), *arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **env}
    )
    return done.stdout


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS,
        {},
        {"sub": 'o\'brien \\ "x" $$', "deep": {"a": [{"b": [1, 2.5, None, True]}]}, "long": "x" * 50_000},
    ],
    ids=["usual", "none", "odd"],
)
def test_what_the_gateway_signs_is_verified(verifier: ClaimsServer, tmp_path: Path, claims: Any) -> None:
    (tmp_path / "proof.key").write_text(SECRET + "\n")
    session = verifier.session(role="alice")
    where = session.payload(None)

    statement = run(
        *("token", "prove", "--key-file", tmp_path / "proof.key", "--key-id", KEY_ID, "--role", "alice"),
        *("--database", where["db"], "--pid", str(where["pid"]), "--start", str(where["start"])),
        *("--claims", json.dumps(claims)),
    )

    session.run(statement)
    assert session.claims() == claims
    session.run("SET ROLE bob")
    assert session.claims() is None


@pytest.mark.parametrize("pgvpd", [False, True])
def test_the_gateway_prints_what_is_installed(verifier: ClaimsServer, proven: Session, pgvpd: bool) -> None:
    printed = run("setup", "sql", *(["--pgvpd"] if pgvpd else []))

    verifier.execute(printed)
    assert proven.claims() == CLAIMS
    assert bool(verifier.execute("SELECT to_regproc('public.pgvpd_protect')")[0][0]) == pgvpd
    verifier.execute("DROP FUNCTION IF EXISTS public.pgvpd_protect(regclass, name)")
    assert verifier.execute("SELECT jwt.version()") == [(run("setup", "sql", "--version").strip(),)]


def test_the_gateway_installs_it(verifier: ClaimsServer, tmp_path: Path) -> None:
    with verifier.admin("postgres") as admin:
        admin.execute("CREATE ROLE installer LOGIN SUPERUSER PASSWORD 'installer-secret'")
        admin.execute("CREATE DATABASE empty")
    (tmp_path / "pgdog.toml").write_text(
        f"""
        [[databases]]
        name = "app"
        database_name = "empty"
        host = "{verifier.server.host}"
        port = {verifier.server.port}
        """
    )
    install = ("setup", "sql", "--install", "--config", tmp_path / "pgdog.toml", "--database")
    try:
        assert "version 2" in run(*install, "app", "--user", "installer", PGPASSWORD="installer-secret")
        assert "version 2" in run(*install, "app", "--user", "installer", PGPASSWORD="installer-secret")
        with verifier.admin("empty") as admin:
            assert admin.execute("SELECT jwt.version(), jwt.tenant()").fetchone() == ("2", None)
        with verifier.admin("empty") as admin:
            admin.execute(
                "GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT SELECT (inner_pad) ON jwt.keys TO bob"
            )
            admin.execute("CREATE ROLE copier REPLICATION")
        done = subprocess.run(
            [find_gateway(), *install, "app", "--user", "installer", "--pgvpd"],
            capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PGPASSWORD": "installer-secret"},
        )  # fmt: skip
        assert done.stderr.splitlines() == [
            "warning: public is a schema in which PUBLIC may create what calls of pgvpd's names find first: "
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "warning: jwt.keys can be copied by copier, with REPLICATION",
        ]
        for name, user, password, reason in (
            ("app", "installer", "wrong-secret", "password authentication failed"),
            ("other", "installer", "installer-secret", 'no [[databases]] with a primary of "other"'),
            ("app", "alice", "gateway-secret", "belongs to another role. Install as the role that owns it."),
        ):
            with pytest.raises(subprocess.CalledProcessError) as failed:
                run(*install, name, "--user", user, PGPASSWORD=password)
            assert reason in failed.value.stderr
            assert "secret" not in failed.value.stderr
    finally:
        with verifier.admin("postgres") as admin:
            admin.execute("DROP DATABASE empty")
            admin.execute("DROP ROLE installer; DROP ROLE IF EXISTS copier")


def test_installing_again_keeps_keys_and_claims(verifier: ClaimsServer, proven: Session) -> None:
    verifier.execute("SELECT jwt.set_tenant_claim('sub')")
    try:
        verifier.execute(script())
        verifier.execute(script())
        assert proven.run("SELECT jwt.tenant(), jwt.claim('tenant_id')") == [("alice", "acme")]
    finally:
        verifier.execute("SELECT jwt.set_tenant_claim('tenant_id')")


def test_a_schema_of_somebody_else_is_not_taken_over(verifier: ClaimsServer) -> None:
    with verifier.admin("postgres") as admin:
        admin.execute("CREATE DATABASE squatted")
    try:
        with verifier.admin("squatted") as admin:
            admin.execute("CREATE SCHEMA jwt AUTHORIZATION bob")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to another role"):
                admin.execute(script())
    finally:
        with verifier.admin("postgres") as admin:
            admin.execute("DROP DATABASE squatted")


def test_a_newer_version_is_not_replaced(verifier: ClaimsServer) -> None:
    newer = script().replace("SELECT '2' $$", "SELECT '3' $$").replace("::integer > 2", "::integer > 3")
    assert newer != script()
    verifier.execute(newer)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="newer"):
        verifier.execute(script())
    verifier.execute("DROP FUNCTION jwt.version()")
    verifier.execute(script())


def test_an_owner_without_all_rights_is_enough(verifier: ClaimsServer) -> None:
    with verifier.admin("postgres") as admin:
        admin.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'gateway-secret'")
        admin.execute("CREATE DATABASE owned OWNER plain_owner")
    try:
        owner = verifier.session(user="plain_owner", dbname="owned")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="when a session began"):
            owner.run(script())
        owner.run("ROLLBACK")
        with verifier.admin("postgres") as admin:
            admin.execute("GRANT pg_read_all_stats TO plain_owner")
        owner.run(script())
        owner.run("SELECT jwt.add_key(%s, %s)", KEY_ID, SECRET)
        session = verifier.session(role="alice", dbname="owned")
        session.prove(CLAIMS)
        assert session.claims() == CLAIMS
    finally:
        verifier.close_sessions()
        with verifier.admin("postgres") as admin:
            admin.execute("DROP DATABASE owned")
            admin.execute("DROP ROLE plain_owner")
