"""`pgdog-jwt token verify`: what it says of a token, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Issuer, find_gateway, primary_alone
from harness.external import is_external
from harness.issuer import tampered
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")


def verify(*arguments: str | Path, stdin: str = "") -> tuple[int, list[dict[str, Any]], str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
    done = subprocess.run(
        [find_gateway(), "token", "verify", *arguments],
        env=clean,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer("ES256")
    yield issuer
    issuer.close()


@pytest.fixture
def jwks(issuer: Issuer, tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [key.jwk for key in issuer.keys]}))
    return path


def test_a_good_token_is_allowed(issuer: Issuer, jwks: Path) -> None:
    token = issuer.token("alice")

    status, results, _ = verify("--jwks", jwks, "--audience", issuer.audience, "--issuer", issuer.name, token)

    assert (status, results) == (0, [{"signature": "valid", "claims": "accepted", "decision": "allow"}])


def test_the_token_may_come_from_a_file_or_from_standard_input(
    issuer: Issuer, jwks: Path, tmp_path: Path
) -> None:
    token = issuer.token("alice") + "\n"
    (tmp_path / "token").write_text(token)

    assert verify("--jwks", jwks, "-", stdin=token)[0] == 0
    assert verify("--jwks", jwks, stdin=token)[0] == 0
    assert verify("--jwks", jwks, "--token-file", tmp_path / "token")[0] == 0


def test_every_failed_check_is_named_and_not_only_the_first(issuer: Issuer, jwks: Path) -> None:
    token = issuer.token("none", aud="elsewhere", iss="https://evil.example", expires_in=-9, nbf=9999999999)

    status, [result], _ = verify(
        *("--jwks", jwks, "--audience", "postgres", "--issuer", issuer.name, "--user", "alice", token)
    )

    assert status == 1
    assert result["signature"] == "valid"
    assert result["claims"] == [
        "wrong_issuer",
        "wrong_audience",
        "expired",
        "not_yet_valid",
        "user_mismatch",
        "role_invalid",
    ]
    assert len(result["details"]) == 6
    assert (result["decision"], result["reason"]) == ("deny", "wrong_issuer")


def test_claims_and_signature_are_judged_apart(issuer: Issuer, jwks: Path) -> None:
    status, [result], _ = verify("--jwks", jwks, tampered(issuer.token("alice"), sub="bob"))

    assert status == 1
    assert (result["signature"], result["claims"]) == ("invalid", "accepted")
    assert (result["decision"], result["reason"]) == ("deny", "bad_signature")


@pytest.mark.parametrize("arguments", [("--alg", "RS256"), ("--alg", "EdDSA", "--alg", "ES384")])
def test_an_algorithm_that_is_not_taken_is_unsupported(
    issuer: Issuer, jwks: Path, arguments: tuple[str, ...]
) -> None:
    status, [result], _ = verify("--jwks", jwks, *arguments, issuer.token("alice"))

    assert (status, result["signature"], result["reason"]) == (1, "unsupported", "algorithm_not_allowed")
    assert result["claims"] == "accepted"


@pytest.mark.parametrize("text", ["hunter2-hunter2", "a.b.c", ""])
def test_what_is_no_token_is_invalid_and_not_repeated(jwks: Path, text: str) -> None:
    status, [result], errors = verify("--jwks", jwks, "-", stdin=text)

    assert (status, result["signature"], result["decision"]) == (1, "invalid", "deny")
    assert result["claims"] == [result["reason"]]
    assert "hunter2" not in json.dumps(result) + errors


def test_lines_are_judged_one_by_one(issuer: Issuer, jwks: Path) -> None:
    tokens = [issuer.token("alice"), "", " ", issuer.token("alice", expires_in=-5), issuer.token("bob")]

    status, results, _ = verify("--jwks", jwks, "--lines", stdin="\n".join(tokens))

    reasons = [result.get("reason") for result in results]
    assert reasons == [None, "empty_credential", "malformed_token", "expired", None]
    assert status == 1
    assert verify("--jwks", jwks, "--lines", stdin=f"{tokens[0]}\n{tokens[4]}\n")[0] == 0


def test_keys_may_be_in_a_pem_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = [find_gateway(), "token", "mint", "--new-key", keys, "--sub", "alice"]
    token = subprocess.run(made, capture_output=True, text=True, timeout=20, check=True).stdout

    assert verify("--pem", keys / "public.pem", stdin=token)[0] == 0
    assert verify("--pem", keys / "public.pem", "--user", "bob", stdin=token)[0] == 1


def test_policy_on_the_command_line_needs_keys_beside_it(issuer: Issuer) -> None:
    status, results, errors = verify("--audience", "postgres", issuer.token("alice"))

    assert status != 0
    assert not results
    assert "--jwks" in errors


def test_a_file_that_is_no_key_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_text("secret-secret")

    status, results, errors = verify("--jwks", tmp_path / "jwks", "a.b.c")

    assert status == 1
    assert not results
    assert "secret" not in errors


def test_a_configuration_decides_about_the_whole_login(
    make_gateway: Callable[..., Target], cluster: Any
) -> None:
    target = make_gateway(databases=[primary_alone(cluster)], start=False)
    files = ("--config", target.gateway.config_file, "--users", target.gateway.users_file)
    token = target.issuer.token("alice")

    assert verify(*files, token) == (
        0,
        [{"signature": "valid", "claims": "accepted", "decision": "allow"}],
        "",
    )
    status, [result], _ = verify(*files, "--database", "nowhere", token)
    assert (status, result["claims"], result["reason"]) == (1, "accepted", "unknown_database")
    status, [result], _ = verify(*files, target.issuer.token("postgres"))
    assert (status, result["claims"], result["reason"]) == (1, ["role_denied"], "role_denied")


def test_help_says_that_an_argument_can_be_seen() -> None:
    done = subprocess.run([find_gateway(), "token", "verify", "--help"], capture_output=True, text=True)

    assert "list of processes" in done.stdout
