"""Commands that people know from PgBouncer: KILL in each form, WAIT_CLOSE, DISABLE, SHUTDOWN."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import eventually
from harness import wire as w
from harness.target import Target

MakeGateway = Callable[..., Target]
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
Admin = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def target(make_gateway: MakeGateway) -> Target:
    return make_gateway(admin=ADMIN)


def connect(target: Target) -> Admin:
    options = {"dbname": "admin", "row_factory": dict_row}
    return target.connect("admin", PASSWORD, **options)  # type: ignore[arg-type, return-value]


@pytest.fixture
def admin(target: Target) -> Iterator[Admin]:
    with connect(target) as admin:
        yield admin


def clients(admin: Admin, user: str) -> list[int]:
    return [row["id"] for row in admin.execute("SHOW CLIENTS").fetchall() if row["user"] == user]


def refused(admin: Admin, command: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        admin.execute(command)
    return caught.value


def test_kill_client_and_kill_user_say_whom_they_mean(target: Target, admin: Admin) -> None:
    with target.wire("alice") as one, target.wire("alice") as two, target.wire("bob") as bob:
        first = clients(admin, "alice")[0]
        assert admin.execute(f"KILL_CLIENT {first}").statusmessage == "KILL 1"
        eventually(lambda: len(clients(admin, "alice")) == 1, "one less")
        assert refused(admin, "KILL_CLIENT alice").sqlstate == "42704"
        assert admin.execute("KILL USER alice").statusmessage == "KILL 1"
        for wire in (one, two):
            assert w.error_of(wire.receive_until("E"))["C"] == "57P01"
        assert bob.value("SELECT 1") == "1"


def test_kill_with_the_name_of_a_database_is_ambiguous(target: Target, admin: Admin) -> None:
    with target.wire("alice") as alice:
        error = refused(admin, f"KILL {target.database}")
        assert error.sqlstate == "22023"
        assert "KILL DATABASE or KILL USER" in str(error)
        assert alice.value("SELECT 1") == "1"
        assert refused(admin, f"KILL USER {target.database}").sqlstate == "42704"


def test_kill_database_cuts_off_its_clients_and_holds_the_next_until_resume(
    target: Target, admin: Admin
) -> None:
    with target.wire("alice") as alice, target.wire("bob") as bob:
        alice.query("BEGIN")
        alice.query("SELECT 1")
        result = admin.execute(f"KILL DATABASE {target.database}")
        assert result.statusmessage == "KILL 2"
        for wire in (alice, bob):
            assert w.error_of(wire.receive_until("E"))["C"] == "57P01"
        eventually(lambda: not admin.execute("SHOW SERVERS").fetchall(), "no connection left")

        def ask() -> str | None:
            with target.wire("alice") as again:
                return again.value("SELECT 'served'")

        with ThreadPoolExecutor(1) as later:
            answer = later.submit(ask)
            eventually(lambda: is_waiting(admin), "a client that waits")
            admin.execute(f"RESUME {target.database}")
            assert answer.result() == "served"
    assert refused(admin, "KILL DATABASE nonsense").sqlstate == "3D000"


def is_waiting(admin: Admin) -> bool:
    return any(row["state"] == "waiting" for row in admin.execute("SHOW CLIENTS").fetchall())


def test_a_disabled_database_takes_no_new_clients(target: Target, admin: Admin) -> None:
    with target.wire("alice") as alice:
        assert admin.execute(f"DISABLE {target.database}").statusmessage == "DISABLE"
        assert admin.execute("SHOW DATABASES").fetchall()[0]["disabled"] is True
        assert target.refusal("bob")["C"] == "57P03"
        assert target.gateway.last_login(decision="refused")["reason"] == "database_disabled"
        assert alice.value("SELECT 1") == "1"
        admin.execute("RELOAD")
        assert target.refusal("bob")["C"] == "57P03"

        assert admin.execute(f"ENABLE {target.database}").statusmessage == "ENABLE"
        with target.wire("bob") as bob:
            assert bob.value("SELECT 1") == "1"
    assert refused(admin, "DISABLE nonsense").sqlstate == "3D000"


def test_who_is_not_let_in_does_not_hear_that_a_database_is_disabled(target: Target, admin: Admin) -> None:
    admin.execute(f"DISABLE {target.database}")
    assert target.refusal("alice", "no token")["C"] == "28000"


def test_wait_close_waits_for_the_connections_that_are_replaced(target: Target, admin: Admin) -> None:
    with target.wire("alice") as alice:
        alice.query("BEGIN")
        old = alice.value("SELECT pg_backend_pid()")
        admin.execute("RECONNECT")
        with ThreadPoolExecutor(1) as later, connect(target) as second:
            waiting = later.submit(lambda: second.execute("WAIT_CLOSE").statusmessage)
            assert alice.value("SELECT pg_backend_pid()") == old
            assert not waiting.done()
            alice.query("COMMIT")
            assert waiting.result() == "WAIT_CLOSE"
        assert alice.value("SELECT pg_backend_pid()") != old


def test_wait_close_does_not_wait_for_ever(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin={**ADMIN, "pause_timeout": 200})
    with target.wire("alice") as alice, connect(target) as admin:
        alice.query("BEGIN")
        alice.query("SELECT 1")
        admin.execute("RECONNECT")
        assert refused(admin, "WAIT_CLOSE").sqlstate == "55006"


def test_suspend_says_what_there_is_in_its_place(admin: Admin) -> None:
    error = refused(admin, "SUSPEND")
    assert error.sqlstate == "0A000"
    assert "PAUSE" in str(error)


def test_shutdown_may_wait_until_clients_leave_by_themselves(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN, general={"shutdown_timeout": 100})
    with target.wire("alice") as alice, connect(target) as admin:
        alice.value("SELECT 1")
        assert admin.execute("SHUTDOWN WAIT_FOR_CLIENTS").statusmessage == "SHUTDOWN"
        await_closed_port(target)
        assert [alice.value("SELECT 1") for _ in range(50)] == ["1"] * 50
        assert target.gateway.process.poll() is None
        alice.close()
        assert target.gateway.wait(20) == 0


def test_shutdown_may_wait_for_transactions_without_a_limit(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN, general={"shutdown_timeout": 0})
    with target.wire("alice") as alice, target.wire("bob") as bob:
        alice.query("BEGIN")
        alice.query("SELECT 1")
        with connect(target) as admin:
            admin.execute("SHUTDOWN WAIT_FOR_SERVERS")
        assert w.error_of(bob.receive_until("E"))["C"] == "57P01"
        assert alice.value("SELECT 1") == "1"
        assert alice.query("COMMIT")[0].tag == "COMMIT"
        assert target.gateway.wait(20) == 0


def test_a_shutdown_that_waits_can_be_made_one_that_does_not(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN)
    with target.wire("alice") as alice, connect(target) as admin:
        alice.value("SELECT 1")
        admin.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        await_closed_port(target)
        admin.execute("SHUTDOWN")
        assert w.error_of(alice.receive_until("E"))["C"] == "57P01"
        assert target.gateway.wait(20) == 0


def test_a_signal_ends_a_shutdown_that_waits(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN)
    with target.wire("alice") as alice, connect(target) as admin:
        alice.value("SELECT 1")
        admin.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        await_closed_port(target)
        target.gateway.process.send_signal(signal.SIGTERM)
        assert w.error_of(alice.receive_until("E"))["C"] == "57P01"
        assert target.gateway.wait(20) == 0


def await_closed_port(target: Target) -> None:
    def is_closed() -> bool:
        try:
            target.open().close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(is_closed, "a closed port")
