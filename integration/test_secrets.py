"""Secrets from files, variables and programs: at the start, a reload, an interval, when one is refused."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import tomli_w
from psycopg import sql

from harness import eventually, find_gateway, primary_alone
from harness.external import is_external
from harness.ports import free_port
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.skipif(is_external(), reason="starts gateways with settings of their own")

AWKWARD = "two  wörds 'quo\"ted' $HOME \\n 🔑;|&"
NUMBERS = itertools.count()


class Account:
    """A role of its own that may become alice, and a file with its password."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self.cluster = cluster
        self.name = f"rotating_{os.getpid()}_{next(NUMBERS)}"
        self.file = folder / "password"
        with cluster.admin() as admin:
            name = sql.Identifier(self.name)
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN NOINHERIT").format(name))
            admin.execute(sql.SQL("GRANT alice TO {}").format(name))

    def set(self, password: str) -> None:
        """In PostgreSQL alone."""
        with self.cluster.admin() as admin:
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            admin.execute(statement.format(sql.Identifier(self.name), sql.Literal(password)))

    def store(self, password: str) -> None:
        """In the file alone, in one step."""
        new = self.file.with_suffix(".new")
        new.write_text(password + "\n")
        new.chmod(0o600)
        new.rename(self.file)

    def rotate(self, password: str) -> None:
        self.store(password)
        self.set(password)

    def close_connections(self) -> None:
        """What the gateway has must be made again."""
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s"
        with self.cluster.admin() as admin:
            eventually(lambda: admin.execute(query, [self.name]).fetchone() == (0,), "the connections' end")

    def drop(self) -> None:
        self.close_connections()
        with self.cluster.admin() as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self.name)))


@pytest.fixture
def account(cluster: Any, tmp_path: Path) -> Iterator[Account]:
    made = Account(cluster, tmp_path)
    yield made
    made.drop()


def printing(account: Account, **more: int) -> dict[str, Any]:
    return {"command": ["cat", str(account.file)], **more}


@pytest.fixture
def start(make_gateway: MakeGateway, account: Account) -> Callable[..., Target]:
    def make(
        env: dict[str, str] | None = None, general: dict[str, Any] | None = None, **secret: Any
    ) -> Target:
        own = {
            "jwt_server_user": account.name,
            "jwt_server_password": None,
            "openmetrics_port": free_port(),
            **{f"jwt_server_password{form}": value for form, value in secret.items()},
            **(general or {}),
        }
        return make_gateway(env=env, general=own, databases=[primary_alone(account.cluster)])

    return make


def works(target: Target) -> bool:
    with target.wire("alice") as wire:
        return wire.value("SELECT current_user") == "alice"


def events(target: Target, event: str, **fields: Any) -> list[dict[str, Any]]:
    return [one for one in target.gateway.log() if {"event": event, **fields}.items() <= one.items()]


