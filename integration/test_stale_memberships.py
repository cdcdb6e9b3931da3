"""A connection that refuses a role may go by what was: where logins make roles, a new one is asked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import primary_alone
from harness.external import is_external
from harness.gateway import SERVER_PASSWORD, SERVER_USER
from harness.ports import free_port
from harness.provisioning import ADMIN, Place
from harness.target import Target
from harness.wire import ServerError, Wire

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")

REFUSED = ("42501", "the session's identity could not be established")
# One connection and not one more: the old one has to end before the new one begins.
ACCOUNT, OPTIONS = "herald", "LOGIN NOINHERIT CONNECTION LIMIT 1 PASSWORD 'herald-secret'"
Make = Callable[..., Target]


@pytest.fixture
def make(place: Place) -> Iterator[Make]:
    """Makes gateways whose pool is one connection, of an account for this test. The monitor has its own."""

    def make(**tables: Any) -> Target:
        general = {"default_pool_size": 1, "openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()}
        account = {"jwt_server_user": ACCOUNT, "jwt_server_password": "herald-secret"}
        database = primary_alone(place.cluster) | {"user": SERVER_USER, "password": SERVER_PASSWORD}
        database |= {"max_server_connections": 1}
        jwt = {"shared_pool": True}
        return place.make(general=general | account, jwt=jwt, databases=[database], **tables)

    place.sql(f"CREATE ROLE {ACCOUNT} {OPTIONS}")
    yield make
    place.sql(f"DROP ROLE IF EXISTS {ACCOUNT}, former, stranger")


@contextlib.contextmanager
def sessions(target: Target, *names: str) -> Iterator[list[Wire]]:
    """Sessions of these subjects; the last of them had the connection last."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(target.wire(name, target.issuer.token(name))) for name in names]
        for name, wire in zip(names, wires, strict=True):
            assert wire.value("SELECT current_user") == name
        yield wires


def change_account(place: Place, *roles: str) -> None:
    """The roles are taken from whoever is connected, and given to whoever connects from now on."""
    place.sql(f"ALTER ROLE {ACCOUNT} RENAME TO former")
    place.sql(f"CREATE ROLE {ACCOUNT} {OPTIONS}")
    for role in roles:
        place.sql(f'GRANT "{role}" TO {ACCOUNT}')
        revoke(place, role, "former")


def revoke(place: Place, role: str, account: str = ACCOUNT) -> None:
    for grantor in (ADMIN, "CURRENT_USER"):
        place.sql(f'REVOKE "{role}" FROM {account} GRANTED BY {grantor}')


def connects(target: Target) -> float:
    """Connections to PostgreSQL that the pools have tried to make."""
    port = target.gateway.config["general"]["openmetrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("pgdog_jwt_server_connects_total")]
    assert counts
    return sum(float(line.rsplit(" ", 1)[1]) for line in counts)


def refusal(wire: Wire) -> tuple[str, str]:
    with pytest.raises(ServerError) as error:
        wire.rows("SELECT 1")
    return error.value.fields["C"], error.value.fields["M"]


def test_first_logins_at_the_same_time_are_not_refused(place: Place) -> None:
    target = place.make(jwt={"shared_pool": True})
    names = [f"newcomer{number}" for number in range(60)]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        logins = pool.map(lambda name: place.login(name, "db-readers", "team-red", target=target), names)
        assert list(logins) == names


def test_what_only_an_old_connection_refuses_is_granted(place: Place, make: Make) -> None:
    target = make()
    with sessions(target, "anna", "bert") as (anna, bert):
        before = connects(target)
        change_account(place, "anna", "bert")

        assert anna.value("SELECT current_user") == "anna"
        assert bert.value("SELECT current_user") == "bert"

        assert connects(target) == before + 1


def test_a_new_subject_is_not_refused_by_an_old_connection(place: Place, make: Make) -> None:
    target = make()
    with sessions(target, "anna"):
        before = connects(target)
        change_account(place, "anna")

        assert place.login("clara", "db-readers", target=target) == "clara"

        assert connects(target) == before + 1


def test_what_a_new_connection_refuses_as_well_is_refused(place: Place, make: Make) -> None:
    target = make()
    with sessions(target, "anna", "bert") as (anna, bert):
        before = connects(target)
        revoke(place, "anna")

        assert refusal(anna) == REFUSED
        assert connects(target) == before + 1
        assert bert.value("SELECT current_user") == "bert"
        place.sql(f"GRANT anna TO {ACCOUNT}")
        assert anna.value("SELECT current_user") == "anna"
        assert connects(target) == before + 1


def test_a_login_that_is_refused_costs_one_connection(place: Place, make: Make) -> None:
    place.sql("CREATE ROLE stranger")
    target = make()
    with sessions(target, "anna"):
        before = connects(target)

        assert place.refusal("stranger", target) == "role_refused"

        assert connects(target) == before + 1


def test_a_new_connection_that_refuses_is_not_replaced(place: Place, make: Make) -> None:
    place.sql("CREATE ROLE stranger")
    target = make()

    assert place.refusal("stranger", target) == "role_refused"

    assert connects(target) == 1


def test_refusals_without_end_do_not_make_connections_without_end(place: Place, make: Make) -> None:
    target = make()
    with sessions(target, "anna", "bert") as (anna, bert):
        before = connects(target)
        revoke(place, "anna")

        assert {refusal(anna) for _ in range(50)} == {REFUSED}

        assert connects(target) < before + 25
        assert bert.value("SELECT current_user") == "bert"


def test_where_no_login_makes_roles_a_refusal_costs_no_connection(place: Place, make: Make) -> None:
    place.sql(f"GRANT alice, bob TO {ACCOUNT}")
    target = make(provisioning={"enabled": False})
    with sessions(target, "alice", "bob") as (alice, bob):
        before = connects(target)
        revoke(place, "alice")

        assert refusal(alice) == REFUSED
        assert bob.value("SELECT current_user") == "bob"
        assert connects(target) == before
