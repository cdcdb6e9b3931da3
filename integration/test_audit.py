"""Events that have a file of their own: whole lines, every field, and no login without one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import MakeGateway
from harness import Cluster, eventually, primary_alone
from harness.certificates import self_signed
from harness.gateway import whole_lines
from harness.ports import free_port
from harness.target import Target
from harness.wire import Wire

ADMIN = {"name": "admin", "user": "root", "password": "admin-secret"}


def lines(path: Path, **fields: Any) -> list[dict[str, Any]]:
    """The events in a file that have these fields. Every line must be one."""
    events = map(json.loads, whole_lines(path.read_text()))
    return [event for event in events if fields.items() <= event.items()]


def last(path: Path, **fields: Any) -> dict[str, Any]:
    return eventually(
        lambda: lines(path, **fields), f"an event with {fields}; there: {path.read_text()[-600:]}"
    )[-1]


def number(wire: Wire) -> int:
    """The session's number, which the protocol calls its process id."""
    return int.from_bytes(wire.cancel_key[:4], "big")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.json"


@pytest.fixture
def audited(make_gateway: MakeGateway, cluster: Cluster, path: Path) -> Target:
    return make_gateway(
        databases=[primary_alone(cluster)], admin=ADMIN, audit={"destination": "file", "file": str(path)}
    )


def test_a_login_is_one_line_with_its_fields(audited: Target, path: Path) -> None:
    token = audited.issuer.token("alice", jti="token-1")
    with audited.wire("alice", token, application_name="report 7") as wire:
        event = lines(path)[-1]
        assert event["session"] == number(wire)
        assert event.pop("time")[19:20] == "."
        assert event.pop("duration_us") > 0
        assert event.pop("client").startswith("127.0.0.1:")
        assert event == {
            "event": "login",
            "decision": "accepted",
            "session": number(wire),
            "user": "alice",
            "role": "alice",
            "subject": "alice",
            "issuer": audited.issuer.name,
            "token_id": "token-1",
            "database": audited.database,
            "pool": "alice",
            "tls": False,
            "application_name": "report 7",
        }
    assert last(path, event="disconnect", session=event["session"])["reason"] == "client_left"


def test_the_file_is_for_its_owner_alone(audited: Target, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_login_is_in_the_log_before_it_is_answered(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"workers": 1})
    for _ in range(20):
        with target.wire("alice") as wire:
            assert target.gateway.audit()[-1]["session"] == number(wire)


def test_no_line_of_the_log_is_lost_at_the_end(make_gateway: MakeGateway) -> None:
    """Lines are gathered before they are written: those of sessions that end with the program as well."""
    target = make_gateway()
    wires = [target.wire("alice") for _ in range(30)]
    target.gateway.send(signal.SIGTERM)
    assert target.gateway.wait(timeout=10) == 0

    sessions = {number(wire) for wire in wires}
    events = [event for event in target.gateway.log() if event.get("session") in sessions]
    assert sorted(event["message"] for event in events) == ["disconnect"] * 30 + ["login"] * 30
    for wire in wires:
        wire.close()


def test_events_are_not_in_the_log_as_well(audited: Target, path: Path) -> None:
    audited.wire("alice").close()
    last(path, event="disconnect")
    assert audited.gateway.audit() == []


def test_a_refused_login_has_its_reason(audited: Target, path: Path) -> None:
    audited.refusal("alice", audited.issuer.token("bob"))
    event = last(path, decision="refused")
    assert (event["event"], event["reason"], event["user"]) == ("login", "user_mismatch", "alice")
    audited.refusal("alice", "no token")
    assert "subject" not in last(path, reason="malformed_token")


def test_no_name_makes_a_second_line(audited: Target, path: Path) -> None:
    name = 'eve\n{"event":"login","decision":"accepted","user":"root"}\r'
    audited.refusal(name, "no token", application_name=name)
    event = last(path, reason="malformed_token")
    assert (event["user"], event["application_name"]) == (name, name)
    assert lines(path, user="root") == []


def test_no_credential_is_in_the_file(audited: Target, path: Path) -> None:
    token = audited.issuer.token("alice")
    audited.wire("alice", token).close()
    audited.refusal("bob", token)
    last(path, reason="user_mismatch")
    assert token.rpartition(".")[2] not in path.read_text()