def renewals(target: Target, outcome: str) -> float:
    port = target.gateway.config["general"]["openmetrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = f'pgdog_jwt_secret_renewals_total{{outcome="{outcome}"}} '
    (value,) = [line.removeprefix(name) for line in lines if line.startswith(name)]
    return float(value)


def assert_no_secret_in_the_log(target: Target, *secrets: str) -> None:
    text = target.gateway.log_text()
    assert not [secret for secret in secrets if secret in text or json.dumps(secret)[1:-1] in text]


FORMS: dict[str, Callable[[Account], dict[str, Any]]] = {
    "text": lambda account: {"": AWKWARD},
    "file": lambda account: {"_file": str(account.file)},
    "variable": lambda account: {"_env": "PASSWORD_OF_MINE"},
    "list": lambda account: {"_command": ["printf", "%s\n", AWKWARD]},
    "string": lambda account: {"_command": f"cat {account.file}"},
    "table": lambda account: {"_command": printing(account, timeout=30_000, interval=60)},
    "credential": lambda account: {"_file": "${CREDENTIALS_DIRECTORY}/password"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_account_logs_in_with_a_secret_of_each_form(
    start: Callable[..., Target], account: Account, form: Callable[[Account], dict[str, Any]]
) -> None:
    account.rotate(AWKWARD)
    env = {"PASSWORD_OF_MINE": AWKWARD, "CREDENTIALS_DIRECTORY": str(account.file.parent)}

    target = start(env=env, **form(account))

    assert works(target)
    assert_no_secret_in_the_log(target, AWKWARD)


def test_a_file_is_read_again_at_a_reload(start: Callable[..., Target], account: Account) -> None:
    account.rotate("first-secret")
    target = start(_file=str(account.file))
    with target.wire("alice") as session:
        assert session.value("SELECT 1") == "1"

        account.rotate("second-secret")
        assert works(target), "by the connection that is there"
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: events(target, "reload", decision="accepted"), "the reload")
        account.close_connections()

        assert works(target)
        assert session.value("SELECT current_user") == "alice"
    assert not events(target, "server_login")
    assert_no_secret_in_the_log(target, "first-secret", "second-secret")


def test_a_missing_file_refuses_a_reload_and_changes_nothing(
    start: Callable[..., Target], account: Account
) -> None:
    account.rotate("first-secret")
    target = start(_file=str(account.file))
    account.file.unlink()

    target.gateway.send(signal.SIGHUP)

    (refused,) = eventually(lambda: events(target, "reload"), "the reload")
    assert refused["decision"] == "refused"
    assert "jwt_server_password_file" in refused["reason"]
    account.close_connections()
    assert works(target)


def test_a_program_is_run_again_at_its_interval(start: Callable[..., Target], account: Account) -> None:
    account.rotate("first-secret")
    target = start(_command=printing(account, interval=1))
    assert works(target)

    account.rotate("second-secret")
    eventually(lambda: renewals(target, "changed") == 1, "the new secret")
    account.close_connections()

    assert works(target)
    assert not events(target, "server_login")
    (renewed,) = events(target, "secret", decision="renewed")
    assert renewed["program"] == "cat"
    assert_no_secret_in_the_log(target, "first-secret", "second-secret", str(account.file))


def test_a_program_is_run_again_when_its_secret_is_refused(
    start: Callable[..., Target], account: Account
) -> None:
    account.rotate("first-secret")
    target = start(_command=printing(account, interval=86_400))
    assert works(target)

    def rotated(password: str) -> bool:
        account.rotate(password)
        account.close_connections()
        return works(target)

    eventually(lambda: rotated("second-secret"), "a program may not run more than once in a second")
    assert rotated("second-secret")
    assert not events(target, "reload")


def test_the_old_secret_stays_while_the_program_fails(start: Callable[..., Target], account: Account) -> None:
    account.rotate("first-secret")
    target = start(_command=printing(account, interval=1))

    account.file.rename(account.file.with_suffix(".away"))
    eventually(lambda: renewals(target, "failed") > 0, "a failure")
    account.close_connections()
    assert works(target)
    kept = events(target, "secret", decision="kept")[0]
    assert kept["reason"] == 'the program "cat" failed (exit status: 1)'
    assert kept["level"] == "WARN"

    account.rotate("second-secret")
    eventually(lambda: renewals(target, "changed") == 1, "the new secret")
    account.close_connections()
    assert works(target)


def test_a_program_that_hangs_holds_up_nobody(
    start: Callable[..., Target], account: Account, tmp_path: Path
) -> None:
    account.rotate("first-secret")
    hang, script = tmp_path / "hang", f"test -e {tmp_path}/hang && exec sleep 600; cat {account.file}"
    command = {"command": ["sh", "-c", script], "timeout": 1_000, "interval": 1}
    target = start(_command=command)
    hang.touch()
    eventually(lambda: renewals(target, "failed") > 0, "a failure")

    account.close_connections()

    assert works(target)
    assert "did not end within 1s" in events(target, "secret", decision="kept")[0]["reason"]


def test_sessions_go_on_while_a_reload_waits_for_a_program(
    start: Callable[..., Target], account: Account, tmp_path: Path
) -> None:
    account.rotate("first-secret")
    held = tmp_path / "held"
    script = f"while test -e {held}; do sleep 0.05; done; cat {account.file}"
    target = start(_command={"command": ["sh", "-c", script], "timeout": 600_000, "interval": 0})
    held.touch()
    target.gateway.send(signal.SIGHUP)

    with target.wire("alice") as session:
        assert [session.value("SELECT current_user") for _ in range(20)] == ["alice"] * 20
    assert not events(target, "reload")

    account.rotate("second-secret")
    held.unlink()
    eventually(lambda: events(target, "reload", decision="accepted"), "the reload")
    account.close_connections()
    assert works(target)
    assert not events(target, "server_login")


def test_passwords_of_clients_are_renewed(make_gateway: MakeGateway, cluster: Any, tmp_path: Path) -> None:
    of_user, of_admin = tmp_path / "user", tmp_path / "admin"
    of_user.write_text("reports-secret\n")
    of_admin.write_text("admin-one\n")
    command = [{"command": ["cat", str(path)], "interval": 1} for path in (of_user, of_admin)]
    reports = {"name": "reports", "database": "demo", "password_command": command[0]}
    own = {"server_user": "reports", "server_password": "reports-secret"}
    target = make_gateway(
        users=[reports | own], admin={"password_command": command[1]}, databases=[primary_alone(cluster)]
    )

    def enters(user: str, password: str, **options: Any) -> bool:
        try:
            target.connect(user, password, **options).close()
        except psycopg.OperationalError:
            return False
        return True

    assert enters("reports", "reports-secret")
    assert enters("admin", "admin-one", dbname="admin")
    of_user.write_text("other\n")
    of_admin.write_text("admin-two\n")

    eventually(lambda: enters("reports", "other"), "the new password")
    eventually(lambda: enters("admin", "admin-two", dbname="admin"), "the administrator's new password")
    assert not enters("reports", "reports-secret")
    assert not enters("admin", "admin-one", dbname="admin")


def test_show_config_has_the_form_and_not_the_secret(make_gateway: MakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("gateway-secret\n")
    target = make_gateway(
        general={"jwt_server_password": None, "jwt_server_password_file": str(path)},
        admin={"password_command": ["echo", "admin-secret"]},
    )

    with target.connect("admin", "admin-secret", dbname="admin") as connection:
        shown = {row[0]: row[1] for row in connection.execute("SHOW CONFIG").fetchall()}

    assert shown["jwt_server_password_file"] == str(path)
    assert shown["jwt_server_password"] is None
    assert shown["admin.password_command"] == "echo ..."
    assert shown["admin.password"] is None
    assert not [
        value for value in shown.values() if value and ("gateway-secret" in value or "admin-secret" in value)
    ]


def check(folder: Path, *arguments: str, **secret: Any) -> subprocess.CompletedProcess[str]:
    general = {
        "auth_type": "jwt",
        "jwt_jwks_url": "http://127.0.0.1:1/keys",
        "jwt_audience": "a",
        "jwt_server_user": "g",
    }
    config = {"general": general | secret, "databases": [{"name": "demo", "host": "127.0.0.1"}]}
    (folder / "pgdog.toml").write_text(tomli_w.dumps(config))
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PGDOG_", "CREDENTIALS_"))
    }
    program = [find_gateway(), *arguments]
    return subprocess.run(program, cwd=folder, env=clean, capture_output=True, text=True, timeout=60)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"_file": "/nowhere/at/all"}, "cannot be read"),
    "no variable": ({"_env": "NOWHERE_AT_ALL"}, "is not set"),
    "a failure": (
        {"_command": ["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 7"]},
        "failed (exit status: 7)",
    ),
    "a hanging program": (
        {"_command": {"command": ["sh", "-c", "echo hunter2; sleep 600"], "timeout": 300}},
        "did not end within 300ms",
    ),
    "nothing": ({"_command": ["true"]}, "printed a secret that is empty"),
    "no program": ({"_command": "/nowhere/at/all hunter2"}, "cannot be started"),
    "a shell's text": ({"_command": "echo hunter2 | base64"}, "must be a program with its arguments"),
    "two forms": (
        {"": "hunter2", "_file": "/etc/hostname"},
        '"jwt_server_password" and "jwt_server_password_file"',
    ),
    "no credentials": ({"_file": "${CREDENTIALS_DIRECTORY}/hunter2"}, "CREDENTIALS_DIRECTORY is not set"),
}


