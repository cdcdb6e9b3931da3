"""Subjects whose statements may run for a millisecond only: no limit for the gateway, or for the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
HASTE = "statement_timeout = '1ms'"
# PostgreSQL takes longer than a millisecond to read it: what is in its way would be in the way each time.
LARGE = {"value": "{text}" * 80, "max_length": 1_000_000}
TEXT = "x" * 9_000


@pytest.fixture(scope="module", autouse=True)
def hasty_role(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE hasty IN ROLE subjects; GRANT hasty TO gateway")
        admin.execute(f"ALTER ROLE hasty SET {HASTE}")
    yield
    with cluster.admin() as admin:
        admin.execute("DROP ROLE hasty")


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Any) -> MakeGateway:
    """One server connection for everybody."""

    def start(**jwt: Any) -> Target:
        return make_gateway(
            general={"default_pool_size": 1, "checkout_timeout": 20_000},
            jwt={"session": {"variables": {"app.large": LARGE}}, **jwt},
            databases=[primary_alone(cluster)],
        )

    return start


def client(target: Target, user: str) -> Wire:
    return target.wire(user, target.issuer.token(user, text=TEXT))


def is_itself(wire: Wire, user: str) -> bool:
    return wire.rows("SELECT current_user, length(current_setting('app.large'))") == [(user, "720000")]


@pytest.mark.parametrize("haste", ["of its role", "of its own"])
def test_the_limit_of_one_does_not_end_the_take_over_of_another(make: MakeGateway, haste: str) -> None:
    target = make(shared_pool=True)
    user = "hasty" if haste == "of its role" else "bob"
    with client(target, user) as hasty, client(target, "alice") as other:
        if user == "bob":
            hasty.query(f"SET {HASTE}")
        for _ in range(20):
            # Its own statements may well be too slow for it.
            assert w.types_of(hasty.query("SHOW statement_timeout")) in ("TDCZ", "EZ")
            assert is_itself(other, "alice")
            assert other.value("SHOW statement_timeout") == "0"


@pytest.mark.parametrize("shared", [True, False])
def test_a_hasty_role_is_itself_nevertheless(make: MakeGateway, shared: bool) -> None:
    """PostgreSQL lets such a role log in, and so does the gateway."""
    target = make(shared_pool=shared)
    for _ in range(10):
        with client(target, "hasty") as wire:
            assert wire.value("SHOW statement_timeout") == "1ms"
        client(target, "alice").close()


def test_the_limit_of_a_session_does_not_end_the_next_of_the_same_subject(make: MakeGateway) -> None:
    """Their settings follow them, also those that take PostgreSQL a while to read."""
    target = make(session={})
    large = "x" * 700_000
    with target.wire("alice") as hasty, target.wire("alice") as other:
        other.query(f"SET app.note = '{large}'")
        for _ in range(10):
            hasty.query(f"SET {HASTE}")
            assert other.rows("SELECT length(current_setting('app.note')), 'here'") == [("700000", "here")]


def test_a_hasty_client_has_what_the_owner_attached_to_its_role(make: MakeGateway, cluster: Any) -> None:
    """Which is asked for at the first login, and remembered for the next."""
    attached = [f"app.attached_{number} = '{number}'" for number in range(200)]
    with cluster.admin() as admin:
        for setting in attached:
            admin.execute(f"ALTER ROLE hasty SET {setting}")
    target = make(shared_pool=True)

    for options in ({"options": "-c statement_timeout=1ms"}, {}):
        with target.wire("hasty", target.issuer.token("hasty", text=TEXT), **options) as wire:
            assert wire.value("SHOW app.attached_199") == "199"


IDLE = "idle_session_timeout = '1ms'"


def test_connections_that_a_session_lets_end_are_no_others_trouble(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """PostgreSQL ends them whenever it likes, also while they change hands."""
    target = make_gateway(
        general={"default_pool_size": 2, "checkout_timeout": 20_000},
        jwt={"shared_pool": True},
        databases=[primary_alone(cluster)],
    )
    with cluster.admin() as admin:
        if admin.info.server_version < 140_000:
            pytest.skip("PostgreSQL has idle_session_timeout since version 14")

    def take_turns(user: str, before: str) -> list[str]:
        heard: list[str] = []
        with target.wire(user) as wire:
            wire.query(before)
            for _ in range(150):
                try:
                    replies = wire.query("SELECT current_user")
                except (EOFError, OSError):
                    return heard
                heard += [message.fields["M"] for message in replies if message.type == "E"]
        return heard

    with ThreadPoolExecutor(4) as threads:
        sessions = [
            ("alice", "SELECT 1"),
            ("carol", "SELECT 1"),
            ("bob", f"SET {IDLE}"),
            ("bob", f"SET {IDLE}"),
        ]
        running = [threads.submit(take_turns, *session) for session in sessions]
        heard = [done.result(60) for done in running]

    assert heard[:2] == [[], []]


def test_a_hasty_session_stays_and_keeps_its_limit(make: MakeGateway) -> None:
    """What it has set is asked for after each change, whatever it allows its statements."""
    target = make(session={})
    with target.wire("alice") as wire:
        for number in range(60):
            wire.query(f"SET {HASTE}; SET app.own = '{number}'")
        for _ in range(10):
            assert w.types_of(wire.query("SHOW statement_timeout")) == "TDCZ"
        assert wire.rows("SELECT current_setting('statement_timeout'), current_setting('app.own')") == [
            ("1ms", "59")
        ]