def test_a_killed_session_names_the_administrator(audited: Target, path: Path) -> None:
    with audited.wire("alice") as victim, audited.connect("root", "admin-secret", dbname="admin") as admin:
        admin.execute(f"KILL {number(victim)}")
        event = last(path, event="kill")
        assert (event["session"], event["user"], event["by"]) == (number(victim), "alice", "root")
        ended = last(path, event="disconnect", session=number(victim))
        assert (ended["reason"], ended["sqlstate"]) == ("terminated", "57P01")
    assert last(path, event="login", user="root")["database"] == "admin"


def test_a_statement_that_the_guard_refuses_is_an_event(audited: Target, path: Path) -> None:
    with audited.connect("alice") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET ROLE postgres")
    event = last(path, event="guard")
    assert (event["decision"], event["reason"], event["sqlstate"]) == (
        "refused",
        "statement_refused",
        "42501",
    )
    assert event["user"] == "alice"
    assert "statement" not in event


def test_many_logins_at_once_do_not_mix_their_lines(audited: Target, path: Path) -> None:
    def come(turn: int) -> None:
        audited.wire(("alice", "bob", "carol")[turn % 3]).close()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(come, range(60)))

    assert len(lines(path, event="login", decision="accepted")) == 60
    eventually(lambda: len(lines(path, event="disconnect")) == 60, "all ends of sessions")


def test_sighup_opens_the_file_again(audited: Target, path: Path) -> None:
    audited.wire("alice").close()
    last(path, event="disconnect")
    moved = path.with_suffix(".1")
    path.rename(moved)
    audited.gateway.send(signal.SIGHUP)
    eventually(path.exists, "the new file")
    audited.wire("bob").close()
    last(path, event="disconnect", user="bob")
    assert [event["user"] for event in lines(moved)] == ["alice", "alice"]


def test_a_mistake_in_the_configuration_does_not_hinder_rotation(audited: Target, path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    with audited.gateway.config_file.open("a") as file:
        file.write("\nnonsense = [\n")
    audited.gateway.send(signal.SIGHUP)
    eventually(path.exists, "the new file")
    audited.wire("alice").close()
    last(path, event="disconnect")


def test_the_destination_can_change_by_a_reload(audited: Target, path: Path) -> None:
    other = path.with_name("other.json")
    config = audited.gateway.config
    audited.gateway.write(config | {"audit": {"destination": "file", "file": str(other)}})
    audited.gateway.send(signal.SIGHUP)
    eventually(other.exists, "the other file")
    audited.wire("alice").close()
    last(other, event="disconnect")
    audited.gateway.write(config | {"audit": {"destination": "log"}})
    audited.gateway.send(signal.SIGHUP)

    def is_logged() -> bool:
        audited.wire("bob").close()
        return bool(audited.gateway.audit())

    eventually(is_logged, "a login in the log")
    assert audited.gateway.audit()[-1]["user"] == "bob"


def test_a_file_that_cannot_be_opened_is_a_refused_reload(audited: Target, path: Path) -> None:
    config = audited.gateway.config
    nowhere = str(path.parent / "nowhere" / "audit.json")
    audited.gateway.write(config | {"audit": {"destination": "file", "file": nowhere}})
    audited.gateway.send(signal.SIGHUP)
    eventually(lambda: "cannot be opened" in audited.gateway.log_text(), "the refused reload")
    audited.wire("alice").close()
    last(path, event="disconnect")


def test_a_pipe_is_not_waited_for(make_gateway: MakeGateway, path: Path) -> None:
    os.mkfifo(path)
    target = make_gateway(audit={"destination": "file", "file": str(path)}, start=False)
    with pytest.raises(RuntimeError, match="it is a pipe"):
        target.gateway.start()


def test_a_file_that_cannot_be_opened_keeps_the_gateway_from_starting(
    make_gateway: MakeGateway, path: Path
) -> None:
    nowhere = str(path.parent / "nowhere" / "audit.json")
    target = make_gateway(audit={"destination": "file", "file": nowhere}, start=False)
    with pytest.raises(RuntimeError, match="cannot be opened"):
        target.gateway.start()


@pytest.fixture
def full(make_gateway: MakeGateway, cluster: Cluster, path: Path) -> Callable[[str], Target]:
    """A gateway whose disk is full."""

    def make(on_failure: str) -> Target:
        os.symlink("/dev/full", path)
        audit = {"destination": "file", "file": str(path), "on_failure": on_failure}
        return make_gateway(databases=[primary_alone(cluster)], audit=audit)

    return make


def test_nobody_gets_in_while_nothing_can_be_written(full: Callable[[str], Target], path: Path) -> None:
    target = full("refuse_logins")
    assert target.refusal("alice")["C"] == "58030"
    eventually(lambda: "audit_unavailable" in target.gateway.log_text(), "the refusal in the log")

    path.unlink()
    target.gateway.send(signal.SIGHUP)
    eventually(path.exists, "a disk with room")
    with target.connect("alice") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)
    assert last(path, event="login")["decision"] == "accepted"