@pytest.mark.parametrize(("secret", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("arguments", [("check",), ("check", "--json"), ()], ids=["check", "json", "start"])
def test_what_is_wrong_with_a_secret_is_refused_at_its_line(
    tmp_path: Path, secret: dict[str, Any], said: str, arguments: tuple[str, ...]
) -> None:
    keys = {f"jwt_server_password{form}": value for form, value in secret.items()}

    done = check(tmp_path, *arguments, **keys)

    shown = done.stdout + done.stderr
    assert done.returncode == 1
    assert said in shown.replace('\\"', '"')
    assert "hunter2" not in shown
    lines = (tmp_path / "pgdog.toml").read_text().splitlines()
    places = [number for number, line in enumerate(lines, 1) if "jwt_server_password" in line]
    if "--json" in arguments:
        assert json.loads(done.stdout)["problems"][0]["line"] in places
    else:
        assert any(f"pgdog.toml:{number}: " in done.stderr for number in places)


def test_check_runs_programs_and_warns_of_files_that_all_may_read(tmp_path: Path) -> None:
    ran, readable = tmp_path / "ran", tmp_path / "readable"
    readable.write_text("hunter2")
    readable.chmod(0o644)

    done = check(tmp_path, "check", jwt_server_password_command=["sh", "-c", f"touch {ran}; echo hunter2"])
    assert done.returncode == 0
    assert ran.exists()
    assert "hunter2" not in done.stdout + done.stderr

    warned = check(tmp_path, "check", jwt_server_password_file=str(readable))
    assert warned.returncode == 0
    assert "everybody on this machine may read" in warned.stderr


def test_a_wrong_secret_of_a_program_is_refused_in_the_usual_words(
    start: Callable[..., Target], account: Account
) -> None:
    account.set("another-secret")
    account.store("wrong-secret")
    target = start(_command=printing(account, interval=86_400))

    with pytest.raises(ServerError) as raised:
        works(target)

    assert raised.value.fields["C"] == "08004"
    assert events(target, "server_login", decision="refused")
    assert_no_secret_in_the_log(target, "another-secret", "wrong-secret")