def test_a_limit_on_the_size_of_files_is_a_full_disk(
    make_gateway: MakeGateway, cluster: Cluster, path: Path
) -> None:
    """The system sends SIGXFSZ as well, which ends a process that does not wait for it."""
    launcher = shutil.which("prlimit")
    if launcher is None:
        pytest.skip("no prlimit on this machine")
    path.write_text('{"event":"old"}\n' * 20_000)
    target = make_gateway(
        databases=[primary_alone(cluster)], audit={"destination": "file", "file": str(path)}, start=False
    )
    target.gateway.start(launcher, "--fsize=200000:200000")

    refusal = target.refusal("alice")

    assert refusal["C"] == "58030"
    assert not target.gateway.exited
    path.write_text("")
    with target.wire("alice") as wire:
        assert wire.value("SELECT 1") == "1"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGXFSZ, signal.SIGPIPE])
def test_signals_that_mean_nothing_here_end_nothing(audited: Target, number: signal.Signals) -> None:
    with audited.wire("alice") as wire:
        audited.gateway.send(number)
        assert wire.value("SELECT 1") == "1"
    assert not audited.gateway.exited


def test_logins_may_go_on_and_are_in_the_log_then(full: Callable[[str], Target], path: Path) -> None:
    target = full("continue")
    with target.connect("alice") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)
    records = [json.loads(event["record"]) for event in target.gateway.log() if "record" in event]
    assert [event["decision"] for event in records if event["event"] == "login"] == ["accepted"]


def test_standard_error_gets_json_whatever_the_format_of_the_log(
    make_gateway: MakeGateway, cluster: Cluster
) -> None:
    # The harness reads the start of the gateway from a log in JSON.
    target = make_gateway(databases=[primary_alone(cluster)], audit={"destination": "stderr"})
    target.wire("alice").close()

    def found() -> list[dict[str, Any]]:
        return [event for event in target.gateway.log() if event.get("event") == "login" and "time" in event]

    assert eventually(found, "the login")[-1]["user"] == "alice"


def test_the_tls_session_is_named(
    make_gateway: MakeGateway, cluster: Cluster, path: Path, tmp_path: Path
) -> None:
    pair = self_signed("gateway")
    certificate, key = tmp_path / "gateway.pem", tmp_path / "gateway.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    target = make_gateway(
        databases=[primary_alone(cluster)],
        general={"tls_certificate": str(certificate), "tls_private_key": str(key)},
        audit={"destination": "file", "file": str(path)},
    )
    target.connect("alice", sslmode="require").close()
    event = last(path, event="login")
    assert (event["tls"], event["tls_version"]) == (True, "TLSv1.3")
    assert event["tls_cipher"].startswith("TLS_")


def test_what_is_written_is_counted(make_gateway: MakeGateway, cluster: Cluster, path: Path) -> None:
    port = free_port()
    target = make_gateway(
        databases=[primary_alone(cluster)],
        general={"openmetrics_port": port, "openmetrics_host": "127.0.0.1"},
        audit={"destination": "file", "file": str(path)},
    )
    target.wire("alice").close()
    last(path, event="disconnect")

    def page() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    eventually(lambda: 'audit_events_total{event="login"} 1' in page(), "the count")
    assert "pgdog_jwt_audit_up 1" in page()
